"""Laws of decisions every D bars: the account between them, drawdown, phases, flags."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from commands import command
from worlds import candles_of, noise_close

from envs.market import as_phases, build_market, stack_decisions
from himari_jax.positions.baselines import Orders
from himari_jax.splits import decision_rows
from himari_jax.statistics import metrics
from train.config.market import MarketConfig
from train.evaluation.summary import account_metrics
from train.simulation.frames import bar_times, equity_frame
from train.simulation.play import play_orders
from train.simulation.simulator import build_simulator

ROWS, STEP, RATE = 1400, 24, 0.002
SPAN = (range(407, 900, STEP), range(1000, 1360, STEP))
EVERY = tuple(range(each[0], each[-1] + STEP) for each in SPAN)  # the bars of the same intervals


@pytest.fixture(scope="module", params=["next-open", "same-close"])
def pair(request):
    """Three assets, decided every 24 bars, and every bar with orders at the same bars alone."""
    history = candles_of(noise_close(ROWS, 3, seed=3))
    tradable = np.random.default_rng(1).random(history.close.shape) > 0.1
    history = replace(history, tradable=tradable)
    config = MarketConfig(fill=request.param, min_trade=0.02)
    seldom = build_simulator(history, replace(config, decide_every="24h"), SPAN, (0, 1))
    every = build_simulator(history, config, EVERY, (0, 1))
    rows = decision_rows(SPAN)
    target = np.random.default_rng(0).dirichlet(np.ones(4), ROWS)[:, :3]
    some = play_orders(seldom, 0, [Orders(target[rows], np.ones((len(rows), 3), bool))], [RATE])[0]
    bars = decision_rows(EVERY)
    ordered = np.isin(bars, rows)[:, None] & np.ones((1, 3), bool)
    whole = play_orders(every, 0, [Orders(target[bars], ordered)], [RATE])[0]
    return (seldom, some), (every, whole), np.isin(bars, rows)


def test_between_decisions_positions_drift_as_they_do_without_orders(pair):
    (_, some), (_, whole), decided = pair
    np.testing.assert_allclose(some.bar_equity, whole.equity, rtol=2e-5)
    np.testing.assert_allclose(some.held, whole.held[decided], atol=2e-6)
    np.testing.assert_allclose(some.delta, whole.delta[decided], atol=2e-6)
    np.testing.assert_allclose(some.equity, whole.equity[STEP - 1 :: STEP], rtol=2e-5)


def test_the_drawdown_is_that_of_the_bars(pair):
    (seldom, some), (every, whole), _ = pair
    end = np.zeros(len(some.returns), bool)
    found = account_metrics(some, end, seldom.bars_per_year)
    assert found["max_drawdown"] == pytest.approx(metrics.max_drawdown(whole.returns), rel=1e-3)
    assert found["max_drawdown"] < metrics.max_drawdown(some.returns)
    assert found["cagr"] == pytest.approx(metrics.cagr(whole.returns, every.bars_per_year), rel=1e-3)
    assert seldom.bars_per_year * STEP == every.bars_per_year


def test_equity_parquet_has_every_bar_with_the_weights_that_drift(pair):
    (seldom, some), (every, whole), decided = pair
    ours = equity_frame(seldom, 0, 0, some, {"same": some.bar_equity})
    theirs = equity_frame(every, 0, 0, whole, {"same": whole.bar_equity})
    assert ours.columns == theirs.columns
    assert ours["time"].to_list() == theirs["time"].to_list()
    assert ours["liquidated"].to_list() == theirs["liquidated"].to_list()
    for name in ("equity", "baseline_same"):
        np.testing.assert_allclose(ours[name].to_numpy(), theirs[name].to_numpy(), rtol=2e-5)
    # Between decisions both say what is held: after the fill at the next open, or at the close itself.
    weights = [f"weight_S{n}" for n in range(3)]
    a, b = (frame.select(weights).to_numpy() for frame in (ours, theirs))
    np.testing.assert_allclose(a[decided], b[decided], atol=2e-6)
    fill = every.host.to_fill
    if not fill.any():
        np.testing.assert_allclose(a, b, atol=5e-6)


def test_a_market_of_decisions_holds_each_decision_at_every_phase_once():
    history = candles_of(noise_close(ROWS, 2))
    market = build_market(history, step=STEP)
    stacked, spans = stack_decisions([(market, SPAN)], any_phase=True)
    rows = np.concatenate([np.arange(each.start + k, each.stop, STEP) for each in SPAN for k in range(STEP)])
    np.testing.assert_array_equal(stacked.to_mark, market.to_mark[rows])
    np.testing.assert_array_equal(stacked.features, market.features[rows])
    assert sorted(rows.tolist()) == [row for each in SPAN for row in range(each.start, each.stop)]
    assert [len(each) for each in spans] == [len(each) for each in as_phases(SPAN)]
    assert spans[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(spans))


def test_the_return_of_an_interval_is_that_of_its_bars():
    history = candles_of(noise_close(ROWS, 2))
    for fill in ("next-open", "same-close"):
        one, many = (build_market(history, fill=fill, step=step, dtype=np.float64) for step in (1, STEP))
        rows = decision_rows(SPAN)
        price = history.open[rows + 1] if fill == "next-open" else history.close[rows]
        np.testing.assert_allclose((1 + many.to_mark[rows]) * price, history.close[rows + STEP], rtol=1e-12)
        np.testing.assert_array_equal(one.to_fill[rows], many.to_fill[rows])
        assert not many.to_mark[-STEP:].any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--decide-every", "90m"), "--decide-every 90m: must be a whole number of bars of 1h"),
        (("--decide-every", "24"), "--decide-every 24: must be a number and m, h or d, such as 15m, 1h, 1d"),
        (("--decide-every", "24h", "--decide-phase", "30m"), "--decide-phase 30m: must be a whole number of bars"),
        (("--draw-phase",), "--decide-phase, --draw-phase given: must be given beside --decide-every"),
        (("--decide-every", "6000h"), "train span has at most 1800 bars"),
        (("--embargo", "tomorrow"), "--embargo tomorrow: must be a number and m, h or d"),
        (("--embargo", "900h"), "an embargo of 900 bars and one decision need 902"),
        (("--split", "2024-02-01", "0.8"), "two rising shares between 0 and 1, or two rising dates"),
        (("--split", "2025-02-01", "2024-02-01"), "two rising shares between 0 and 1, or two rising dates"),
    ],
)
def test_bad_intervals_cuts_and_embargoes_are_one_line(flags, message, tmp_path, capfd):
    assert command(tmp_path / "run", *flags) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("calendar", ["continuous", "sessions"])
def test_bars_between_decisions_have_the_times_at_which_they_close(calendar):
    history = candles_of(noise_close(600, 1, seed=3))
    if calendar == "sessions":  # seven hours a day
        hour = history.bar_ms * (np.arange(600) // 7 * 24 + np.arange(600) % 7)
        history = replace(history, calendar=calendar, time=history.time[0] + hour)
    span = (range(407, 500, 5), range(520, 590, 5))
    simulator = build_simulator(history, MarketConfig(decide_every="5h"), span, (0,))
    rows = decision_rows(span)[:, None] + np.arange(5)
    np.testing.assert_array_equal(bar_times(simulator, simulator.times, 5), history.time[rows] + history.bar_ms)
