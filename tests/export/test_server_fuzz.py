"""No request, however odd, is a fault of the server."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Desk, put

from export.serving.answers.inputs import MOST
from himari_jax.candles import COLUMNS

pytest_plugins = ["server_fixtures"]

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70) | st.sampled_from([0, 1e39])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
ANYTHING = st.recursive(LEAVES, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=8), x, max_size=4))
PATHS = st.sampled_from(
    [
        ["candles"],
        ["candles", "SYN1"],
        ["candles", "SYN1", "time"],
        ["candles", "SYN1", "time", 5],
        *(["candles", "SYN2", name, k] for name in COLUMNS for k in (0, 200, -1)),
        ["account"],
        ["account", "equity"],
        ["account", "positions"],
        ["account", "positions", "SYN1"],
        ["history"],
        ["stream"],
        ["carry"],
        ["base_position"],
        ["features_hash"],
    ]
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def never_a_500(desk, body):
    status, _, answer = desk.ask("/predict", body)
    info = json.loads(answer)
    assert status in (200, 400, 409, 413), info
    if status == 200:
        for prediction in info["predictions"]:
            for asset in prediction["symbols"].values():
                assert 0 <= asset["multiplier"] <= 2
                assert all(math.isfinite(asset[name]) for name in ("weight", "position"))
    return status


@pytest.mark.slow
def test_10000_fuzzed_bodies_are_never_a_500_and_half_of_them_reach_the_features(desk):
    statuses = []
    many = settings(max_examples=5000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    sane = st.floats(1e-3, 1e6)
    books = st.fixed_dictionaries({"share": st.floats(0, 0.9), "entry_price": st.floats(10, 1000)})
    positions = st.dictionaries(st.sampled_from(["SYN1", "SYN2"]), books)

    @many
    @given(body=st.binary(max_size=500) | ANYTHING.map(msgspec.json.encode))
    def any_body(body):
        statuses.append(never_a_500(desk, body))

    @many
    @given(
        step=st.integers(0, 255),
        rows=st.integers(400, 600),
        equity=st.floats(1e4, 1e9),
        positions=positions,
        scale=sane,
    )
    def valid_body(step, rows, equity, positions, scale):
        desk.at(step)
        candles = desk.candles(step, min(rows, int(desk.golden["row"][step]) + 1))
        price = {symbol: columns["close"][-1] for symbol, columns in candles.items()}
        for columns in candles.values():
            for name in COLUMNS:
                columns[name] = [scale * x for x in columns[name]]
        held = {
            symbol: {"units": x["share"] * equity / price[symbol], "entry_price": scale * x["entry_price"]}
            for symbol, x in positions.items()
        }
        instance = {"candles": candles, "account": {"equity": scale * equity, "positions": held}}
        statuses.append(never_a_500(desk, msgspec.json.encode({"instances": [instance]})))

    any_body()
    valid_body()
    assert len(statuses) >= 9_000
    assert 2 * statuses.count(200) >= 0.95 * len(statuses)


@pytest.fixture(scope="module")
def desk(bundles):
    return Desk(bundles["mlp"])


@pytest.fixture(scope="module")
def recurrent(bundles):
    return Desk(bundles["lstm"])


@QUICK
@given(body=st.binary(max_size=200) | ANYTHING.map(msgspec.json.encode))
def test_no_body_is_a_500(desk, body):
    never_a_500(desk, body)


@QUICK
@given(changes=st.lists(st.tuples(PATHS, ANYTHING), min_size=1, max_size=3))
def test_no_change_of_a_good_request_is_a_500(recurrent, changes):
    request = json.loads(json.dumps({"instances": [recurrent.asked()]}))
    for path, value in changes:
        try:
            put(path, value)(request)
        except (LookupError, TypeError):
            continue
    never_a_500(recurrent, msgspec.json.encode(request))


POSITIVE = st.floats(float(np.finfo(np.float32).tiny), MOST)
STEPS = st.floats(-0.5, 0.5)


@QUICK
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.0, 1e-6, 0.01, 0.3, 5.0]),
    start=POSITIVE,
    equity=POSITIVE,
    units=st.floats(0, MOST),
    entry=POSITIVE,
    volume=st.sampled_from([0.0, 1e-30, 1.0, 1e30]),
)
def test_requests_that_the_schema_allows_reach_the_features_and_are_never_a_500(
    recurrent, seed, spread, start, equity, units, entry, volume
):
    rng = np.random.default_rng(seed)
    time = recurrent.golden["time"][-420:]
    limits = np.finfo(np.float32).tiny, MOST
    candles = {}
    for symbol in ("SYN1", "SYN2"):
        with np.errstate(over="ignore"):
            walk = np.clip(start * np.exp(np.cumsum(rng.normal(0, spread, (420, 2)), axis=0)), *limits)
        wick = np.sort(walk, axis=1)
        columns = (walk[:, 0], wick[:, 1], wick[:, 0], walk[:, 1], volume * rng.random(420))
        candles[symbol] = {"time": time.tolist()} | {n: x.tolist() for n, x in zip(COLUMNS, columns, strict=True)}
    positions = {"SYN1": {"units": units, "entry_price": entry}}
    instance = {"candles": candles, "account": {"equity": equity, "positions": positions}}
    never_a_500(recurrent, msgspec.json.encode({"instances": [instance]}))
