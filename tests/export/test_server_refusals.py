import copy
import json

import pytest
from serving import Desk, put

from export.serving.answers.inputs import MOST
from himari_jax.candles import COLUMNS
from himari_jax.times import HOUR_MS

pytest_plugins = ["server_fixtures"]

CANDLES = "instances[0].candles"


def cut(*path):
    """Removes what lies at a path of a request."""

    def change(request):
        *way, last = path
        place = request["instances"][0]
        for step in way:
            place = place[step]
        del place[last]

    return change


def every_list(edit):
    """Edits each list of SYN1's candles."""

    def change(request):
        columns = request["instances"][0]["candles"]["SYN1"]
        for name in columns:
            columns[name] = edit(columns[name])

    return change


def both(edit):
    """Edits each list of both symbols' candles."""

    def change(request):
        for columns in request["instances"][0]["candles"].values():
            for name in columns:
                columns[name] = edit(columns[name])

    return change


def swap_rows(x):
    return [*x[:-2], x[-1], x[-2]]


def times(request):
    return request["instances"][0]["candles"]["SYN1"]["time"]


POSITIONS = "account.positions"
BAD_CANDLES = {
    "no symbol": (cut("candles", "SYN2"), "candles.SYN2"),
    "unknown symbol": (put(["candles", "DOGE"], {n: [] for n in ("time", *COLUMNS)}), "candles.DOGE"),
    "unknown column": (put(["candles", "SYN1", "vwap"], [1.0]), "candles.SYN1.vwap"),
    "no column": (cut("candles", "SYN1", "low"), "candles.SYN1.low"),
    "null column": (put(["candles", "SYN1", "low"], None), "candles.SYN1.low"),
    "null price": (put(["candles", "SYN1", "close", -1], None), "candles.SYN1.close[{last}]"),
    "text price": (put(["candles", "SYN2", "close", 3], "100"), "candles.SYN2.close[3]"),
    "true price": (put(["candles", "SYN2", "close", 3], True), "candles.SYN2.close[3]"),
    "price 1e39": (put(["candles", "SYN1", "high", 7], 1e39), "candles.SYN1.high[7]"),
    "price that vanishes": (put(["candles", "SYN1", "low", 7], 1e-39), "candles.SYN1.low[7]"),
    "price 0": (put(["candles", "SYN1", "low", 7], 0), "candles.SYN1.low[7]"),
    "negative price": (put(["candles", "SYN1", "open", 7], -1), "candles.SYN1.open[7]"),
    "negative volume": (put(["candles", "SYN1", "volume", 7], -1), "candles.SYN1.volume[7]"),
    "high below close": (put(["candles", "SYN1", "high", 7], 1), "candles.SYN1"),
    "short column": (cut("candles", "SYN1", "open", 0), "candles.SYN1.open"),
    "prices of two currencies": (put(["candles", "SYN1", "low", 7], 1e-9), "candles.SYN1"),
    "no rows": (every_list(lambda x: []), "candles.SYN1"),
    "few rows": (both(lambda x: x[-399:]), "candles"),
    "unordered": (every_list(swap_rows), "candles.SYN1"),
    "a time twice": (lambda r: put(["candles", "SYN1", "time", 9], times(r)[8])(r), "candles.SYN1"),
    "gap": (both(lambda x: x[:-20] + x[-10:]), "candles"),
    "one symbol behind": (every_list(lambda x: x[:-1]), "candles.SYN2"),
    "stale": (both(lambda x: x[:-3]), "candles"),
    "off the grid": (put(["candles", "SYN1", "time", 0], 965923200001), "candles.SYN1"),
    "of the future": (put(["candles", "SYN1", "time", -1], 4_102_444_800_000), "candles.SYN1"),
    "negative time": (put(["candles", "SYN1", "time", 0], -HOUR_MS), "candles.SYN1.time[0]"),
    "endless time": (put(["candles", "SYN1", "time", 0], 10**30), "candles.SYN1.time[0]"),
    "fraction of a time": (put(["candles", "SYN1", "time", 0], 0.5), "candles.SYN1.time[0]"),
    "candles as a list": (put(["candles"], []), "candles"),
    "no account": (cut("account"), "account"),
    "no equity": (cut("account", "equity"), "account.equity"),
    "equity 0": (put(["account", "equity"], 0), "account.equity"),
    "negative equity": (put(["account", "equity"], -5), "account.equity"),
    "equity 1e39": (put(["account", "equity"], 1e39), "account.equity"),
    "equity null": (put(["account", "equity"], None), "account.equity"),
    "no positions": (cut("account", "positions"), "account.positions"),
    "unknown position": (
        put(["account", "positions"], {"DOGE": {"units": 1, "entry_price": 1}}),
        "account.positions.DOGE",
    ),
    "short": (put(["account", "positions"], {"SYN1": {"units": -1, "entry_price": 1}}), "account.positions.SYN1.units"),
    "no entry": (put(["account", "positions"], {"SYN1": {"units": 1}}), "account.positions.SYN1.entry_price"),
    "entry 0": (
        put(["account", "positions"], {"SYN1": {"units": 1, "entry_price": 0}}),
        "account.positions.SYN1.entry_price",
    ),
    "a lot taken for a unit": (put(["account", "positions", "SYN1"], {"units": 1e5, "entry_price": 100}), POSITIONS),
    "entry far away": (put(["account", "positions"], {"SYN1": {"units": 1, "entry_price": 1e-9}}), "account"),
    "weight that overflows": (put(["account", "positions"], {"SYN1": {"units": MOST, "entry_price": 1}}), POSITIONS),
    "base of one symbol": (put(["base_position"], {"SYN1": 1.0}), "base_position.SYN2"),
    "base of an unknown": (put(["base_position"], {"SYN1": 1.0, "SYN2": 1.0, "X": 1.0}), "base_position.X"),
    "negative base": (put(["base_position"], {"SYN1": -1.0, "SYN2": 1.0}), "base_position.SYN1"),
    "base null": (put(["base_position"], {"SYN1": 1.0, "SYN2": None}), "base_position.SYN2"),
    "both kinds": (put(["observation"], [0.0]), ""),
    "unknown field": (put(["leverage"], 3), "leverage"),
    "history of observations": (put(["history"], [[0.0]]), "history[0]"),
    "history too long": (put(["history"], [{"equity": 1.0, "positions": {}}] * 300), "history"),
    "history of null": (put(["history"], [None]), "history[0]"),
    "stream of 129 letters": (put(["stream"], "s" * 129), "stream"),
    "stream as a number": (put(["stream"], 1), "stream"),
}


