"""Cells of long series: a resample of cells is one of their bars, and its intervals are as wide as they should be."""

import math

import numpy as np
import pytest

from himari_jax.statistics import bootstrap, cells, metrics
from himari_jax.statistics.metric_table import METRICS, AccountSeries, measure


def account(length, seed=0, inside=None):
    """An account of two assets that is flat at times."""
    rng = np.random.default_rng(seed)
    held = rng.uniform(0, 0.5, (length, 2)) * (rng.random((length, 1)) > 0.2)
    traded = np.abs(np.diff(held.sum(1), prepend=0))
    path = None if inside is None else 1 + 0.01 * rng.standard_normal((length, inside))
    return 0.002 * rng.standard_t(4, length), held, traded, 0.001 * traded, 8760.0, path


@pytest.fixture
def short_is_long(monkeypatch):
    """From 101 bars on a series is drawn in up to 250 cells."""
    monkeypatch.setattr(cells, "MOST_BARS", 100)
    monkeypatch.setattr(cells, "MOST_CELLS", 250)


@pytest.mark.parametrize("inside", [None, 3])
@pytest.mark.parametrize("length", [700, 701])  # whole cells, and a last one of a bar
def test_metrics_of_cells_that_are_drawn_are_those_of_their_bars(length, inside):
    series = AccountSeries.of(*account(length, inside=inside))
    known = cells.AccountCells.of(series, 7)
    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = rng.integers(0, len(known.bars), len(known.bars))
        bars = np.concatenate([np.arange(7 * c, min(7 * c + 7, length)) for c in drawn])
        assert known.measure(drawn) == pytest.approx(measure(series.drawn(bars), resampled=True), rel=1e-9)


def test_the_worst_bars_may_all_lie_in_one_cell_that_is_drawn_again_and_again():
    r = np.concatenate([np.full(7, -0.01), np.linspace(0.001, 0.002, 693)])
    series = AccountSeries.of(r, np.full((700, 1), 0.5), np.zeros(700), np.zeros(700), 1.0)
    known = cells.AccountCells.of(series, 7)
    for drawn in (np.zeros(100, int), np.full(100, 99)):  # the worst cell alone, the best cell alone
        bars = np.concatenate([np.arange(7 * c, 7 * c + 7) for c in drawn])
        assert known.measure(drawn)["cvar_5"] == pytest.approx(metrics.cvar_5(r[bars]))


def test_sharpes_of_cells_that_are_drawn_are_those_of_their_bars():
    r = 0.01 * np.random.default_rng(4).standard_normal((61, 3)) + 0.01
    drawn = np.random.default_rng(0).integers(0, 9, (5, 9))
    counts = np.stack([np.bincount(row, minlength=9) for row in drawn]).astype(float)
    bars = [np.concatenate([np.arange(7 * c, min(7 * c + 7, 61)) for c in row]) for row in drawn]
    expected = [[metrics.sharpe(r[b, k], 1) for k in range(3)] for b in bars]
    np.testing.assert_allclose(cells.Moments.of(r, 7).sharpes(counts), expected, rtol=1e-9)


def test_usual_series_are_drawn_bar_by_bar_and_longer_ones_in_a_bounded_number_of_cells():
    assert cells.bars_of_cell(cells.MOST_BARS) == 1
    for length in (cells.MOST_BARS + 1, 840_000, 50_000_000):
        assert cells.MOST_CELLS / 2 < len(cells.sums(np.ones(length), cells.bars_of_cell(length))) <= cells.MOST_CELLS


def test_a_long_account_has_an_interval_for_every_metric_that_is_resampled(short_is_long):
    found = bootstrap.metric_intervals(*account(900)[:4], 8760.0, num_samples=20)
    assert list(found) == [name for name, metric in METRICS.items() if metric.resampled]
    assert np.isfinite(list(found.values())).all()
    paired = bootstrap.paired_metric_differences(account(900)[:4], account(900, 1)[:4], 8760.0, num_samples=20)
    assert list(paired) == list(found)


@pytest.mark.usefixtures("short_is_long")
def test_intervals_over_cells_are_as_wide_as_those_over_bars(monkeypatch):
    columns = account(4000)[:4]
    over_cells = bootstrap.metric_intervals(*columns, 8760.0, num_samples=400)
    monkeypatch.setattr(cells, "MOST_BARS", 10_000)
    over_bars = bootstrap.metric_intervals(*columns, 8760.0, num_samples=400)
    for name, (low, high) in over_cells.items():
        # 400 resamples: the distance of two quantiles has a deviation of 5 or 6 % each
        assert high - low == pytest.approx(over_bars[name][1] - over_bars[name][0], rel=0.3), name


@pytest.mark.usefixtures("short_is_long")
@pytest.mark.parametrize("memory", [0.0, 0.2])
def test_intervals_over_cells_cover_about_95_percent(memory):
    # 2,000 bars in 250 cells of 8, 200 trials: deviation .015
    rng, inside, true = np.random.default_rng(21), 0, 0.05
    for trial in range(200):
        e = rng.standard_normal(2050)
        for t in range(1, len(e)):
            e[t] += memory * e[t - 1]
        r = e[50:] + true / math.sqrt(1 - memory**2)
        low, high = bootstrap.interval(bootstrap.stationary_bootstrap_sharpe(r[:, None], 1, 200, seed=trial)[:, 0])
        inside += low < true < high
    assert 0.90 <= inside / 200 <= 0.985
