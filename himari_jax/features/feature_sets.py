"""Feature sets: every public function here is one; its name is its command-line name.

Each takes the candles of one segment (no longer gap inside) and returns its features of each asset at each row,
(T, N, k) float64, from rows <= t; what is undefined is not finite, in the first rows of the look-back alone, or 0.
With `newest` it gives the last so many rows alone, made of the same columns: a server wants one.
`feature_set` declares their names and their look-back. Host code without jax.
"""

from collections.abc import Callable, Sequence

import numpy as np
import talib

from himari_jax.candles import Candles
from himari_jax.features.indicators import (
    daily,
    daily_deviation,
    daily_returns,
    difference,
    relative_strength,
    rolling_mean,
    scaled_momentum,
    volume_ratio,
)
from himari_jax.features.windows import bars_of, feature_set, lookbacks

MOMENTUM_DAYS = (7, 28, 90)
MOST_MOMENTUM = 4.0  # deviations, beyond which a momentum is cut
MONTH, YEAR = 28, 365  # days of a deviation


def _per_asset(candles: Candles, columns: Callable[..., Sequence[np.ndarray]], newest: int | None) -> np.ndarray:
    """Columns (T,) of open, high, low, close, volume of each asset, as (T, N, k), or the newest rows of that."""
    start = 0 if newest is None else len(candles.time) - newest
    prices = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    assets = [
        np.stack([x[start:] for x in columns(*np.ascontiguousarray(np.stack([x[:, n] for x in prices])))], axis=-1)
        for n in range(len(candles.symbols))
    ]
    return np.stack(assets, axis=1)


@feature_set(
    *("price", "return_1h", "return_4h", "return_24h", "volatility_1h", "volatility_4h", "volatility_24h"),
    *("rsi", "macd", "macd_signal", "macd_histogram", "volume_ratio"),
    lookback=lambda bar_ms: lookbacks(bar_ms).lookback,
)
def base(candles: Candles, newest: int | None = None) -> np.ndarray:
    """Price, returns, volatility, RSI, MACD and volume over hours: 12 numbers."""
    span = lookbacks(candles.bar_ms)
    spans = (span.one_hour, span.four_hours, span.day)

    def columns(open_, high, low, close, volume):
        log_close = np.log(close)
        volatility = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / open_) ** 2
        macd, signal, histogram = talib.MACD(close, span.fast, span.slow, span.signal)
        return [
            log_close - np.log(talib.SMA(close, span.week)),
            *(difference(log_close, k) for k in spans),
            *(np.sqrt(rolling_mean(volatility, k)) for k in spans),
            relative_strength(close, span),
            *(x / close for x in (macd, signal, histogram)),
            volume_ratio(volume, span),
        ]

    return _per_asset(candles, columns, newest)


def _year_of_days(bar_ms: int) -> int:
    """Rows that `trend` looks back: a year of daily returns, or the longest momentum."""
    longest = bars_of(24 * MOMENTUM_DAYS[-1], bar_ms)
    return max(daily(bar_ms)[0] * daily_returns(YEAR, bar_ms), longest) + 1


@feature_set(*(f"momentum_{days}d" for days in MOMENTUM_DAYS), "volatility_28d", lookback=_year_of_days)
def trend(candles: Candles, newest: int | None = None) -> np.ndarray:
    """Momentum of 7, 28 and 90 days in deviations, volatility of 28 days against its year: 4 numbers.

    `mom_k = log(p[t] / p[t-k]) / (sigma_28 sqrt(k))`, k in days, clipped to +-4; `log(sigma_28 / sigma_365)`.
    sigma_d is the deviation, per day, of the log returns of the d days that end at t: closes of the same time of day,
    so that bars of an hour and of a day say the same. 0 where the price did not move, or moved evenly.
    """
    bar_ms = candles.bar_ms

    def columns(open_, high, low, close, volume):
        log_close = np.log(close)
        month, year = (daily_deviation(log_close, days, bar_ms) for days in (MONTH, YEAR))
        found = [
            np.clip(scaled_momentum(log_close, month, days, bar_ms), -MOST_MOMENTUM, MOST_MOMENTUM)
            for days in MOMENTUM_DAYS
        ]
        still = (month == 0) | (year == 0)
        ratio = np.where(still, 0.0, np.log(np.where(still, 1.0, month) / np.where(still, 1.0, year)))
        return [*found, ratio]

    return _per_asset(candles, columns, newest)
