"""Windows are durations: the same path of prices says the same at every length of a bar."""

from dataclasses import replace

import numpy as np
import pytest

from himari_jax.candles import COLUMNS
from himari_jax.errors import InputError
from himari_jax.features.market import BASE, MARKET_FEATURES, market_features, rows_of
from himari_jax.features.windows import bars_of, lookbacks
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.baselines import Setting, momentum
from himari_jax.positions.sizing import SizingRules
from himari_jax.times import DAY_MS, HOUR_MS


@pytest.fixture(scope="module")
def quarters(candles):
    """Candles of a quarter of an hour whose price moves at the full hour alone, and those of an hour of that path."""
    hours = candles(1, 1500, seed=13)
    closes = {name: hours.close for name in COLUMNS[:4]}
    hours = replace(hours, **closes)
    rows = 4 * len(hours.time)
    columns = {name: np.repeat(getattr(hours, name), 4, axis=0) for name in (*COLUMNS, "tradable")}
    time = hours.time[0] + np.arange(rows, dtype=np.int64) * HOUR_MS // 4
    return replace(hours, bar_ms=HOUR_MS // 4, time=time, **columns, segment=np.zeros(rows, np.int32)), hours


def column(candles, name):
    return market_features(candles)[0][:, 0, MARKET_FEATURES.index(name)]


@pytest.mark.parametrize("name", ["price", "return_1h", "return_4h", "return_24h"])
def test_price_and_returns_are_those_of_the_same_hours(quarters, name):
    fine, hours = quarters
    ours = column(fine, name)[3::4]
    np.testing.assert_allclose(ours[400:], column(hours, name)[400:], rtol=0, atol=1e-12)


def test_rsi_and_macd_fade_over_the_same_time(quarters):
    # A jump once, then calm: Wilder's average keeps (1 - 1 / p)^n, p and n four times as many, the same time.
    fine, hours = quarters
    for market, rsi in ((fine, 56), (hours, 14)):
        assert lookbacks(market.bar_ms).rsi == rsi
    # One gain in the middle of losses of the same size: how much it counts after 14 hours.
    kept = [(1 - 1 / lookbacks(x.bar_ms).rsi) ** bars_of(14, x.bar_ms) for x in quarters]
    assert kept == pytest.approx([np.exp(-1)] * 2, rel=0.05)
    ours, theirs = column(fine, "rsi")[3::4][400:], column(hours, "rsi")[400:]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    for name in ("macd", "macd_signal"):
        assert np.corrcoef(column(fine, name)[3::4][400:], column(hours, name)[400:])[0, 1] > 0.99


@pytest.mark.parametrize("minutes", [15, 60, 240, 1440])
def test_no_feature_knows_more_than_its_look_back_at_any_bar(candles, minutes):
    bar_ms = minutes * 60_000
    lookback = BASE.lookback(bar_ms)
    market = candles(2, lookback + 300, seed=3, bar_ms=bar_ms)
    for stop in (lookback + 1, lookback + 300):
        part = rows_of(market, stop - lookback, stop)
        for ours, theirs in zip(market_features(part), market_features(market), strict=True):
            np.testing.assert_allclose(ours[-1], theirs[stop - 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("minutes", [1, 15, 60, 90, 240, 720, 1440, 10080])
def test_rsi_has_two_bars_and_the_averages_of_macd_differ(minutes):
    span = lookbacks(minutes * 60_000)
    assert span.rsi >= 2
    assert 2 <= span.fast < span.slow
    assert span.signal >= 2
    assert min(span) >= 1


@pytest.mark.parametrize(("bar_ms", "bars"), [(HOUR_MS // 4, 2880), (HOUR_MS, 720), (DAY_MS, 30)])
def test_momentum_looks_at_thirty_days(candles, bar_ms, bars):
    market = candles(1, bars + 50, seed=2, bar_ms=bar_ms)
    weights = momentum(Setting(market, "constant", SizingRules()))
    close = market.close[:, 0]
    np.testing.assert_array_equal(weights[bars:, 0], (close[bars:] > close[:-bars]).astype(float))
    assert (weights[:bars] == 0).all()


@pytest.mark.parametrize("bar_ms", [HOUR_MS // 4, HOUR_MS, DAY_MS])
def test_the_prior_of_kelly_is_worth_thirty_days(candles, bar_ms):
    # After thirty days of a return r each bar, without forgetting, evidence and prior weigh the same: E[mu] = r / 2.
    bars, rules = 30 * DAY_MS // bar_ms, SizingRules(max_position_pct=1e9, kelly_half_life_days=np.inf)
    market = candles(1, bars + 1, bar_ms=bar_ms)
    r = 1e-4 * np.sqrt(bar_ms / HOUR_MS)
    close = 100 * (1 + r) ** np.arange(bars + 1)[:, None]
    found = base_positions("kelly", replace(market, close=close), rules)[-1, 0]
    year, count = 365 * DAY_MS / bar_ms, 2 * bars
    b = (rules.kelly_prior_volatility**2 / year * bars + bars * r * r - (bars * r) ** 2 / count) / 2
    variance = b / (count / 2 - 1) * (1 + 1 / count)
    assert found == pytest.approx(rules.kelly_fraction * (r / 2) / variance, rel=1e-9)


def test_a_prior_of_kelly_that_is_worth_two_bars_or_less_is_refused(candles):
    market = candles(1, 100, bar_ms=DAY_MS)
    with pytest.raises(InputError, match=r"--kelly-prior-bars 48: hours, 2 bars of 1d; .* more than 2"):
        base_positions("kelly", market, SizingRules(kelly_prior_bars=48))
