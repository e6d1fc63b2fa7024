"""Laws of the set `trend`: by hand, free of the unit of prices, the same at bars of an hour and of a day, causal."""

from dataclasses import replace

import numpy as np
import pytest

from himari_jax.candles import Candles
from himari_jax.features.market import (
    Features,
    market_features,
    named_set,
    observation_names,
    observation_width,
    rows_of,
)
from himari_jax.features.own_features import load_features
from himari_jax.times import HOUR_MS

DAY_MS = 24 * HOUR_MS
TREND = Features((named_set("trend"),))
NAMES = ("momentum_7d", "momentum_28d", "momentum_90d", "volatility_28d")


def of_closes(close, bar_ms):
    """Candles that open and stay at their close, (T,) or (T, N)."""
    close = np.asarray(close, float).reshape(len(close), -1)
    rows = len(close)
    columns = dict.fromkeys(("open", "high", "low", "close"), close)
    return Candles(
        symbols=tuple(f"S{n}" for n in range(close.shape[1])),
        bar_ms=bar_ms,
        calendar="continuous",
        time=np.arange(rows, dtype=np.int64) * bar_ms,
        **columns,
        volume=np.ones_like(close),
        tradable=np.ones(close.shape, bool),
        segment=np.zeros(rows, np.int32),
    )


def walk(rows, seed=0, scale=0.03):
    """A random path of prices, (rows,)."""
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.001, scale, rows)))


def trend(candles):
    return market_features(candles, TREND)[0]


def test_the_names_and_the_look_back():
    assert TREND.names == NAMES
    # 365 returns of a day have 366 closes; of hours, 365 * 24 + 1
    assert [TREND.lookback(bar) for bar in (DAY_MS, HOUR_MS, HOUR_MS // 4)] == [366, 8761, 35041]


def test_momentum_and_volatility_by_hand():
    # Log returns +a and -a by turns, and 365 days of them: 28 days hold as many of each, so their deviation is a.
    # 7 days end with one more of the last sign: mom_7 = +-a / (a sqrt(7)); 28 and 90 days cancel: 0.
    a = 0.02
    returns = a * np.where(np.arange(400) % 2, 1.0, -1.0)
    values = trend(of_closes(np.exp(np.cumsum(returns)), DAY_MS))[:, 0]
    for t in (366, 399):
        sign = np.sign(returns[t])
        assert values[t, 0] == pytest.approx(sign / np.sqrt(7), abs=1e-9)
        assert values[t, 1:3] == pytest.approx(0, abs=1e-9)
        # 365 returns: 183 of one sign, 182 of the other: mean a / 365, variance a^2 (1 - 1 / 365^2)
        assert values[t, 3] == pytest.approx(-0.5 * np.log(1 - 1 / 365**2), abs=1e-9)


def test_each_number_is_its_definition():
    close, t = walk(500), 450
    returns, values = np.diff(np.log(close)), trend(of_closes(close, DAY_MS))[t, 0]
    month, year = returns[t - 28 : t].std(), returns[t - 365 : t].std()
    expected = [np.log(close[t] / close[t - k]) / (month * np.sqrt(k)) for k in (7, 28, 90)]
    np.testing.assert_allclose(values, [*expected, np.log(month / year)], rtol=1e-11)


def test_a_momentum_is_cut_at_four_deviations():
    close = walk(500, scale=0.001) * np.where(np.arange(500) >= 440, np.exp(0.02 * (np.arange(500) - 440)), 1.0)
    values = trend(of_closes(close, DAY_MS))[366:, 0, :3]
    assert values.max() == 4.0
    assert (np.abs(values) <= 4).all()


def test_the_unit_of_prices_changes_nothing():
    close = np.stack([walk(500, seed) for seed in (1, 2)], axis=-1)
    scaled = trend(of_closes(close * np.array([1e-7, 3e5]), DAY_MS))
    np.testing.assert_allclose(scaled, trend(of_closes(close, DAY_MS)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("bar_ms", [HOUR_MS, 4 * HOUR_MS, 8 * HOUR_MS, 12 * HOUR_MS])
def test_bars_of_hours_say_at_the_close_of_a_day_what_bars_of_a_day_say(bar_ms):
    per_day = DAY_MS // bar_ms
    fine = walk(420 * per_day, seed=3, scale=0.03 / np.sqrt(per_day))
    daily = fine[per_day - 1 :: per_day]
    hours = trend(of_closes(fine, bar_ms))[per_day - 1 :: per_day]
    days = trend(of_closes(daily, DAY_MS))
    np.testing.assert_array_equal(hours[366:], days[366:])


def test_prices_that_do_not_move_or_move_evenly_have_no_trend():
    for close in (np.full(500, 7.0), 7.0 * 1.01 ** np.arange(500)):
        assert (trend(of_closes(close, DAY_MS)) == 0).all()
    # Still for the last 40 days after a year that moved: the month has no deviation.
    still = walk(500)
    still[460:] = still[459]
    assert (trend(of_closes(still, DAY_MS))[-1] == 0).all()


def test_a_row_knows_the_look_back_alone_to_the_last_bit():
    market = of_closes(np.stack([walk(600, seed) for seed in (4, 5)], axis=-1), DAY_MS)
    whole = trend(market)
    for stop in (366, 500, 600):
        np.testing.assert_array_equal(trend(rows_of(market, stop - 366, stop))[-1], whole[stop - 1])
    later = replace(market, close=np.where(np.arange(600)[:, None] > 500, market.close * 2, market.close))
    np.testing.assert_array_equal(trend(later)[:501], whole[:501])
    assert (trend(later)[501:] != whole[501:]).any()


@pytest.mark.parametrize(("assets", "width"), [(1, 20), (2, 42), (3, 64)])
def test_inputs_of_an_asset_are_its_sets_in_the_order_asked_for_then_the_account(candles, assets, width):
    market = candles(assets, 600)
    both = load_features(("base", "trend"), market)
    names = observation_names(market.symbols, both)
    assert len(names) == observation_width(assets, len(both.names)) == width
    own = [name.partition(".")[2] for name in names[:20]]
    account = ["position", "entry_distance", "unrealized_pnl", "allocation"]
    assert own == [*named_set("base").names, *NAMES, *account]
    values, corr = market_features(market, both)
    alone, same = market_features(market)
    np.testing.assert_array_equal(values[..., :12], alone)
    np.testing.assert_array_equal(corr, same)
    np.testing.assert_array_equal(values[..., 12:], trend(market))


@pytest.mark.parametrize("bar_ms", [60_000, HOUR_MS // 4, 5 * HOUR_MS, 7 * HOUR_MS, 36 * HOUR_MS, 7 * DAY_MS])
def test_every_length_of_a_bar_has_a_trend(bar_ms):
    market = of_closes(walk(TREND.lookback(bar_ms) + 5 if bar_ms > HOUR_MS else 2000), bar_ms)
    values = trend(market)
    assert np.isfinite(values).all()
    assert bar_ms < HOUR_MS or (values[-1] != 0).all()
