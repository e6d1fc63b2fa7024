"""Laws of the market without drift: as long as look-backs and decisions ask for, at every length of a bar."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backtests import backtest, read
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.features.market import BASE
from himari_jax.splits import stretches
from himari_jax.times import HOUR_MS
from train.backtesting.audits import null_of
from train.compare import main as compare
from train.config.market import MarketConfig
from train.data.market import market_from
from train.evaluation.null_market import null_market
from train.ppo import main as train
from train.simulation.rules import load_strategy

MINUTE_MS, DAY_MS = 60_000, 24 * HOUR_MS
FLAGS = "--bar 1m --synthetic.num-bars 44000 --total-steps 512".split()


def leak():
    """The known leak."""
    return load_strategy(Path(__file__).parents[1] / "support" / "strategies" / "known_leak.py")


def null_of_rule(strategy, candles, config, delay):
    """The audit of a rule on a market without drift."""
    return null_of(strategy, strategy.weights(candles, market_from(candles, config)), candles, config, delay)


@pytest.mark.parametrize("assets", [1, 2])
@pytest.mark.parametrize("bar_ms", [MINUTE_MS, HOUR_MS, DAY_MS])
def test_on_a_market_without_drift_only_a_leak_earns(candles, assets, bar_ms):
    market = candles(assets, 1000, bar_ms=bar_ms)
    assert null_of_rule(leak(), market, MarketConfig(), 0).passed is False
    assert null_of_rule(leak(), market, MarketConfig(), 1).passed is True


@pytest.mark.parametrize("bar_ms", [MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, DAY_MS])
@pytest.mark.parametrize("rows", [10, 1000, 100_000])
def test_decisions_follow_the_look_back_and_the_market_is_hardly_longer_than_the_candles(candles, bar_ms, rows):
    market, look_back = candles(1, rows, bar_ms=bar_ms), BASE.lookback(bar_ms)
    for step in (1, 24, 1440, 10_000):
        null = null_market(market, look_back, step)
        after = len(null.time) - look_back
        assert 12_000 <= after <= max(12_000, rows, 4 * step)
        (span,) = stretches(null, 0, len(null.time), look_back, step, phase_ms=7 * bar_ms)
        assert len(span) >= 2
        assert len(span) >= min(250, rows // step) - 2
    assert null.bar_ms == bar_ms


def test_returns_have_the_deviation_of_the_candles_and_no_drift(candles):
    market = candles(2, 3000, seed=4)
    null = null_market(market, 400)
    assert len(null.time) == 12_400
    moves, own = (np.diff(x.close, axis=0) / x.close[:-1] for x in (null, market))
    np.testing.assert_allclose(moves.std(0), own.std(0), rtol=0.03)
    assert (np.abs(moves.mean(0)) < 4 * moves.std(0) / np.sqrt(len(moves))).all()
    assert abs(np.corrcoef(moves[1:, 0], moves[:-1, 0])[0, 1]) < 0.04


def test_a_rule_that_looks_back_far_gets_a_market_that_is_long_enough(candles):
    market, far = candles(1, 30_000, seed=1), 20_000

    def rose(market, candles):
        found = np.full(candles.close.shape, np.nan)
        found[far:] = 0.5 * (candles.close[far:] > candles.close[: len(found) - far])
        return found

    found = null_of_rule(replace(leak(), function=rose), market, MarketConfig(), 0)
    assert found.passed is True
    assert "not run" not in found.detail


def test_a_rule_that_says_nothing_there_is_not_run(candles):
    own = candles(1, 1000)

    def dated(market, candles):
        return np.where(candles.time[:, None] >= own.time[0], 0.3, np.nan)

    found = null_of_rule(replace(leak(), function=dated), own, MarketConfig(), 0)
    assert found.passed is None
    assert "not run" in found.detail


@pytest.mark.slow
def test_a_run_of_minutes_goes_through_backtest_and_compare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "minutes"
    assert run_command(train, [*TINY_RUN, *FLAGS, "--run-dir", str(run)]) == 0
    assert backtest(tmp_path / "out", run, "--costs", 10, "--delays", 0, "--equity", "own") == 0
    audits = {audit["name"]: audit for audit in read(tmp_path / "out" / "result.json")["audits"]}
    assert audits["causality"]["passed"]
    assert audits["null market"]["passed"]
    rule = tmp_path / "rule.py"
    rule.write_text("def weights(market):\n    return 0.4 * (market.features[..., 3] > 0)\n")
    assert run_command(compare, [str(run), str(rule), "--costs", "10", "--delays", "0", "--device", "cpu"]) == 0
