"""The rules and the arithmetic of position sizes: caps, volatility; host code without jax."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from himari_jax.candles import Candles
from himari_jax.features.market import segments
from himari_jax.features.windows import BASE_HOURS, per_hour
from himari_jax.times import CALENDAR_YEAR_MS

LONG_WINDOW = 3600  # rows; those of bars of ten minutes and more are shorter


@dataclass(frozen=True)
class SizingRules:
    """Parameters of the base sizing and the position caps."""

    max_position_pct: float = 0.5
    max_gross: float = 1.0
    kelly_fraction: float = 0.25
    kelly_prior_bars: float = 720.0  # how many bars of an hour of evidence the prior (mean 0) is worth
    kelly_half_life_days: float = 180.0  # of the evidence; inf switches forgetting off
    kelly_prior_volatility: float = 0.6  # annual, the prior's guess

    def __post_init__(self):
        if not self.kelly_prior_bars > 2:
            raise ValueError(
                f"kelly_prior_bars {self.kelly_prior_bars}: a variance needs a prior worth more than 2 bars"
            )


def constant_position(rules: SizingRules, assets: int) -> float:
    """Half of the largest weight of an asset, `min(max_position_pct / 2, max_gross / (N + 1))`.

    N of them sum to at most `max_gross N / (N + 1)`: inside the gross cap, on which scaling would leave no gradient.
    At the caps' defaults it is .25 up to three assets.
    """
    return min(rules.max_position_pct / 2, rules.max_gross / (assets + 1))


def constant_position_on_cap(rules: SizingRules, assets: int) -> float:
    """`min(max_position_pct / 2, max_gross / N)`: N of them may sum to exactly `max_gross`."""
    return min(rules.max_position_pct / 2, rules.max_gross / assets)


CONSTANT = {"constant": constant_position, "constant-on-cap": constant_position_on_cap}  # by name of the base sizing


def cap_targets(multiplier, base, max_position_pct, max_gross):
    """Target weights: `min(m * base, cap)`, scaled down as a whole to a gross of at most `max_gross`.

    Works on numpy and jax arrays.

    Args:
        multiplier: (..., N), in [0, 2].
        base: (..., N), base position in share of equity.
        max_position_pct: largest weight of one asset, share of equity.
        max_gross: largest sum of weights.
    """
    xp = multiplier.__array_namespace__()
    target = xp.minimum(multiplier * base, max_position_pct)
    gross = target.sum(-1, keepdims=True)
    return target * xp.minimum(1.0, max_gross / xp.maximum(gross, max_gross))


def sizing_lookback(bar_ms: int) -> int:
    """Rows that a volatility of returns looks back: 400 h, or as many bars where they are longer."""
    return BASE_HOURS * per_hour(bar_ms)


def ewma_volatility(candles: Candles) -> np.ndarray:
    """Volatility per bar, (T, N): EWMA (alpha 2/169 for hours, zero mean) of squared simple close returns.

    Exactly the last `sizing_lookback` rows count, so that a server with that many candles finds the same number.
    """
    keep = 1 - 2 / (168 * per_hour(candles.bar_ms) + 1)
    weights = keep ** np.arange(sizing_lookback(candles.bar_ms) - 1)
    out = np.zeros_like(candles.close)
    for start, stop in segments(candles):
        square = simple_returns(candles.close[start:stop]) ** 2
        if not len(square):
            continue
        total = np.cumsum(weights)[np.minimum(np.arange(len(square)), len(weights) - 1)]
        out[start + 1 : stop] = np.sqrt(weighted_sum(square, weights, keep) / total[:, None])
    return out


def weighted_sum(x: np.ndarray, weights: np.ndarray, keep: float) -> np.ndarray:
    """`s[t] = sum_j keep^j x[t-j]` over the last rows, as many as there are weights, of (T, N) numbers >= 0.

    Long windows are sums over all rows less what has left: a product for each of 24,000 rows is too much at minutes.
    """
    rows = len(weights)
    if rows < LONG_WINDOW:
        return np.stack([np.convolve(column, weights)[: len(x)] for column in x.T], axis=1)
    total = exponential_sum(x, keep)
    gone = np.concatenate([np.zeros((min(rows, len(x)), x.shape[1])), total[:-rows]])
    return np.maximum(total - keep**rows * gone, 0.0)  # rounding may leave less than nothing


def rolling_bars_per_year(candles: Candles) -> np.ndarray:
    """Bars of a year as the look-back before each row shows them, (T, 1); a constant where the market never closes."""
    if candles.calendar == "continuous":
        return np.full((len(candles.time), 1), candles.bars_per_year)
    row = np.arange(len(candles.time))
    first = np.maximum(row - sizing_lookback(candles.bar_ms) + 1, 0)
    years = (candles.time - candles.time[first] + candles.bar_ms) / CALENDAR_YEAR_MS
    return ((row - first + 1) / years)[:, None]


def simple_returns(close: np.ndarray) -> np.ndarray:
    """`close[t] / close[t-1] - 1`, (T, N) -> (T - 1, N)."""
    return close[1:] / close[:-1] - 1


def exponential_sum(x: np.ndarray, decay: Any) -> np.ndarray:
    """`s[t] = decay[t] s[t-1] + x[t]` down the rows of (T, N).

    Args:
        x: (T, N).
        decay: a number, or one for each row, (T, 1).
    """
    from scipy.signal import lfilter  # which takes longer to import than all the rest of this module

    first = np.ravel(decay)[0]
    if np.all(decay == first):
        return lfilter([1.0], [1.0, -first], x, axis=0)
    rates = np.broadcast_to(decay, x.shape)
    columns = [zip(rate.tolist(), column.tolist(), strict=True) for rate, column in zip(rates.T, x.T, strict=True)]
    # Python's own numbers are the fast ones where every row is one step.
    sums = [list(accumulate(rows, lambda state, row: row[0] * state + row[1], initial=0.0))[1:] for rows in columns]
    return np.ascontiguousarray(np.array(sums, x.dtype).T)
