"""The 12 market features of an asset and the pair correlations: one function for training, backtest and server."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import talib

from himari_jax.candles import Candles
from himari_jax.times import HOUR_MS

MARKET_FEATURES = (
    "price",
    "return_1h",
    "return_4h",
    "return_24h",
    "volatility_1h",
    "volatility_4h",
    "volatility_24h",
    "rsi",
    "macd",
    "macd_signal",
    "macd_histogram",
    "volume_ratio",
)
ACCOUNT_FEATURES = ("position", "entry_distance", "unrealized_pnl", "allocation")
ASSET_WIDTH = len(MARKET_FEATURES) + len(ACCOUNT_FEATURES)


class Lookbacks(NamedTuple):
    """How many bars the windows of the features hold."""

    one_hour: int
    four_hours: int
    day: int
    week: int
    lookback: int  # rows that a feature may depend on; also the fewest candles the server takes


def lookbacks(bar_ms: int) -> Lookbacks:
    """Windows scaled by time for bars of up to an hour; longer bars use 1, 4, 24 and 168 bars.

    Raises:
        ValueError: the bar is shorter than an hour and does not divide it.
    """
    if bar_ms < HOUR_MS and HOUR_MS % bar_ms:
        raise ValueError(f"bars of {bar_ms} ms do not divide an hour")
    per_hour = max(1, HOUR_MS // bar_ms)
    return Lookbacks(per_hour, 4 * per_hour, 24 * per_hour, 168 * per_hour, 400 * per_hour)


def observation_width(num_assets: int) -> int:
    """D(N) = 16 N + N (N - 1) / 2 + [N > 1]."""
    return ASSET_WIDTH * num_assets + num_assets * (num_assets - 1) // 2 + (num_assets > 1)


def observation_names(symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the D numbers of an observation, in order."""
    names = [f"{symbol}.{name}" for symbol in symbols for name in MARKET_FEATURES + ACCOUNT_FEATURES]
    pairs = [f"correlation.{symbols[i]}.{symbols[j]}" for i, j in pair_indices(len(symbols))]
    return (*names, *pairs, *(("herfindahl",) if len(symbols) > 1 else ()))


def pair_indices(num_assets: int) -> list[tuple[int, int]]:
    """The P pairs (i < j) in symbol order."""
    return [(i, j) for i in range(num_assets) for j in range(i + 1, num_assets)]


def market_features(candles: Candles) -> tuple[np.ndarray, np.ndarray]:
    """Market features (T, N, 12) and correlations (T, P), float64, from rows <= t of the same segment.

    Rows whose windows are not yet full (fewer than `lookback` rows into a segment) hold 0 where the
    indicator is undefined; no episode starts there.
    """
    rows, assets = candles.close.shape
    features = np.zeros((rows, assets, len(MARKET_FEATURES)))
    correlations = np.zeros((rows, assets * (assets - 1) // 2))
    span = lookbacks(candles.bar_ms)
    for start, stop in segments(candles):
        part = slice(start, stop)
        for n in range(assets):
            series = [getattr(candles, name)[part, n] for name in ("open", "high", "low", "close", "volume")]
            features[part, n] = asset_features(np.ascontiguousarray(np.stack(series)), span)
        correlations[part] = pair_correlations(candles.close[part], span)
    return features, correlations


def segments(candles: Candles) -> list[tuple[int, int]]:
    """(start, stop) rows of each segment."""
    cuts = np.flatnonzero(np.diff(candles.segment)) + 1
    edges = [0, *cuts.tolist(), len(candles.segment)]
    return list(pairwise(edges))


def asset_features(candles: np.ndarray, span: Lookbacks) -> np.ndarray:
    """The 12 features of one asset over one segment, (T, 12); 0 where undefined.

    Args:
        candles: (5, T), open high low close volume.
        span: windows in bars.
    """
    open_, high, low, close, volume = candles
    log_close = np.log(close)
    volatility = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / open_) ** 2
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    columns = [
        log_close - np.log(talib.SMA(close, span.week)),
        *(difference(log_close, k) for k in (span.one_hour, span.four_hours, span.day)),
        *(np.sqrt(rolling_mean(volatility, k)) for k in (span.one_hour, span.four_hours, span.day)),
        relative_strength(close, span),
        macd / close,
        signal / close,
        histogram / close,
        volume_ratio(volume, span),
    ]
    return np.nan_to_num(np.stack(columns, axis=-1), nan=0.0, posinf=0.0, neginf=0.0)


def difference(log_price: np.ndarray, k: int) -> np.ndarray:
    """`x[t] - x[t-k]`, NaN in the first k rows."""
    out = np.full_like(log_price, np.nan)
    out[k:] = log_price[k:] - log_price[:-k]
    return out


def rolling_mean(x: np.ndarray, k: int) -> np.ndarray:
    """Mean of the last k rows, NaN in the first k - 1.

    A window is summed anew at each row: a running sum never returns to exactly 0 after zeros.
    """
    out = np.full_like(x, np.nan)
    if len(x) >= k:
        out[k - 1 :] = np.convolve(x, np.ones(k), mode="valid") / k
    return out


def relative_strength(close: np.ndarray, span: Lookbacks) -> np.ndarray:
    """Wilder RSI(14) / 100; 0.5 where nothing moved for a quarter of the look-back (TA-Lib says 0).

    Gains and losses fade alike in a calm, so their ratio would remember moves of any age.
    """
    # TA-Lib takes sums below 1e-14 for zero: the scale keeps cheap coins and long calms away from that.
    rsi = talib.RSI(close * (1e6 / close[0]), 14) / 100
    row = np.arange(len(close))
    moved = np.zeros(len(close), bool)
    moved[1:] = close[1:] != close[:-1]
    last_move = np.maximum.accumulate(np.where(moved, row, -span.lookback))
    return np.where((row - last_move >= span.lookback // 4) & (row >= 14), 0.5, rsi)


def volume_ratio(volume: np.ndarray, span: Lookbacks) -> np.ndarray:
    """`log((0.05 + volume / mean_24(volume)) / 1.05)`, 0 where the mean is 0."""
    mean = rolling_mean(volume, span.day)
    ratio = np.divide(volume, mean, out=np.ones_like(volume), where=mean > 0)
    return np.where(mean > 0, np.log((0.05 + ratio) / 1.05), 0.0)


def pair_correlations(close: np.ndarray, span: Lookbacks) -> np.ndarray:
    """Rolling 24 h correlation of 1 h log returns of each pair, (T, N) -> (T, P); 0 where a window is flat."""
    rows, assets = close.shape
    out = np.zeros((rows, assets * (assets - 1) // 2))
    if rows < span.day + span.one_hour:
        return out
    returns = [difference(np.log(close[:, n]), span.one_hour)[span.one_hour :] for n in range(assets)]
    mean = [rolling_mean(r, span.day) for r in returns]
    square = [rolling_mean(r * r, span.day) for r in returns]
    variance = [s - m * m for m, s in zip(mean, square, strict=True)]
    for p, (i, j) in enumerate(pair_indices(assets)):
        covariance = rolling_mean(returns[i] * returns[j], span.day) - mean[i] * mean[j]
        # The remainder of a constant return after the subtraction is rounding, not variance.
        moves = (variance[i] > 1e-10 * square[i]) & (variance[j] > 1e-10 * square[j])
        scale = np.sqrt(np.where(moves, variance[i] * variance[j], 1.0))
        out[span.one_hour :, p] = np.where(moves, np.clip(covariance / scale, -1, 1), 0.0)
    return out
