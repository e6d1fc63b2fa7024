"""The audit of causality: later candles change nothing that was known, decided or earned before them.

Planted faults show that the audit of every backtest would find a leak.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.market import align_prices, build_market
from himari_jax.candles import COLUMNS, RawCandles
from himari_jax.checking.candles import check_candles
from himari_jax.features.market import market_features, observation_width
from himari_jax.policies.policy import Policy, fit_scaling, with_scaling
from himari_jax.policies.registry import make_core
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import SizingRules
from himari_jax.splits import decision_rows, split_rows
from train.backtesting import audits
from train.backtesting.audits import bars_around
from train.config.market import DataConfig, MarketConfig
from train.evaluation.causality import (
    AgentPipeline,
    audit_causality,
    causality_result,
    normalizer_differs,
    strategy_pipeline,
)
from train.evaluation.futures import another_future
from train.simulation.rules import load_strategy

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


@partial(jax.jit, static_argnums=(0, 1))
def initialize(policy, width, key):
    """Random parameters of one seed, with an actor that is bold enough to react to everything."""
    variables = policy.init(key, policy.initial_carry(1), jnp.zeros((1, width)))
    params = {**variables["params"], "actor": jax.tree.map(lambda x: 50 * x, variables["params"]["actor"])}
    return {**variables, "params": params}


def pipeline_of(raws, core="mlp", sizing="vol-target", **faults):
    """The pipeline of a policy that was never trained, from candles to equity."""
    candles, _ = check_candles(raws)
    assets = len(candles.symbols)
    train = split_rows(candles).train
    market = build_market(candles, sizing, RULES)
    module, hidden = make_core(core, hidden_dim=8, num_layers=1, lstm_hidden_dim=8, lstm_num_layers=1)
    policy = Policy(module, assets, hidden)
    scaling = fit_scaling(market.features, market.corr, decision_rows(train))
    variables = with_scaling(initialize(policy, observation_width(assets), jax.random.key(0)), scaling)
    return AgentPipeline(policy, variables, DARING[sizing], train, **faults)


# Kelly that dares: with its usual prior a random walk gives it too little to hold.
DARING = {sizing: MarketConfig(base_sizing=sizing, kelly_prior_bars=20, kelly_half_life_days=5) for sizing in SIZINGS}


def audit(raws, pipeline, rows=None, around=None):
    """Names of what knows later candles."""
    return audit_causality(raws, DataConfig(), pipeline, rows or [END_OF_TRAINING, 1700, ROWS - 4], around=around).leaks


END_OF_TRAINING = int(0.6 * ROWS) - 2  # the last decision of the training span


@pytest.mark.parametrize("assets", [1, 3])
@pytest.mark.parametrize(("core", "sizing"), [("mlp", "kelly"), ("lstm", "vol-target"), ("mlp", "constant")])
def test_nothing_that_was_known_or_decided_changes_with_the_future(candles, core, sizing, assets):
    raws = raw_candles(candles, assets)
    assert audit(raws, pipeline_of(raws, core, sizing)) == set()


def test_the_audit_looks_at_numbers_that_vary(candles):
    raws = raw_candles(candles, 3)
    pipeline = pipeline_of(raws, "lstm", "kelly")
    follow = pipeline(check_candles(raws)[0])
    seen = follow(1700)
    assert "normalizer" in seen
    assert set(follow(END_OF_TRAINING - 1)) == set(seen) - {"normalizer"}
    for name, (values, _) in seen.items():
        if name != "normalizer":
            assert len(np.unique(values[-1000:])) > 1, name
    assert seen["actions"][0][-1000:].std(0).min() > 0.1
    assert (seen["base positions"][0][400:] > 0).mean() > 0.2


@pytest.mark.parametrize("sign", [1, -1])
def test_another_future_changes_every_later_candle_and_no_earlier_one(candles, sign):
    raws = raw_candles(candles, 2)
    now = int(raws[0].time[1500])
    for ours, theirs in zip(raws, another_future(raws, now, sign), strict=True):
        later = ours.time > now
        for name in COLUMNS:
            a, b = getattr(ours, name), getattr(theirs, name)
            np.testing.assert_array_equal(a[~later], b[~later])
            assert (a[later] != b[later]).all(), name
        first = int(np.argmax(later))
        assert np.sign(theirs.close[first] / ours.close[first - 1] - 1) == sign
    check_candles(another_future(raws, now, sign))  # and they are candles


def test_prices_of_a_long_future_stay_where_sums_can_hold_them(candles):
    raws = raw_candles(candles, 1)
    rows = np.arange(1_000_000)
    long = replace(raws[0], row=rows, time=rows, **{name: np.full(len(rows), 7.0) for name in COLUMNS})
    close = another_future([long], 10, 1)[0].close
    assert np.ptp(np.log(close)) < 36  # e^36 is the largest ratio of which a sum in float64 keeps both numbers
    assert (np.diff(close[11:]) != 0).all()


def features_one_row_early(candles, config, delay):
    """A planted fault: row t shows the features of row t + 1."""
    market = build_market(candles, config.base_sizing, RULES)
    return market._replace(features=np.roll(market.features, -1, axis=0), corr=np.roll(market.corr, -1, axis=0))


def normalizer_of_all_rows(features, corr, train_rows):
    """A planted fault: the constants of every row, the future's included."""
    return fit_scaling(features, corr, np.arange(400, len(features)))