@pytest.fixture(scope="module")
def desk(bundles):
    return Desk(bundles["mlp"])


@pytest.mark.parametrize("name", BAD_CANDLES)
def test_bad_candles_and_accounts_are_refused_by_field(desk, name):
    change, field = BAD_CANDLES[name]
    request = {"instances": [copy.deepcopy(desk.asked(-1))]}
    change(request)
    status, _, answer = desk.ask("/predict", json.dumps(request).encode())
    error = json.loads(answer)["error"]
    field = field.format(last=len(desk.candles()["SYN1"]["time"]) - 1)
    assert status == 400, error
    assert error["field"] == f"instances[0].{field}".rstrip("."), error
    assert error["message"]
    assert "--" not in error["message"]  # flags are of no use to a caller


BAD_OBSERVATIONS = {
    "nobody's hash": (put(["features_hash"], "0" * 64), 409, "features_hash"),
    "no hash": (cut("features_hash"), 400, "features_hash"),
    "too few numbers": (cut("observation", -1), 400, "observation"),
    "no numbers": (put(["observation"], []), 400, "observation"),
    "null": (put(["observation", 2], None), 400, "observation[2]"),
    "1e39": (put(["observation", 2], 1e39), 400, "observation[2]"),
    "market beyond 1e6": (put(["observation", 2], -1.1e6), 400, "observation[2]"),
    "account beyond 1e3": (put(["observation", 12], 1001.0), 400, "observation[12]"),
    "herfindahl beyond 1e3": (put(["observation", -1], 1001.0), 400, "observation[33]"),
    "positions beside it": (
        put(["account"], {"equity": 1.0, "positions": {"SYN1": {"units": 1, "entry_price": 1}}}),
        400,
        "account.positions",
    ),
    "base without equity": (put(["base_position"], {"SYN1": 1.0, "SYN2": 1.0}), 400, "account"),
    "history of accounts": (put(["history"], [{"equity": 1.0, "positions": {}}]), 400, "history[0]"),
    "history too wide": (put(["history"], [[0.0] * 35]), 400, "history[0]"),
    "history beyond": (put(["history"], [[1e9] * 34]), 400, "history[0][0]"),
}


