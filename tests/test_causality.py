"""The audit of causality: later candles change nothing that was known, decided or earned before them.

`audit` reruns the way from raw candles to the equity of a policy and says what differs; planted faults show that it
would find a leak.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.market import align_prices, build_market, to_device
from envs.trading import make_params
from himari_jax.candles import COLUMNS, RawCandles, check_candles
from himari_jax.features import market_features, observation_width
from himari_jax.policies import make_core
from himari_jax.policies.policy import Policy, fit_scaling, with_scaling
from himari_jax.sizing import SizingRules, base_positions
from himari_jax.splits import decision_rows, split_rows
from train.evaluate import make_tape, member, run_policy

ROWS = 2100
SIZINGS = ("constant", "vol-target", "kelly")
# Kelly that dares: with its usual prior a random walk gives it too little to hold
RULES = SizingRules(kelly_prior_bars=20, kelly_half_life_days=5, kelly_prior_volatility=0.05)


def raw_candles(candles, num_assets, seed=0):
    """Candles as a source reads them, with a short gap and a calm in the first asset."""
    market = candles(num_assets, ROWS, seed)
    raws = []
    for n, symbol in enumerate(market.symbols):
        columns = {name: getattr(market, name)[:, n].copy() for name in COLUMNS}
        if n == 0:
            for name in COLUMNS[:4]:
                columns[name][1250:1260] = columns["close"][1249]
            columns["volume"][1250:1260] = 0
        raw = RawCandles(symbol, f"{symbol}.csv", np.arange(ROWS), market.time, **columns, synthetic=True)
        kept = np.delete(np.arange(ROWS), slice(900, 902) if n == 0 else slice(0))
        raws.append(replace(raw, **{name: getattr(raw, name)[kept] for name in ("row", "time", *COLUMNS)}))
    return raws


def with_another_future(raws, after_ms, seed=1):
    """The same candles up to the one that opens at `after_ms`, and other prices and volumes after it."""
    rng, others = np.random.default_rng(seed), []
    for raw in raws:
        later, size = raw.time > after_ms, len(raw.time)
        close = raw.close * np.exp(np.cumsum(np.where(later, rng.normal(0.01, 0.05, size), 0)))
        opens = close * np.exp(rng.normal(0, 0.02, size))
        bars = {
            "open": opens,
            "close": close,
            "high": np.maximum(opens, close) * 1.01,
            "low": np.minimum(opens, close) * 0.9,
        }
        bars["volume"] = raw.volume * rng.lognormal(0, 2, size) + 1
        others.append(replace(raw, **{name: np.where(later, bars[name], getattr(raw, name)) for name in COLUMNS}))
    return others


def fit(features, corr, train_rows):
    """The normaliser of the training span."""
    return fit_scaling(features, corr, train_rows)


@partial(jax.jit, static_argnums=(0, 1))
def initialise(policy, width, key):
    """Random parameters of one seed, with an actor that is bold enough to react to everything."""
    variables = policy.init(key, policy.initial_carry(1), jnp.zeros((1, width)))
    params = {**variables["params"], "actor": jax.tree.map(lambda x: 50 * x, variables["params"]["actor"])}
    return {**variables, "params": params}


def trace(raws, core, build, fit):
    """Everything that a run derives from candles: name -> (values with time first, first row whose value may differ).

    Rows of the second kind are counted from the changed row t: features, base and actions of rows <= t and equity of
    rows < t have to stay.
    """
    candles, _ = check_candles(raws)
    assets = len(candles.symbols)
    train = split_rows(candles).train
    whole = ((400, len(candles.time) - 1),)
    markets = {sizing: build(candles, sizing) for sizing in SIZINGS}
    market = markets["vol-target"]
    scaling = fit(market.features, market.corr, decision_rows(train))
    module, hidden = make_core(core, hidden_dim=8, num_layers=1, lstm_hidden_dim=8, lstm_num_layers=1)
    policy = Policy(module, assets, hidden)
    variables = with_scaling(initialise(policy, observation_width(assets), jax.random.key(0)), scaling)
    params = make_params(to_device(market), train, episode_steps=100)
    stacked = jax.tree.map(lambda x: x[None], variables)
    path = member(run_policy(policy, stacked, make_tape(to_device(market), whole), params), 0)
    before = np.zeros((400, assets))
    tradable = market.tradable
    return {
        "candles": (np.stack([getattr(candles, name) for name in COLUMNS], 1), 1),
        "features": (market.features, 1),
        "correlations": (market.corr, 1),
        **{f"base {sizing}": (markets[sizing].base, 1) for sizing in SIZINGS},
        "tradable": (tradable, 0),
        "to_mark": (market.to_mark, 0),
        "normaliser": (np.concatenate(scaling)[None], 1),
        "actions": (np.concatenate([before, path.multiplier]), 1),
        "equity": (np.concatenate([before[:, 0], np.cumsum(path.log_return.astype(float))]), 0),
    }


def audit(raws, t, core="mlp", build=build_market, fit=fit):
    """Names of what differs at rows that may not know of a change of all candles after row t; empty if causal."""
    candles, _ = check_candles(raws)
    changed = with_another_future(raws, candles.time[t])
    ours, theirs = (trace(x, core, build, fit) for x in (raws, changed))
    after = ours["to_mark"][0][t + 1 :] != theirs["to_mark"][0][t + 1 :]
    assert after[:-1].all(), "the change has to reach every later candle"
    return {
        name
        for name, (values, known) in ours.items()
        if not np.array_equal(values[: t + known], theirs[name][0][: t + known])
    }


def build_rules(candles, sizing):
    """The market of a run."""
    return build_market(candles, sizing, RULES)


END_OF_TRAINING = int(0.6 * ROWS) - 1


@pytest.mark.parametrize("assets", [1, 3])
@pytest.mark.parametrize("core", ["mlp", "lstm"])
def test_nothing_that_was_known_or_decided_changes_with_the_future(candles, core, assets):
    raws = raw_candles(candles, assets)
    for t in (END_OF_TRAINING, 1700, ROWS - 3):
        assert audit(raws, t, core, build_rules) == set()


def test_the_audit_looks_at_numbers_that_vary(candles):
    seen = trace(raw_candles(candles, 3), "lstm", build_rules, fit)
    for name, (values, _) in seen.items():
        if name not in ("base constant", "normaliser"):
            assert len(np.unique(values[400:])) > 1, name
    actions = seen["actions"][0][400:]
    assert actions.std(0).min() > 0.1
    assert (seen["base kelly"][0][400:] > 0).mean() > 0.2
    assert len(np.unique(seen["tradable"][0])) == 2


def features_one_row_early(candles, sizing):
    """A planted fault: row t shows the features of row t + 1."""
    market = build_rules(candles, sizing)
    return market._replace(features=np.roll(market.features, -1, axis=0), corr=np.roll(market.corr, -1, axis=0))


def normaliser_of_all_rows(features, corr, train_rows):
    """A planted fault: the constants of every row, the future's included."""
    return fit_scaling(features, corr, np.arange(400, len(features)))


