"""Many policies on the same bars: who beats whom, and how far that could be luck.

SPA, StepM and the model confidence set compare mean returns; hand in returns over their deviation to compare Sharpe
ratios. Resamples are those of `himari_jax.statistics.bootstrap`. The tests hold them against `arch` on the same draws;
`arch` 8.0 itself does not studentize its SPA, and fails where every model is superior (StepM) or two are equal
(confidence set).
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import trim_mean

from himari_jax.statistics import metrics, significance
from himari_jax.statistics.bootstrap import interval, resampled_means, stationary_bootstrap_sharpe

STILL = 1e-9  # a deviation below this share of the returns' own is rounding
SCORES_AT_ONCE = 2**20  # numbers that are resampled together, 8 MB

Centering = Literal["lower", "consistent", "upper"]


class ConfidenceSet(NamedTuple):
    """Policies among which the best one is, with probability `1 - size`."""

    included: tuple[int, ...]  # columns
    pvalues: np.ndarray  # (K,) smallest size at which a policy is left out; 1 for the best, nan where undefined


class Estimate(NamedTuple):
    """A number and its confidence interval."""

    value: float
    interval: tuple[float, float]


class Difference(NamedTuple):
    """Policy a minus policy b on the same bars."""

    value: float  # of annual Sharpe ratios
    interval: tuple[float, float]
    p: float  # two-sided, of no difference
    better: float  # share of the resamples in which a is better, ties counting half


def spa_pvalue(
    benchmark: np.ndarray,
    models: np.ndarray,
    num_samples: int = 1000,
    seed: int = 0,
    which: Centering = "consistent",
) -> float:
    """Chance that the best of K models beats the benchmark by so much where none is truly better: Hansen's SPA test.

    `d_k = r_k - r_0` (losses are -returns), `t_k = mean(d_k) / se(d_k)`, `p = (1 + #{max t* >= max t}) / (1 + S)`.

    Args:
        benchmark: returns, (T,).
        models: returns, (T, K); one that differs from the benchmark by a constant is left out.
        num_samples: S.
        seed: of the resamples.
        which: p-value. `consistent`, Hansen's choice, leaves out models that are clearly worse than the benchmark,
            `t_k < -sqrt(2 log log T)`; `upper` (White's reality check) none, `lower` all that are worse at all.

    Returns:
        nan for fewer than 8 bars, a return that is not finite, or no model that differs.

    Source: Hansen, "A Test for Superior Predictive Ability", Journal of Business and Economic Statistics, 2005.
    """
    t, z = _studentized(benchmark, models, num_samples, seed, which)
    if not np.isfinite(t).any():
        return math.nan
    return _share(np.nanmax(z, axis=1) >= np.nanmax(t))


def stepm_superior(
    benchmark: np.ndarray,
    models: np.ndarray,
    size: float = 0.05,
    num_samples: int = 1000,
    seed: int = 0,
    which: Centering = "consistent",
) -> tuple[int, ...]:
    """Columns of the models that beat the benchmark, where the chance of naming any wrongly is `size`.

    In steps: a model whose t exceeds the `1 - size` quantile of `max_k t*_k` over those not yet named is named.
    Arguments as in `spa_pvalue`; () where that is nan.

    Source: Romano and Wolf, "Stepwise Multiple Testing as Formalized Data Snooping", Econometrica, 2005.
    """
    t, z = _studentized(benchmark, models, num_samples, seed, which)
    left = np.isfinite(t)
    named: list[int] = []
    while left.any():
        critical = np.quantile(z[:, left].max(axis=1), 1 - size)
        found = np.flatnonzero(left & (np.where(left, t, -np.inf) > critical))
        if not len(found):
            break
        named.extend(int(k) for k in found)
        left[found] = False
    return tuple(sorted(named))


def model_confidence_set(
    returns: np.ndarray, size: float = 0.05, num_samples: int = 1000, seed: int = 0
) -> ConfidenceSet:
    """The policies that this sample cannot distinguish from the best one.

    While more than one is left, the worst goes: row i of `max_ij t_ij`, `t_ij = mean(r_j - r_i) / se`. Its p-value is
    the share of resamples with a maximum as large, and at least that of those gone before (the R method). It is
    included where that is larger than `size`. Returns (T, K).

    Source: Hansen, Lunde and Nason, "The Model Confidence Set", Econometrica, 2011.
    """
    r = np.asarray(returns, float)
    if not _usable(r) or not r.shape[1] or not _moves(r).any():
        return ConfidenceSet((), np.full(r.shape[1], np.nan))
    t, z = _pairs(r, resampled_means(r, r, num_samples, seed))
    pvalues, left, reached = np.ones(len(t)), np.arange(len(t)), 0.0
    while len(left) > 1:
        inside = t[np.ix_(left, left)]
        largest = z[:, left[:, None], left].max(axis=(1, 2))
        reached = max(reached, _share(largest >= inside.max()))
        worst = int(np.argmax(inside.max(axis=1)))
        pvalues[left[worst]] = reached
        left = np.delete(left, worst)
    return ConfidenceSet(tuple(int(k) for k in np.flatnonzero(pvalues > size)), pvalues)


def paired_difference(
    returns_a: np.ndarray,
    returns_b: np.ndarray,
    bars_per_year: float,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Annual Sharpe ratio of a minus that of b, both resampled on the same bars.

    `p = 2 min(P(d* <= 0), P(d* >= 0))`, at most 1: below `1 - level` where the interval leaves out 0, give or take one
    resample. Returns (T,) each; where one does not move its Sharpe ratio counts as 0; all nan for fewer than two bars
    or a return that is not finite.

    Source: Politis and Romano, "The Stationary Bootstrap", JASA, 1994.
    """
    r = np.stack([np.asarray(returns_a, float), np.asarray(returns_b, float)], axis=1)
    if len(r) < 2 or not np.isfinite(r).all():
        return Difference(math.nan, (math.nan, math.nan), math.nan, math.nan)
    sharpes = [metrics.sharpe(column, bars_per_year) for column in r.T]
    a, b = (0.0 if math.isnan(x) else x for x in sharpes)
    samples = stationary_bootstrap_sharpe(r, bars_per_year, num_samples, seed)
    d = samples[:, 0] - samples[:, 1]
    p = min(1.0, 2 * min(_share(d <= 0), _share(d >= 0)))
    return Difference(a - b, interval(d, level), p, float(np.mean(d > 0) + np.mean(d == 0) / 2))


def iqm_interval(scores: np.ndarray, num_samples: int = 2000, seed: int = 0, level: float = 0.95) -> Estimate:
    """Inter-quartile mean over seeds (and windows), and its interval over the luck of seeds.

    Stratified bootstrap: within each window the seeds are drawn anew, independently of other windows. The interval
    knows nothing of the luck of the market, which all seeds share. It is nan for a single seed, and so is the value
    for no score or one that is not finite. Scores (K,) by seed, or (K, W) by seed and window.

    Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS, 2021.
    """
    x = _strata(scores)
    value = significance.interquartile_mean(x)
    if math.isnan(value) or len(x) < 2:
        return Estimate(value, (math.nan, math.nan))
    rng, samples = np.random.default_rng(seed), []
    at_once = max(1, SCORES_AT_ONCE // x.size)
    for start in range(0, num_samples, at_once):
        drawn = rng.integers(len(x), size=(min(at_once, num_samples - start), *x.shape))
        samples.append(trim_mean(x[drawn, np.arange(x.shape[1])].reshape(len(drawn), -1), 0.25, axis=1))
    return Estimate(value, interval(np.concatenate(samples), level))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> float:
    """Chance that a seed of x scores above a seed of y: `P(X > Y) + P(X = Y) / 2` over pairs, mean over windows.

    Shapes (K,) and (L,) by seed, or (K, W) and (L, W) by seed and window; nan for no score or one that is not finite.

    Source: Agarwal et al., NeurIPS, 2021; the statistic of Mann and Whitney over K L.
    """
    x, y = _strata(x), _strata(y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both need the same windows, these are {x.shape[1]} and {y.shape[1]}")
    if not x.size or not y.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan
    return float(np.mean((x[:, None] > y) + (x[:, None] == y) / 2))


def _studentized(
    benchmark: np.ndarray, models: np.ndarray, num_samples: int, seed: int, which: Centering
) -> tuple[np.ndarray, np.ndarray]:
    """t (K,) of the models' mean differences and their resamples under the null, (S, K); nan for models left out."""
    r = np.concatenate([np.asarray(benchmark, float)[:, None], np.asarray(models, float)], axis=1)
    d = r[:, 1:] - r[:, :1]
    t, z = np.full(d.shape[1], np.nan), np.full((num_samples, d.shape[1]), np.nan)
    if not _usable(r) or not (moves := _moves(d, r)).any():
        return t, z
    d = d[:, moves]
    means = resampled_means(d, r, num_samples, seed)
    error = means.std(axis=0)
    t[moves] = d.mean(axis=0) / error
    bounds = {"lower": 0.0, "consistent": -math.sqrt(2 * math.log(math.log(len(d)))), "upper": -math.inf}
    kept = np.where(t[moves] >= bounds[which], d.mean(axis=0), 0.0)
    z[:, moves] = (means - kept) / error
    return t, z


def _pairs(r: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t (K, K) of how much worse i is than j and its centered resamples (S, K, K); 0 where the two are equal."""
    worse = r.mean(axis=0) - r.mean(axis=0)[:, None]
    resampled = means[:, None, :] - means[:, :, None] - worse
    error = np.sqrt(np.mean(resampled**2, axis=0))
    still = error <= STILL * r.std() / math.sqrt(len(r))
    error = np.where(still, np.inf, error)
    return worse / error, resampled / error


def _moves(x: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
    """Whether each column of x (T, K) varies by more than the rounding of the returns beside it, (K,) bool."""
    scale = np.abs(x if beside is None else beside).max()
    return np.asarray(x.std(axis=0) > STILL * scale)


def _usable(r: np.ndarray) -> bool:
    """Whether there are bars enough for blocks, all finite."""
    return len(r) >= 8 and bool(np.isfinite(r).all())


def _strata(scores: np.ndarray) -> np.ndarray:
    """Scores as float64, (seeds, windows)."""
    x = np.asarray(scores, float)
    if x.ndim not in (1, 2):
        raise ValueError(f"scores have one axis, seeds, or two, seeds and windows, this array has shape {x.shape}")
    return x.reshape(len(x), -1) if x.size else x.reshape(0, x.shape[1] if x.ndim == 2 else 1)


def _share(hits: np.ndarray) -> float:
    """`(1 + #hits) / (1 + S)`: never 0, since the sample itself is one of its resamples."""
    return float((1 + np.sum(hits)) / (1 + len(hits)))
