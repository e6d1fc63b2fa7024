"""A bundle of a pooled policy answers for each of its symbols as the backtest decided, one symbol in an instance."""

import copy
import json

import numpy as np
import polars as pl
import pytest
from pool_desks import DAILY, OWN, POOL, WORLD, PoolDesk, make_pool
from serving import Desk, put

from export.bench import write_bodies
from export.check import main as check
from export.request import main as request
from himari_jax.candles import COLUMNS
from himari_jax.command import run_command
from himari_jax.features.observation import features_hash
from himari_jax.times import iso_second

pytest.importorskip("jax2onnx")
KINDS = {"mlp": [], "lstm": ["--policy", "lstm"], "daily": ["--policy", "lstm", *DAILY]}
STEPS = 200
NOTHING = {name: [] for name in ("time", *COLUMNS)}
FLAT = {"units": 0.0, "entry_price": 0.0}


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Makes the folder of a kind once: run and bundle; `daily` has own features and own base positions, too."""
    made = {}

    def folder_of(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            flags = KINDS[kind]
            if kind == "daily":
                (made[kind] / "my.py").write_text(OWN)
                flags = [*flags, "--features", "base", str(made[kind] / "my.py")]
                flags += ["--base-positions", str(write_base(made[kind] / "base.csv"))]
            make_pool(made[kind], *flags)
        return made[kind]

    return folder_of


def write_base(path):
    """A row every six hours with shares of chance."""
    from train.data.loading import checked, load_raw
    from train.training.resume import parse_flags

    config = parse_flags([x for x in WORLD if x != "--pool"], None)
    candles, _ = checked(load_raw(config.data, config.source_options), config.data)
    time = (candles.time + candles.bar_ms)[::6]
    shares = np.random.default_rng(0).uniform(0, 0.6, (len(time), len(POOL)))
    pl.DataFrame({"timestamp": time, **dict(zip(POOL, shares.T, strict=True))}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def desk(pools):
    return PoolDesk(pools("mlp"), "SYN1")


@pytest.fixture(scope="module")
def recurrent(pools):
    return PoolDesk(pools("lstm"), "SYN1")


def walk(desk, steps, **more):
    """Answers of the first decisions of the test span, one after the other, each with the token of the one before."""
    token, found = {}, []
    for k in range(steps):
        answer = desk.one(desk.tick(k, **token, **more))
        assert list(answer["symbols"]) == [desk.symbol]
        found.append(answer["symbols"][desk.symbol])
        token = {"carry": answer["carry"]} if "carry" in answer else {}
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symbol", ["SYN1", "SYN3"])
def test_answers_for_a_symbol_of_a_pool_are_what_the_backtest_decided_for_it(pools, kind, symbol):
    desk = PoolDesk(pools(kind), symbol)
    steps = min(STEPS, len(desk.rows))
    found = walk(desk, steps)
    assert steps > 40
    assert np.ptp(desk.multipliers[:steps]) > 1e-3
    np.testing.assert_allclose([x["multiplier"] for x in found], desk.multipliers[:steps], rtol=0, atol=1e-5)
    wanted = np.minimum(desk.multipliers * desk.base, 0.5)[:steps]
    np.testing.assert_allclose([x["weight"] for x in found], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "steps"), [("mlp", (0, 1, 50)), ("lstm", (0,)), ("daily", (0,))])
def test_a_request_of_the_runs_candles_is_answered_with_the_weight_of_the_runs_backtest(pools, tmp_path, kind, steps):
    desk = PoolDesk(pools(kind), "SYN3")
    for k in steps:
        account, close = desk.account_at(k), int(desk.tape.time[desk.rows[k]]) + desk.tape.bar_ms
        held = [f"SYN3={x['units']!r}@{x['entry_price']!r}" for x in account["positions"].values()]
        flags = ["--symbols", "SYN3", "--until", iso_second(close), "--equity", repr(account["equity"])]
        flags += [*(["--holding", *held] if held else []), "--out", str(tmp_path / "request.json")]
        assert run_command(request, [str(desk.path), *flags]) == 0
        (instance,) = json.loads((tmp_path / "request.json").read_text())["instances"]
        assert instance["candles"] == desk.tick(k)["candles"]
        found = desk.one(instance)
        weight = min(desk.multipliers[k] * desk.base[k], 0.5)
        assert found["symbols"]["SYN3"]["weight"] == pytest.approx(weight, abs=1e-6)
        assert found["candle"]["close_time"] == found["fill"]["time"] == iso_second(close)


def test_a_request_without_symbols_has_an_instance_of_each_with_its_share_of_the_equity(pools, tmp_path):
    out = tmp_path / "request.json"
    assert run_command(request, [str(pools("mlp") / "bundle"), "--equity", "300", "--out", str(out)]) == 0
    instances = json.loads(out.read_text())["instances"]
    assert [list(each["candles"]) for each in instances] == [[symbol] for symbol in POOL]
    assert [each["account"]["equity"] for each in instances] == [100.0] * 3


@pytest.mark.parametrize("kind", ["lstm", "daily"])
def test_the_accounts_of_the_decisions_before_replayed_are_the_token(pools, kind):
    desk, steps = PoolDesk(pools(kind), "SYN2"), 20
    last = walk(desk, steps)[-1]
    past = [desk.account_at(k) for k in range(steps - 1)]
    candles = desk.model.min_candles + desk.model.step * len(past)
    replayed = desk.one(desk.tick(steps - 1, candles, history=past))["symbols"]["SYN2"]
    assert replayed["multiplier"] == pytest.approx(last["multiplier"], abs=1e-6)
    status, answer = desk.predict(desk.tick(steps - 1, candles - 1, history=past))
    assert (status, answer["error"]["field"]) == (400, "instances[0].history")


def test_a_daily_decision_follows_the_one_of_the_day_before(pools):
    desk = PoolDesk(pools("daily"), "SYN1")
    assert desk.model.step == 24
    assert ((desk.tape.time[desk.rows] + desk.tape.bar_ms) % 86_400_000 == 7 * 3_600_000).all()
    token = desk.one(desk.tick(0))["carry"]
    assert desk.predict(desk.tick(1, carry=token))[0] == 200
    status, answer = desk.predict(desk.tick(2, carry=token))
    assert (status, answer["error"]["code"]) == (409, "token_bar")
    assert "the decision 24 bars before the newest candle" in answer["error"]["message"]


def test_one_request_asks_for_several_symbols_each_with_its_own_memory(pools, recurrent):
    desks = [PoolDesk(pools("lstm"), symbol) for symbol in POOL]
    tokens = [desk.one(desk.tick(0))["carry"] for desk in desks]
    asked = [desk.tick(1, carry=token) for desk, token in zip(desks, tokens, strict=True)]
    recurrent.tick(1)
    status, answer = recurrent.predict(*asked)
    assert status == 200
    assert [list(x["symbols"]) for x in answer["predictions"]] == [[symbol] for symbol in POOL]
    for desk, found, instance in zip(desks, answer["predictions"], asked, strict=True):
        alone = desk.one(instance)["symbols"][desk.symbol]
        assert found["symbols"][desk.symbol]["multiplier"] == pytest.approx(alone["multiplier"], abs=1e-6)
    text = recurrent.ask("/metrics")[2].decode()
    for symbol in POOL:
        assert f'himari_multiplier_count{{symbol="{symbol}"}}' in text


def test_the_token_of_another_symbol_is_refused(pools, recurrent):
    other = PoolDesk(pools("lstm"), "SYN2")
    token = other.one(other.tick(0, stream="desk 1"))["carry"]
    status, answer = recurrent.predict(recurrent.tick(1, stream="desk 1", carry=token))
    assert (status, answer["error"]["code"]) == (409, "token_stream")
    assert "another symbol or stream than SYN1, 'desk 1'" in answer["error"]["message"]
    assert other.predict(other.tick(1, stream="desk 1", carry=token))[0] == 200


def test_an_observation_is_of_the_symbol_that_its_base_position_names(desk):
    account = {"equity": 1e5, "positions": {}}
    for symbol in POOL:
        found = desk.one(desk.seen(account=account, base_position={symbol: 1e4}))["symbols"]
        assert list(found) == [symbol]
        assert found[symbol]["multiplier"] == pytest.approx(desk.golden["multiplier"][-1, 0], abs=1e-6)
        assert found[symbol]["position"] == pytest.approx(1e4 * found[symbol]["multiplier"])


def test_the_own_base_of_a_pool_is_that_of_one_asset(desk):
    asked = desk.tick(3)
    del asked["base_position"]
    found = desk.one(asked)["symbols"]["SYN1"]
    assert found["weight"] == pytest.approx(0.25 * found["multiplier"], rel=1e-6)


def test_a_bundle_of_own_base_positions_needs_them_in_a_pool_too(pools):
    desk = PoolDesk(pools("daily"), "SYN1")
    asked = desk.tick(0)
    del asked["base_position"]
    status, answer = desk.predict(asked)
    assert (status, answer["error"]["field"]) == (400, "instances[0].base_position")
    assert "a file" in answer["error"]["message"]


ONE, OTHER, UNKNOWN = "one_symbol", "another symbol than SYN1", "unknown symbol; this model knows SYN1, SYN2, SYN3"
REFUSED = {
    "two symbols": (put(["candles", "SYN2"], NOTHING), "candles", ONE, "2 symbols"),
    "no symbol": (put(["candles"], {}), "candles", "missing_symbol", "0 symbols"),
    "a symbol of no pool": (put(["candles"], {"DOGE": NOTHING}), "candles.DOGE", "unknown_symbol", UNKNOWN),
    "a symbol of no pool beside": (put(["candles", "DOGE"], NOTHING), "candles.DOGE", "unknown_symbol", UNKNOWN),
    "the asset of the manifest": (put(["candles"], {"asset": NOTHING}), "candles.asset", "unknown_symbol", UNKNOWN),
    "a position in another": (put(["account", "positions", "SYN2"], FLAT), "account.positions.SYN2", ONE, OTHER),
    "a position in none": (
        put(["account", "positions", "DOGE"], FLAT),
        "account.positions.DOGE",
        "unknown_symbol",
        UNKNOWN,
    ),
    "a base of another": (put(["base_position"], {"SYN2": 1e4}), "base_position.SYN2", ONE, OTHER),
    "a base of two": (put(["base_position", "SYN3"], 1e4), "base_position.SYN3", ONE, OTHER),
    "a base of none": (put(["base_position"], {}), "base_position.SYN1", "missing_symbol", "missing symbol"),
    "a past of another": (
        put(["history"], [{"equity": 1.0, "positions": {"SYN2": FLAT}}]),
        "history[0].positions.SYN2",
        ONE,
        OTHER,
    ),
}
REFUSED_OBSERVATIONS = {
    "no name": ({}, "base_position", "missing_symbol", "names the symbol that the observation is of"),
    "two names": ({"base_position": {"SYN1": 1.0, "SYN2": 1.0}}, "base_position", ONE, "2 symbols"),
    "an unknown name": ({"base_position": {"DOGE": 1.0}}, "base_position.DOGE", "unknown_symbol", UNKNOWN),
    "no equity": ({"base_position": {"SYN1": 1.0}}, "account", "invalid", "missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_about_one_symbol_of_the_pool_is_refused_by_field(desk, name):
    change, field, code, says = REFUSED[name]
    request = {"instances": [copy.deepcopy(desk.tick(3, candles=desk.model.min_candles + 1))]}
    change(request)
    status, answer = desk.predict(*request["instances"])
    error = answer["error"]
    assert (status, error["code"], error["field"]) == (400, code, f"instances[0].{field}"), error
    assert says in error["message"]


@pytest.mark.parametrize("name", REFUSED_OBSERVATIONS)
def test_an_observation_that_does_not_say_of_which_symbol_is_refused(desk, name):
    more, field, code, says = REFUSED_OBSERVATIONS[name]
    status, answer = desk.predict(desk.seen(**more))
    error = answer["error"]
    assert (status, error["code"], error["field"]) == (400, code, f"instances[0].{field}"), error
    assert says in error["message"]


def test_bad_candles_of_a_symbol_are_refused_by_its_name(desk):
    asked = desk.tick(3)
    asked["candles"]["SYN1"]["high"][7] = 1e-3
    status, answer = desk.predict(asked)
    assert (status, answer["error"]["field"]) == (400, "instances[0].candles.SYN1")


def test_the_open_inference_protocol_has_one_asset(desk):
    found = json.loads(desk.ask(f"/v2/models/{desk.model.name}")[2])
    assert {x["name"]: x["shape"] for x in found["outputs"]} == {"multiplier": [-1, 1], "value": [-1]}
    rows = desk.golden["observation"][:3]
    tensor = {"name": "observation", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}
    status, _, answer = desk.ask(f"/v2/models/{desk.model.name}/infer", json.dumps({"inputs": [tensor]}).encode())
    found = {x["name"]: x for x in json.loads(answer)["outputs"]}
    assert (status, found["multiplier"]["shape"]) == (200, [3, 1])
    np.testing.assert_allclose(found["multiplier"]["data"], desk.golden["multiplier"][:3, 0], rtol=0, atol=1e-6)


def test_the_manifest_says_that_it_is_a_pool_and_when_it_decides(pools, desk, capsys):
    found = json.loads(desk.ask("/manifest")[2])
    assert (found["pool"], found["symbols"], found["decide_every"]) == (True, list(POOL), None)
    assert found["observation"][0] == "asset.price"
    assert found["features_hash"] == features_hash(("asset",), 3_600_000)
    assert found["decisions"] == "ask at the close of every bar"
    daily = json.loads((pools("daily") / "bundle" / "manifest.json").read_text())
    assert (daily["decide_every"], daily["decide_phase"], daily["min_candles"]) == ("24h", "7h", 400)
    assert "closes that are a multiple of 24h plus 7h, UTC: every 24 bars" in daily["decisions"]
    assert run_command(check, [str(pools("mlp") / "bundle")]) == 0
    assert "one of SYN1 SYN2 SYN3: verified" in capsys.readouterr().out


def test_the_requests_of_the_benchmark_are_answered_by_a_pool(pools, tmp_path):
    desk = Desk(pools("daily") / "bundle", allow_code=True)
    write_bodies(desk.model, tmp_path / "observation.json", tmp_path / "candles.json")
    for path in ("observation.json", "candles.json"):
        status, _, answer = desk.ask("/predict", (tmp_path / path).read_bytes())
        assert status == 200, answer