def base_of_the_next_close(candles, sizing):
    """A planted fault: the base position knows close[t+1]."""
    market = build_rules(candles, sizing)
    ahead = np.roll(candles.close, -1, axis=0) / candles.close - 1
    return market._replace(base=market.base * (1 + ahead).astype(np.float32))


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({"build": features_one_row_early}, {"features", "actions"}),
        ({"build": build_rules, "fit": normaliser_of_all_rows}, {"normaliser", "actions", "equity"}),
        ({"build": base_of_the_next_close}, {"base constant", "base vol-target"}),
    ],
    ids=["features one row early", "normaliser of all rows", "base of the next close"],
)
@pytest.mark.parametrize("assets", [1, 3])
def test_the_audit_catches_planted_faults(candles, fault, found, assets):
    differs = audit(raw_candles(candles, assets), END_OF_TRAINING, **fault)
    assert found <= differs
    clean = {"candles", "to_mark", "tradable"}
    assert not differs & clean


@pytest.mark.parametrize("calendar", ["continuous", "sessions"])
@pytest.mark.parametrize("sizing", SIZINGS)
def test_rows_do_not_know_whether_later_candles_exist(candles, sizing, calendar):
    raws = raw_candles(candles, 2)
    if calendar == "sessions":  # the second half trades half of the hours
        closed = (np.arange(ROWS) > 1500) & (np.arange(ROWS) % 2 == 0)
        raws = [
            replace(raw, **{name: getattr(raw, name)[~closed[raw.row]] for name in ("row", "time", *COLUMNS)})
            for raw in raws
        ]
    stop = 1400
    whole, _ = check_candles(raws, calendar=calendar, bar_ms=3_600_000)
    until = [
        replace(x, **{name: getattr(x, name)[x.time <= whole.time[stop - 1]] for name in ("row", "time", *COLUMNS)})
        for x in raws
    ]
    part, _ = check_candles(until, calendar=calendar, bar_ms=3_600_000)
    assert len(part.time) == stop
    for ours, theirs in zip(market_features(part), market_features(whole), strict=True):
        np.testing.assert_allclose(ours, theirs[:stop], rtol=0, atol=1e-12)
    ours, theirs = (base_positions(sizing, x, RULES) for x in (part, whole))
    np.testing.assert_allclose(ours, theirs[:stop], rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(align_prices(part, "next-open"), align_prices(whole, "next-open"), strict=True):
        np.testing.assert_array_equal(ours[: stop - 1], theirs[: stop - 1])
