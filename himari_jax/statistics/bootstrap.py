"""Confidence intervals of the metrics of one account, by stationary bootstrap over its bars.

Series of more than `cells.MOST_BARS` bars are drawn in cells of equal numbers of bars: blocks of cells are blocks of
bars, and 65,536 cells are enough of them.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from himari_jax.statistics.cells import AccountCells, Moments, bars_of_cell, sums
from himari_jax.statistics.metric_table import AccountSeries, measure
from himari_jax.statistics.metrics import deviation

Interval = tuple[float, float]
Columns = tuple[Any, ...]  # returns, held, traded, cost, and inside where there is such
CHUNK = 128  # resamples that are counted before one matrix product; 128 x 17,520 bars are 18 MB


def metric_intervals(
    returns: np.ndarray,
    held: np.ndarray,
    traded: np.ndarray,
    cost: np.ndarray,
    bars_per_year: float,
    num_samples: int = 500,
    seed: int = 0,
    inside: np.ndarray | None = None,
) -> dict[str, Interval]:
    """95 % intervals by the metric's name; what needs whole trips has none.

    The bars are drawn as they were: returns with the weights held over them. A resample is a history like this one in
    another order, so what the order decides (drawdown) is drawn as well. Nan where the metric is undefined.

    Args:
        returns: simple returns per bar, (T,).
        held: weights after the trade, (T, N).
        traded: sum |delta| per bar, (T,).
        cost: share of equity per bar, (T,).
        bars_per_year: A.
        num_samples: resamples.
        seed: of the draws.
        inside: equity at the bars between decisions, (T, D - 1), drawn with its interval.

    Source: Politis and Romano, "The Stationary Bootstrap", JASA, 1994.
    """
    series = AccountSeries.of(returns, held, traded, cost, bars_per_year, inside)
    if not series.usable:
        return {}
    metrics_of = _drawn_metrics(series)
    samples = [metrics_of(drawn) for drawn in resamples(series.returns[:, None], num_samples, seed)]
    return {name: interval(np.array([sample[name] for sample in samples])) for name in samples[0]}


def paired_metric_differences(
    a: Columns, b: Columns, bars_per_year: float, num_samples: int = 500, seed: int = 0
) -> dict[str, tuple[float, Interval]]:
    """Value and 95 % interval of a's metrics minus b's, both on the same resampled bars.

    Args:
        a: returns, held, traded, cost, as in `metric_intervals`, and `inside` where there is such.
        b: the same of the other, over the same bars.
        bars_per_year: A.
        num_samples: resamples.
        seed: of the draws.
    """
    one, other = (_series(columns, bars_per_year) for columns in (a, b))
    if not (one.usable and other.usable):
        return {}
    now, then = measure(one, True), measure(other, True)
    ours, others = _drawn_metrics(one), _drawn_metrics(other)
    samples = [
        {name: value - theirs[name] for name, value in ours(drawn).items()}
        for drawn in resamples(np.stack([one.returns, other.returns], 1), num_samples, seed)
        for theirs in [others(drawn)]
    ]
    found = {name: interval(np.array([sample[name] for sample in samples])) for name in now}
    return {name: (now[name] - then[name], ends) for name, ends in found.items()}


def _series(columns: Columns, bars_per_year: float) -> AccountSeries:
    returns, held, traded, cost, *inside = columns
    return AccountSeries.of(returns, held, traded, cost, bars_per_year, *inside)


def _drawn_metrics(series: AccountSeries) -> Callable[[np.ndarray], dict[str, float]]:
    """Returns the function from drawn cells to metrics by name."""
    size = bars_of_cell(len(series.returns))
    return (lambda bars: measure(series.drawn(bars), True)) if size == 1 else AccountCells.of(series, size).measure


def stationary_bootstrap_sharpe(
    returns: np.ndarray, bars_per_year: float, num_samples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Annual Sharpe ratios of resampled histories; one draw of bars serves all columns, so differences are paired.

    Blocks have geometric lengths with the mean of `block_length`. Where a column does not move its Sharpe counts as 0.
    Nominal 95 % intervals held the truth in 94 of 100 series of 1,500 and 8,760 bars, in 92 of 100 of 400 bars.

    Args:
        returns: simple returns per bar, (T, K); the policy in column 0, baselines after it.

    Returns:
        (num_samples, K); nan where T < 2 or a return is not finite.

    Source: Politis and Romano, "The Stationary Bootstrap", JASA, 1994.
    """
    r = _columns(returns)
    if len(r) < 2 or not np.isfinite(r).all():
        return np.full((num_samples, r.shape[1]), np.nan)
    moments = Moments.of(r, bars_of_cell(len(r)))
    chunks = resample_counts(resamples(r, num_samples, seed), len(moments.bars))
    return np.concatenate([moments.sharpes(counts) for counts in chunks]) * math.sqrt(bars_per_year)