def base_of_the_next_close(candles, config, delay):
    """A planted fault: the base position knows close[t+1]."""
    market = build_market(candles, config.base_sizing, RULES)
    ahead = np.roll(candles.close, -1, axis=0) / candles.close - 1
    return market._replace(base=market.base * (1 + ahead).astype(np.float32))


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({"build": features_one_row_early}, {"features", "actions"}),
        ({"fit": normalizer_of_all_rows}, {"normalizer"}),
        ({"build": base_of_the_next_close}, {"base positions", "equity"}),
    ],
    ids=["features one row early", "normalizer of all rows", "base of the next close"],
)
@pytest.mark.parametrize("assets", [1, 3])
def test_the_audit_catches_planted_faults(candles, fault, found, assets):
    raws = raw_candles(candles, assets)
    differs = audit(raws, pipeline_of(raws, **fault))
    assert found & differs
    assert not differs & {"candles"}


@pytest.mark.parametrize("fault", [features_one_row_early, base_of_the_next_close])
def test_the_audit_of_candles_cut_around_a_row_catches_planted_faults(candles, fault):
    raws = raw_candles(candles, 1)
    pipeline = replace(pipeline_of(raws, build=fault), train=None)
    assert audit(raws, pipeline, [1700], around=(1200, 300)) & {"features", "base positions"}
    assert audit(raws, replace(pipeline_of(raws), train=None), [1700], around=(1200, 300)) == set()


def test_only_long_candles_are_cut_and_never_within_the_look_back(candles, monkeypatch):
    market = candles(1, 500, 0)
    assert bars_around(market, 400) is None
    monkeypatch.setattr(audits, "MOST_BARS", 499)
    assert bars_around(market, 100) == (374, 124)
    assert bars_around(market, 400) == (401, 124)
    assert "525 bars around each" in causality_result(set(), 4, 525).detail


def test_constants_that_were_fitted_on_other_rows_are_noticed(candles):
    raws = raw_candles(candles, 2)
    pipeline, own = pipeline_of(raws), check_candles(raws)[0]
    market, rows = build_market(own, "vol-target", RULES), decision_rows(split_rows(own).train)
    seen = market.features[rows], market.corr[rows]
    assert not normalizer_differs(pipeline.variables["constants"]["normaliser"], *seen)
    scaling = normalizer_of_all_rows(market.features, market.corr, None)
    other = with_scaling(pipeline.variables, scaling)
    assert normalizer_differs(other["constants"]["normaliser"], *seen)


def leak():
    """The known leak."""
    return load_strategy(Path(__file__).parents[1] / "support" / "strategies" / "known_leak.py")


def test_the_known_leak_is_caught_and_passes_one_bar_later(candles):
    raws = raw_candles(candles, 1)
    assert audit(raws, strategy_pipeline(leak(), MarketConfig(), 0)) == {"weights"}
    assert audit(raws, strategy_pipeline(leak(), MarketConfig(), 1)) == set()


@pytest.mark.parametrize("ahead", [1, 5, 24])
def test_a_peek_of_any_length_is_caught_wherever_the_future_changes(candles, ahead):
    raws = raw_candles(candles, 1)

    def peek(market, candles):
        later = np.roll(candles.close, -ahead, axis=0)
        return np.where(later > candles.close, 0.5, 0.1)

    for t in (900, 1500, 1800):
        assert audit(raws, strategy_pipeline(replace(leak(), function=peek), MarketConfig(), 0), [t]) == {"weights"}


def test_a_strategy_that_counts_the_candles_to_come_is_caught(candles):
    raws = raw_candles(candles, 1)

    def count(market, candles):
        return np.full(candles.close.shape, 100 / len(candles.close))

    assert audit(raws, strategy_pipeline(replace(leak(), function=count), MarketConfig(), 0)) == {"weights"}


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
