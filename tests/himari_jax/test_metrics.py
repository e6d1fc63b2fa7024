import math
import warnings

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from himari_jax.statistics import metrics

A = 8760
ONE_SERIES = {
    "sharpe": lambda r: metrics.sharpe(r, A),
    "sortino": lambda r: metrics.sortino(r, A),
    "cagr": lambda r: metrics.cagr(r, A),
    "max_drawdown": metrics.max_drawdown,
    "calmar": lambda r: metrics.calmar(r, A),
    "cvar_5": metrics.cvar_5,
}
REFERENCE = {
    "sharpe": lambda r: empyrical.sharpe_ratio(r, annualization=A),
    "sortino": lambda r: empyrical.sortino_ratio(r, annualization=A),
    "cagr": lambda r: empyrical.cagr(r, annualization=A),
    "max_drawdown": empyrical.max_drawdown,
    "calmar": lambda r: empyrical.calmar_ratio(r, annualization=A),
    "cvar_5": empyrical.conditional_value_at_risk,
}


def series(kind, length, seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(length) if kind == "normal" else rng.standard_t(3, length)
    return np.clip(2e-5 + 0.005 * noise, -0.9, 0.9)


@pytest.mark.parametrize("name", ONE_SERIES)
@pytest.mark.parametrize("kind", ["normal", "heavy"])
@pytest.mark.parametrize("length", [2, 21, 1000, 17_520])
def test_equals_empyrical(name, kind, length):
    for seed in range(3):
        r = series(kind, length, seed)
        ours, theirs = ONE_SERIES[name](r), REFERENCE[name](r)
        if not math.isfinite(theirs):  # growth of a two-bar year overflows, no bar loses
            assert math.isnan(ours)
        else:
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_five_bars_by_hand():
    r = np.array([0.10, -0.20, 0.05, 0.10, -0.05])
    # mean 0; squared 0.01 + 0.04 + 0.0025 + 0.01 + 0.0025 = 0.065
    assert metrics.sharpe(r, 4) == pytest.approx(0.0, abs=1e-15)
    assert metrics.sharpe(r + 0.01, 4) == pytest.approx(0.01 / math.sqrt(0.065 / 4) * 2)
    # below 0: -0.20 and -0.05, mean square 0.0425 / 5; with mean 0.01 added: -0.19 and -0.04, 0.0377 / 5
    assert metrics.sortino(r + 0.01, 4) == pytest.approx(0.01 * 4 / (math.sqrt(0.0377 / 5) * 2))
    # equity 1, 1.1, 0.88, 0.924, 1.0164, 0.96558: deepest 0.88 / 1.1 - 1 = -0.2; 5 bars at 10 a year: squared
    assert metrics.max_drawdown(r) == pytest.approx(-0.2)
    assert metrics.cagr(r, 10) == pytest.approx(0.96558**2 - 1)
    assert metrics.calmar(r, 10) == pytest.approx((0.96558**2 - 1) / 0.2)
    # int(4 * .05) + 1 = 1 worst bar; of 21 bars int(20 * .05) + 1 = 2
    assert metrics.cvar_5(r) == pytest.approx(-0.20)
    assert metrics.cvar_5(np.concatenate([r, np.zeros(16)])) == pytest.approx((-0.20 - 0.05) / 2)


def test_the_first_bar_can_be_a_drawdown():
    assert metrics.max_drawdown(np.array([-0.1, 0.05])) == pytest.approx(-0.1)


@given(arrays(float, st.integers(2, 60), elements=st.floats(-0.5, 0.5)), st.floats(0.1, 1.0))
def test_sharpe_and_sortino_are_free_of_leverage(r, leverage):
    r = np.round(r, 6)
    for ratio in (metrics.sharpe, metrics.sortino):
        np.testing.assert_allclose(ratio(r * leverage, A), ratio(r, A), rtol=1e-6, atol=1e-6)


@given(arrays(float, st.integers(2, 60), elements=st.floats(-0.5, 0.5)))
def test_drawdown_lies_between_ruin_and_nothing_and_a_worse_bar_never_helps(r):
    worse = np.concatenate([r, [-0.1]])
    assert -1 <= metrics.max_drawdown(worse) <= metrics.max_drawdown(r) <= 0


@pytest.mark.parametrize("name", ONE_SERIES)
@pytest.mark.parametrize("r", [[], [0.1], [0.1, np.nan, 0.2], [0.1, np.inf, -np.inf]])
def test_what_is_too_short_or_not_finite_is_nan_without_a_warning(name, r):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(ONE_SERIES[name](np.array(r)))


@pytest.mark.parametrize(
    ("name", "r", "expected"),
    [
        ("sharpe", [0.0] * 9, math.nan),
        ("sharpe", [0.001] * 10, math.nan),  # the float mean of equal numbers leaves a deviation of 1e-19
        ("sortino", [0.0, 0.1, 0.2], math.nan),  # never lost
        ("calmar", [0.0, 0.1, 0.2], math.nan),
        ("max_drawdown", [0.0, 0.1, 0.2], 0.0),
        ("cagr", [0.9, 0.9], math.nan),  # 3.61^4380 is no float
        ("cagr", [0.1, -1.0, 0.1], -1.0),  # all is lost
        ("max_drawdown", [0.1, -1.0, 0.1], -1.0),
        ("cagr", [0.1, -1.5, 0.1], math.nan),  # more than all
    ],
)
def test_degenerate_series(name, r, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ONE_SERIES[name](np.array(r)) == pytest.approx(expected, nan_ok=True)


def test_win_rate_by_bar_counts_bars_with_exposure_alone():
    r = np.array([0.1, -0.1, 0.0, 0.2, 0.3])
    held = np.array([[0.5, 0.0], [0.0, 0.2], [0.1, 0.1], [0.0, 0.0], [0.3, 0.3]])
    # bars 0, 1, 2, 4 are invested; 0 and 4 won, a return of 0 did not
    assert metrics.win_rate_bar(r, held) == 0.5
    assert math.isnan(metrics.win_rate_bar(r, np.zeros((5, 2))))


def test_round_trips_by_hand():
    # asset 0: bars 0-2 held, sold in bar 3 at a loss that turns the trip: +.02 + .01 - .01 - .03 < 0
    #          bars 5-6 held and still open at the end: +.01 + .01 > 0
    # asset 1: bar 1 held, sold in bar 2: -.01 + .02 > 0
    held = np.array([[0.5, 0.0], [0.4, 0.3], [0.6, 0.0], [0.0, 0.0], [0.0, 0.0], [0.2, 0.0], [0.2, 0.0]])
    pnl = np.array([[0.02, 0.0], [0.01, -0.01], [-0.01, 0.02], [-0.03, 0.0], [0, 0], [0.01, 0.0], [0.01, 0.0]])
    assert metrics.win_rate_trip(held, pnl) == pytest.approx(2 / 3)
    assert len(metrics.trip_profits(held, pnl)) == 3


def test_a_trip_is_won_by_money_not_by_a_sum_of_shares():
    # asset 0 wins 10 % of 1.0 = 0.10 and then loses 8 % of 2.2 (asset 1 has doubled the rest): 0.10 - 0.176 < 0
    held = np.array([[0.5, 0.5], [0.5, 0.5]])
    pnl = np.array([[0.10, 1.10], [-0.08, 0.0]])
    assert metrics.win_rate_trip(held, pnl) == 0.5


def test_liquidation_at_the_end_of_a_segment_ends_the_trip():
    held, pnl = np.full((4, 1), 0.5), np.array([[0.02], [0.01], [-0.01], [-0.01]])
    assert metrics.win_rate_trip(held, pnl) == 1.0  # one trip, +.02 +.01 -.01 -.01
    assert metrics.win_rate_trip(held, pnl, np.array([False, True, False, True])) == 0.5


def test_selling_and_buying_in_one_bar_is_resizing_not_a_trip():
    held = np.array([[0.1], [0.9], [0.2], [0.0]])
    assert metrics.win_rate_trip(held, np.array([[0.01], [-0.02], [0.03], [0.0]])) == 1.0


def test_nothing_held_is_no_trip():
    assert math.isnan(metrics.win_rate_trip(np.zeros((5, 2)), np.zeros((5, 2))))


def test_money_of_all_trips_is_the_equity_gained():
    # every bar on a trip: sum of money = E_T - 1
    rng = np.random.default_rng(3)
    held = np.where(rng.random((400, 3)) < 0.7, 0.3, 0.0)
    before = np.concatenate([np.zeros((1, 3)), held[:-1]])
    pnl = rng.normal(0, 0.01, (400, 3)) * ((held > 0) | (before > 0))
    equity = np.concatenate([[1.0], np.cumprod(1 + pnl.sum(axis=1))])
    profits = [metrics._trips(held[:, i] > 0, equity[:-1] * pnl[:, i], np.zeros(400, bool)) for i in range(3)]
    assert np.concatenate(profits).sum() == pytest.approx(equity[-1] - 1, abs=1e-12)


def test_turnover_and_cost_are_per_year():
    # a quarter of equity traded every other bar at 10 bp: 0.125 a bar
    traded = np.array([0.25, 0.0, 0.25, 0.0])
    assert metrics.turnover(traded, A) == pytest.approx(0.125 * 8760)
    assert metrics.cost_drag(traded * 0.001, A) == pytest.approx(0.125 * 8.760)


def test_exposure_and_concentration_by_hand():
    held = np.array([[0.2, 0.2], [0.3, 0.1], [0.0, 0.0], [0.5, 0.0]])
    # sums .4 .4 0 .5; a = (.5 .5) (.75 .25) - (1 0): .5, .625, 1
    assert metrics.exposure(held) == pytest.approx(1.3 / 4)
    assert metrics.herfindahl(held) == pytest.approx((0.5 + 0.625 + 1) / 3)
    assert metrics.diversification(held) == pytest.approx(1 - (0.5 + 0.625 + 1) / 3)


@given(arrays(float, (5, 3), elements=st.floats(0.01, 1)), st.floats(0.1, 10))
def test_concentration_lies_between_even_and_single_and_is_free_of_leverage(held, leverage):
    h = metrics.herfindahl(held)
    assert 1 / 3 - 1e-12 <= h <= 1
    assert metrics.herfindahl(held * leverage) == pytest.approx(h)


def test_nothing_held_has_exposure_0_and_no_concentration():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.exposure(np.zeros((4, 2))) == 0
        assert math.isnan(metrics.herfindahl(np.zeros((4, 2))))
        assert math.isnan(metrics.diversification(np.zeros((4, 2))))


def test_a_single_bar_is_nan_everywhere():
    one = np.array([[0.5]])
    values = [metrics.exposure(one), metrics.herfindahl(one), metrics.win_rate_trip(one, one)]
    values += [metrics.win_rate_bar(one[0], one), metrics.turnover(one[0], A), metrics.cost_drag(one[0], A)]
    assert np.isnan(values).all()


def test_a_series_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"one axis.*\(3, 1\)"):
        metrics.sharpe(np.zeros((3, 1)), A)
    with pytest.raises(ValueError, match=r"two axes.*\(3,\)"):
        metrics.exposure(np.zeros(3))
