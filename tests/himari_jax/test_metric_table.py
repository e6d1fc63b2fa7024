"""The table of metrics, and the intervals of those that bars drawn anew say something of."""

import math
from dataclasses import replace

import numpy as np
import pytest

from himari_jax.statistics import metrics
from himari_jax.statistics.bootstrap import metric_intervals, paired_metric_differences
from himari_jax.statistics.metric_table import METRICS, AccountSeries, measure


def history(seed, rows=1500):
    """Returns, held, traded, cost of an account of noise."""
    rng = np.random.default_rng(seed)
    held = rng.uniform(0, 0.5, (rows, 2))
    return rng.normal(1e-4, 0.01, rows), held, rng.uniform(0, 0.1, rows), rng.uniform(0, 1e-4, rows)


def test_intervals_hold_what_was_measured():
    r, held, traded, cost = history(0)
    found = metric_intervals(r, held, traded, cost, 8760.0)
    measured = {
        "sortino": metrics.sortino(r, 8760.0),
        "cagr": metrics.cagr(r, 8760.0),
        "cvar_5": metrics.cvar_5(r),
        "win_rate_bar": metrics.win_rate_bar(r, held),
        "turnover": metrics.turnover(traded, 8760.0),
        "cost_drag": metrics.cost_drag(cost, 8760.0),
        "exposure": metrics.exposure(held),
        "herfindahl": metrics.herfindahl(held),
        "diversification": metrics.diversification(held),
    }
    for name, value in measured.items():
        low, high = found[name]
        assert low < value < high, name
    assert found["max_drawdown"][0] < found["max_drawdown"][1] < 0
    assert found["herfindahl"] == pytest.approx([1 - x for x in found["diversification"][::-1]])


def test_an_interval_of_the_win_rate_holds_the_truth_in_95_of_100_worlds():
    held = np.ones((400, 1))
    inside = 0
    for seed in range(100):
        r = np.random.default_rng(seed).normal(0, 0.01, 400)
        low, high = metric_intervals(r, held, held[:, 0], held[:, 0], 8760.0, num_samples=200)["win_rate_bar"]
        inside += low <= 0.5 <= high
    assert inside >= 88  # 3 deviations below 95


def test_differences_are_paired():
    r, held, traded, cost = history(0)
    _, others, more, fees = history(1)
    same = paired_metric_differences((r, held, traded, cost), (r, held, traded, cost), 8760.0, 50)
    assert all(value == 0 and ends == (0, 0) for value, ends in same.values())
    ahead = paired_metric_differences((r + 1e-4, held, traded, cost), (r, others, more, fees), 8760.0, 200)
    value, (low, high) = ahead["sortino"]
    assert 0 < low < value < high
    own = metric_intervals(r, held, traded, cost, 8760.0, 200)["sortino"]
    assert high - low < (own[1] - own[0]) / 4  # because the bars are the same


def test_the_table_says_what_the_functions_say():
    r, held, traded, cost = history(0)
    found = measure(replace(AccountSeries.of(r, held, traded, cost, 8760.0), win_rate_trip=0.25))
    ours = {
        "sharpe": metrics.sharpe(r, 8760.0),
        "sortino": metrics.sortino(r, 8760.0),
        "cagr": metrics.cagr(r, 8760.0),
        "calmar": metrics.calmar(r, 8760.0),
        "max_drawdown": metrics.max_drawdown(r),
        "cvar_5": metrics.cvar_5(r),
        "win_rate_bar": metrics.win_rate_bar(r, held),
        "win_rate_trip": 0.25,
        "turnover": metrics.turnover(traded, 8760.0),
        "cost_drag": metrics.cost_drag(cost, 8760.0),
        "exposure": metrics.exposure(held),
        "herfindahl": metrics.herfindahl(held),
        "diversification": metrics.diversification(held),
        "final_equity": float(np.prod(1 + r)),
    }
    assert found == ours
    assert list(found) == list(METRICS)


def test_bars_drawn_in_their_own_order_change_no_metric():
    series = AccountSeries.of(*history(1), 8760.0)
    assert measure(series.drawn(np.arange(1500)), resampled=True) == measure(series, resampled=True)


def test_there_is_an_interval_for_every_metric_that_the_table_resamples_and_no_other():
    found = metric_intervals(*history(2), 8760.0, num_samples=20)
    assert list(found) == [name for name, metric in METRICS.items() if metric.resampled]
    assert not METRICS["sharpe"].resampled  # its interval is paired with the baselines'


def test_every_metric_has_a_heading_of_its_own_and_a_form():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        assert format(0.5, metric.form)


def test_a_metric_that_gates_take_by_its_size_is_never_above_0():
    series = AccountSeries.of(*history(3), 8760.0)
    for name in (name for name, metric in METRICS.items() if metric.by_size):
        assert measure(series)[name] <= 0


def test_what_is_undefined_is_nan():
    flat = np.zeros(10)
    found = measure(AccountSeries.of(flat, flat[:, None], flat, flat, 8760.0))
    undefined = {"sharpe", "sortino", "calmar", "win_rate_bar", "win_rate_trip", "herfindahl", "diversification"}
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