def resampled_means(x: np.ndarray, beside: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
    """Means of resampled series, (num_samples, K), of x (T, K), in blocks as long as `beside`, (T, L), needs them."""
    size = bars_of_cell(len(x))
    totals, bars = sums(x, size), sums(np.ones(len(x)), size)
    chunks = resample_counts(resamples(beside, num_samples, seed), len(bars))
    return np.concatenate([counts @ totals / (counts @ bars)[:, None] for counts in chunks])


def resample_counts(draws: Iterator[np.ndarray], number: int) -> Iterator[np.ndarray]:
    """Counts of each of `number` cells in each resample, in chunks of (up to CHUNK, number)."""
    while chunk := list(islice(draws, CHUNK)):
        yield np.stack([np.bincount(drawn, minlength=number) for drawn in chunk]).astype(float)


def resamples(returns: np.ndarray, num_samples: int, seed: int) -> Iterator[np.ndarray]:
    """Resamples of the stationary bootstrap: the cells of each in order, (C,); a short series' cells are its bars.

    Args:
        returns: (T, K), which decide the length of the blocks.
        num_samples: resamples in all.
        seed: of the draws.

    Source: Politis and Romano, "The Stationary Bootstrap", JASA, 1994.
    """
    cells = sums(_columns(returns), bars_of_cell(len(returns)))
    return resampled_bars(len(cells), block_length(cells), num_samples, seed)


def resampled_bars(num_bars: int, length: float, num_samples: int, seed: int) -> Iterator[np.ndarray]:
    """Resamples of `num_bars` bars in their order, (num_bars,), in blocks of a mean length in bars."""
    from arch.bootstrap import StationaryBootstrap

    mean_length: Any = length  # declared int there, though any mean length serves
    resampler = StationaryBootstrap(mean_length, np.arange(num_bars), seed=np.random.default_rng(seed))
    return (positional[0] for positional, _ in resampler.bootstrap(num_samples))


def block_length(returns: np.ndarray) -> float:
    """Mean block length in bars by Politis and White: the largest over columns and over column 0 minus each other one.

    At least 1; series that do not move do not count.

    Args:
        returns: (T, K).

    Source: Politis and White, Econometric Reviews, 2004, as corrected by Patton, Politis and White, 2009.
    """
    from arch.bootstrap import optimal_block_length

    r = _columns(returns)
    series = np.concatenate([r, r[:, :1] - r[:, 1:]], axis=1)
    series = series[:, [deviation(column) > 0 for column in series.T]]
    if len(r) < 8 or not series.shape[1]:  # fewer bars than the lags that the rule looks at
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):  # lags that leave too few bars
        lengths = optimal_block_length(series / series.std(axis=0))["stationary"].to_numpy()
    return max(1.0, float(np.max(lengths, initial=1.0, where=np.isfinite(lengths))))


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of the samples, (S,), as (low, high)."""
    x = np.asarray(samples, float)
    if not x.size or not np.isfinite(x).all():
        return math.nan, math.nan
    low, high = np.quantile(x, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _columns(returns: np.ndarray) -> np.ndarray:
    """Returns as float64, (T, K)."""
    r = np.asarray(returns, float)
    if r.ndim != 2:
        raise ValueError(f"returns of K policies have two axes, bars and policies, this array has shape {r.shape}")
    return r
