"""Laws of the sums that fade: what the fast ways give is what the definition gives."""

import numpy as np
import pytest

from himari_jax.positions.sizing import LONG_WINDOW, ewma_volatility, exponential_sum, sizing_lookback, weighted_sum
from himari_jax.times import MINUTE_MS


def one_by_one(x, decay):
    """`s[t] = decay[t] s[t-1] + x[t]`, a row after the other."""
    out, state = np.zeros_like(x), np.zeros(x.shape[1])
    for t, rate in enumerate(np.broadcast_to(decay, x.shape)):
        state = rate * state + x[t]
        out[t] = state
    return out


@pytest.mark.parametrize("decay", [0.3, 0.9999, 1.0])
def test_a_sum_that_fades_evenly_is_its_recursion(decay):
    x = np.random.default_rng(0).normal(0, 1e-3, (5000, 2))
    expected = one_by_one(x, decay)
    np.testing.assert_allclose(exponential_sum(x, decay), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(exponential_sum(x, np.full((5000, 1), decay)), expected, rtol=1e-12, atol=1e-15)


def test_a_sum_that_fades_unevenly_is_its_recursion():
    rng = np.random.default_rng(1)
    x, decay = rng.normal(0, 1e-3, (5000, 2)), rng.uniform(0.9, 1, (5000, 1))
    np.testing.assert_array_equal(exponential_sum(x, decay), one_by_one(x, decay))


@pytest.mark.parametrize("rows", [10, LONG_WINDOW, 4 * LONG_WINDOW])
def test_a_long_window_is_the_sum_over_its_rows(rows):
    keep, x = 1 - 1 / LONG_WINDOW, np.random.default_rng(2).exponential(1e-6, (rows, 2))
    x[rows // 3] = 0.25  # a crash
    weights = keep ** np.arange(LONG_WINDOW)
    expected = np.stack([np.convolve(column, weights)[:rows] for column in x.T], axis=1)
    np.testing.assert_allclose(weighted_sum(x, weights, keep), expected, rtol=1e-12)


def test_the_volatility_of_minutes_forgets_what_leaves_the_look_back(candles):
    rows = sizing_lookback(MINUTE_MS)
    market = candles(1, rows + 3000, seed=7, bar_ms=MINUTE_MS)
    market.close[:500] *= 3  # a fall to a third, in one bar
    whole = ewma_volatility(market)[-1, 0]
    moves = np.diff(market.close[-rows:, 0]) / market.close[-rows:-1, 0]
    weights = (1 - 2 / (168 * 60 + 1)) ** np.arange(rows - 1)[::-1]
    assert whole == pytest.approx(np.sqrt((weights * moves**2).sum() / weights.sum()), rel=1e-12)


def test_prices_that_stand_still_for_the_look_back_have_no_volatility(candles):
    market = candles(1, sizing_lookback(MINUTE_MS) + 3000, seed=7, bar_ms=MINUTE_MS)
    market.close[2000:] = 50.0
    found = ewma_volatility(market)
    assert (found >= 0).all()
    assert found[-1, 0] < 1e-6 * found[1999, 0]