@pytest.mark.parametrize("name", BAD_OBSERVATIONS)
def test_bad_observations_are_refused_by_field(desk, name):
    change, expected, field = BAD_OBSERVATIONS[name]
    request = {"instances": [copy.deepcopy(desk.seen(-1))]}
    change(request)
    status, _, answer = desk.ask("/predict", json.dumps(request).encode())
    error = json.loads(answer)["error"]
    assert (status, error["field"]) == (expected, f"instances[0].{field}"), error


BAD_BODIES = {
    "nothing": (b"", "body"),
    "no JSON": (b"hello", "body"),
    "cut off": (b'{"instances": [', "body"),
    "NaN": (b'{"instances": [{"observation": [NaN]}]}', "instances[0].observation[0]"),
    "Infinity": (b'{"instances": [{"observation": [-Infinity]}]}', "instances[0].observation[0]"),
    "1e999": (b'{"instances": [{"observation": [1e999]}]}', None),
    "many digits": (b'{"instances": [{"observation": [1' + b"0" * 5000 + b"]}]}", None),
    "no UTF-8": (b'{"instances": [{"stream": "\xff\xfe"}]}', None),
    "half a surrogate": (b'{"instances": [{"stream": "\\ud800"}]}', None),
    "a list": (b"[]", "body"),
    "null": (b"null", "body"),
    "no instances": (b"{}", "instances"),
    "null instances": (b'{"instances": null}', "instances"),
    "empty instances": (b'{"instances": []}', "instances"),
    "null instance": (b'{"instances": [null]}', "instances[0]"),
    "empty instance": (b'{"instances": [{}]}', "instances[0]"),
    "unknown key": (b'{"instances": [], "signature": "x"}', "signature"),
    "parameters": (b'{"instances": [], "parameters": {"x": 1}}', "parameters.x"),
    "deep lists": (b"[" * 200_000, None),
    "deep in a field": (b'{"instances": [{"observation": ' + b"[" * 200_000, None),
    "deep objects": (b'{"instances":[{"candles":' + b'{"a":' * 100_000, None),
    "deep unknown": (b'{"instances": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "two documents": (b'{"instances": []} {}', "body"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bodies_that_are_no_request_are_refused(desk, name):
    body, field = BAD_BODIES[name]
    status, _, answer = desk.ask("/predict", body)
    error = json.loads(answer)["error"]
    assert status == 400
    assert field is None or error["field"] == field, error


def test_stale_is_a_setting(bundles):
    desk = Desk(bundles["mlp"], predict_settings={"max_age_bars": 0})
    desk.now = 4_102_444_800_000
    assert desk.one(desk.asked())
    desk = Desk(bundles["mlp"], predict_settings={"max_age_bars": 2})
    desk.now = desk.clock() + 2 * HOUR_MS - 2000
    assert desk.one(desk.asked())
    desk.now += 2000
    assert desk.predict(desk.asked())[1]["error"]["code"] == "stale"


@pytest.mark.parametrize("sizing", ["kelly", "vol-target"])
def test_a_sizing_that_cannot_be_told_needs_the_callers(bundles, tmp_path, sizing):
    from serving import copy_bundle

    rules = json.loads((bundles["mlp"] / "manifest.json").read_text())["sizing"]["rules"]
    made = copy_bundle(bundles["mlp"], tmp_path / "b", sizing={"base_sizing": sizing, "rules": rules})
    desk, base = Desk(made), {"SYN1": 1e4, "SYN2": 2e4}
    status, answer = desk.predict(desk.asked())
    assert status == (400 if sizing == "kelly" else 200)
    status, answer = desk.predict(desk.seen())
    assert (status, answer["error"]["field"]) == (400, "instances[0].base_position")
    found = desk.one(desk.asked(base_position=base))["symbols"]
    assert found["SYN1"]["position"] == pytest.approx(1e4 * found["SYN1"]["multiplier"])
