"""Laws of the baseline `trend`: by its definition, causal, the base where nothing is known, any bar."""

from dataclasses import replace

import numpy as np
import pytest

from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.baselines import TREND_DAYS, Setting, base, trend
from himari_jax.positions.sizing import SizingRules
from himari_jax.times import HOUR_MS

DAY_MS = 24 * HOUR_MS
RULES = SizingRules()


@pytest.fixture(scope="module")
def days(candles):
    """Two assets of bars of a day, one segment."""
    return candles(2, 400, seed=5, bar_ms=DAY_MS)


def weights(candles, sizing="constant", rules=RULES):
    return trend(Setting(candles, sizing, rules))


def multiplier(close, t):
    """`clip(1 + mean_k tanh(mom_k), 0, 2)` of one asset at row t of bars of a day; what is not full counts as 0."""
    said = []
    for k in TREND_DAYS:
        if t >= max(k, 28):
            month = np.diff(np.log(close[t - 28 : t + 1])).std()
            said.append(np.tanh(np.log(close[t] / close[t - k]) / (month * np.sqrt(k))))
    return np.clip(1 + sum(said) / 5, 0, 2)


def test_the_rule_is_its_definition_times_the_base(days):
    found = weights(days)
    for t in (0, 27, 28, 40, 56, 89, 90, 250, 399):
        expected = [multiplier(days.close[:, n], t) * 0.25 for n in range(2)]
        np.testing.assert_allclose(found[t], expected, rtol=1e-11)
    assert found[90:].std(0).min() > 0.01


def test_without_a_month_of_history_the_rule_is_the_base(days):
    np.testing.assert_array_equal(weights(days)[:28], base(Setting(days, "constant", RULES))[:28])
    assert (weights(days)[28] != 0.25).all()


def test_prices_that_do_not_move_leave_the_base(days):
    still = replace(days, close=np.full_like(days.close, 7.0))
    np.testing.assert_array_equal(weights(still), base(Setting(still, "constant", RULES)))


def test_a_steady_rise_doubles_the_base_and_a_steady_fall_leaves_it(candles):
    market = candles(1, 200, bar_ms=DAY_MS)
    noise = 1e-4 * (-1.0) ** np.arange(200)
    for drift, expected in ((0.05, 0.5), (-0.05, 0.0)):
        close = 100 * np.exp(np.cumsum(drift + noise))[:, None]
        np.testing.assert_allclose(weights(replace(market, close=close))[90:], expected, atol=1e-6)


def test_no_row_knows_later_candles(days):
    found = weights(days)
    later = replace(days, close=np.where(np.arange(400)[:, None] > 200, days.close * 3, days.close))
    np.testing.assert_array_equal(weights(later)[:201], found[:201])
    assert (weights(later)[201:] != found[201:]).any()


def test_after_a_gap_the_rule_begins_anew(days):
    cut = replace(days, segment=(np.arange(400) >= 150).astype(np.int32))
    alone = replace(days, **{name: getattr(days, name)[150:] for name in ("time", "close", "tradable", "segment")})
    np.testing.assert_array_equal(weights(cut)[:150], weights(days)[:150])
    np.testing.assert_array_equal(weights(cut)[150:], weights(alone))


def test_both_caps_hold_and_the_base_may_be_any(days):
    rules = SizingRules(max_position_pct=0.3, max_gross=0.5)
    found = weights(days, "vol-target", rules)
    positions = base_positions("vol-target", days, rules)
    assert found.max() <= 0.3
    assert found.sum(1).max() <= 0.5 + 1e-12
    wanted = np.array([[multiplier(days.close[:, n], t) for n in range(2)] for t in range(100, 400)]) * positions[100:]
    free = (wanted <= 0.3).all(1) & (wanted.sum(1) <= 0.5)
    assert free.any()
    np.testing.assert_allclose(found[100:][free], wanted[free], rtol=1e-9)


@pytest.mark.parametrize("bar_ms", [HOUR_MS, 8 * HOUR_MS])
def test_bars_of_hours_say_at_the_close_of_a_day_what_bars_of_a_day_say(candles, bar_ms):
    per_day = DAY_MS // bar_ms
    fine = candles(1, 120 * per_day, seed=9, bar_ms=bar_ms)
    daily = candles(1, 120, bar_ms=DAY_MS)
    daily = replace(daily, close=fine.close[per_day - 1 :: per_day])
    np.testing.assert_array_equal(weights(fine)[per_day - 1 :: per_day][91:], weights(daily)[91:])


@pytest.mark.parametrize("bar_ms", [60_000, HOUR_MS // 4, 7 * HOUR_MS, 36 * HOUR_MS, 7 * DAY_MS])
def test_every_length_of_a_bar_has_the_rule(candles, bar_ms):
    rows = max(200, 95 * DAY_MS // bar_ms)
    found = weights(candles(1, rows, seed=2, bar_ms=bar_ms))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[-1] != 0.25).all()
