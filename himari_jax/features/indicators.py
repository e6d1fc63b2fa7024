"""Indicators that feature sets are made of: of one asset over one segment, from rows <= t, float64."""

import numpy as np
import talib

from himari_jax.features.windows import Lookbacks, bars_of
from himari_jax.times import HOUR_MS

FLAT = 1e-10  # share of the mean square below which a variance is what rounding left


def difference(log_price: np.ndarray, k: int) -> np.ndarray:
    """`x[t] - x[t-k]`, (T,), NaN in the first k rows."""
    out = np.full_like(log_price, np.nan)
    out[k:] = log_price[k:] - log_price[:-k]
    return out


def rolling_mean(x: np.ndarray, k: int) -> np.ndarray:
    """Mean of the last k rows, (T,), NaN in the first k - 1.

    A window is summed anew at each row: a running sum never returns to exactly 0 after zeros.
    """
    out = np.full_like(x, np.nan)
    if len(x) >= k:
        out[k - 1 :] = np.convolve(x, np.ones(k), mode="valid") / k
    return out


def relative_strength(close: np.ndarray, span: Lookbacks) -> np.ndarray:
    """Wilder RSI / 100; 0.5 where nothing moved for a quarter of the look-back (TA-Lib says 0).

    Gains and losses fade alike in a calm, so their ratio would remember moves of any age.
    """
    # TA-Lib takes sums below 1e-14 for zero: the scale keeps cheap coins and long calms away from that.
    rsi = talib.RSI(close * (1e6 / close[0]), span.rsi) / 100
    row = np.arange(len(close))
    moved = np.zeros(len(close), bool)
    moved[1:] = close[1:] != close[:-1]
    last_move = np.maximum.accumulate(np.where(moved, row, -span.lookback))
    return np.where((row - last_move >= span.lookback // 4) & (row >= span.rsi), 0.5, rsi)


def volume_ratio(volume: np.ndarray, span: Lookbacks) -> np.ndarray:
    """`log((0.05 + volume / mean_24(volume)) / 1.05)`, 0 where the mean is 0."""
    mean = rolling_mean(volume, span.day)
    ratio = np.divide(volume, mean, out=np.ones_like(volume), where=mean > 0)
    return np.where(mean > 0, np.log((0.05 + ratio) / 1.05), 0.0)


def sampled_deviation(log_close: np.ndarray, step: int, count: int) -> np.ndarray:
    """Deviation of the last `count` returns over `step` bars each, end to end up to row t, (T,).

    0 where they are all the same but for rounding; NaN in the first `step * count` rows.
    """
    out = np.full_like(log_close, np.nan)
    first = step * count
    if len(log_close) <= first:
        return out
    returns = difference(log_close, step)
    # Return j of row t ends j steps before it: each row sums its own window, so that it depends on nothing else.
    windows = [returns[first - j * step : len(returns) - j * step] for j in range(count)]
    mean = sum(windows, np.zeros(len(windows[0]))) / count
    square = sum((x * x for x in windows), np.zeros(len(mean))) / count
    variance = sum(((x - mean) ** 2 for x in windows), np.zeros(len(mean))) / count
    out[first:] = np.sqrt(np.where(variance > FLAT * square, variance, 0.0))
    return out


def daily(bar_ms: int) -> tuple[int, float]:
    """Bars of what stands for a day, one at least, and how many days they are."""
    step = bars_of(24, bar_ms)
    return step, step * bar_ms / (24 * HOUR_MS)


def daily_returns(days: int, bar_ms: int) -> int:
    """Number of daily returns in so many days, at least the two that a deviation needs."""
    return max(2, int(days / daily(bar_ms)[1] + 0.5))


def daily_deviation(log_close: np.ndarray, days: int, bar_ms: int) -> np.ndarray:
    """Deviation per day of the log returns of the last days, (T,).

    Closes of the same time of day, so that bars of an hour and of a day say the same. 0 where the price did not move,
    or moved evenly; NaN where the days are not yet full.
    """
    step, length = daily(bar_ms)
    return sampled_deviation(log_close, step, daily_returns(days, bar_ms)) / np.sqrt(length)


def scaled_momentum(log_close: np.ndarray, deviation: np.ndarray, days: int, bar_ms: int) -> np.ndarray:
    """`log(p[t] / p[t-k]) / (sigma sqrt(k))`, k in days, (T,): how many deviations the price has come.

    0 where sigma is 0; NaN where k or the days of sigma are not yet full.

    Args:
        log_close: (T,).
        deviation: sigma, per day, (T,); see `daily_deviation`.
        days: k.
        bar_ms: length of a bar.
    """
    lag = bars_of(24 * days, bar_ms)
    scale = deviation * np.sqrt(lag * bar_ms / (24 * HOUR_MS))
    raw = difference(log_close, lag) / np.where(scale == 0, 1.0, scale)
    return np.where(scale == 0, 0.0, raw)
