"""Statistical significance of results: Sharpe ratios and their errors, multiple trials, comparison of seeds.

Every formula works per bar; `bars_per_year` A appears only where an annual figure is handed out. Undefined is nan.
"""

import math

import numpy as np
from scipy.special import ndtr, ndtri

from himari_jax.statistics.metrics import deviation

EULER_GAMMA = float(np.euler_gamma)


def probabilistic_sharpe(returns: np.ndarray, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio lies above `benchmark`, allowing for skew and fat tails.

    `PSR = Phi[(SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)]`, g4 = 3 for normal returns.

    Args:
        returns: simple returns per bar, (T,).
        benchmark: SR*, per bar.

    Source: Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk, 2012.
    """
    ratio, spread = _sharpe_and_spread(returns)
    return float(ndtr((ratio - benchmark) * math.sqrt(len(returns) - 1) / spread)) if spread > 0 else math.nan


def minimum_detectable_sharpe(num_bars: int, bars_per_year: float) -> float:
    """Smallest annual Sharpe ratio that T bars distinguish from 0 at 5 %, one-sided: `1.645 sqrt(A / (T - 1))`."""
    return 1.645 * math.sqrt(bars_per_year / (num_bars - 1)) if num_bars > 1 else math.nan


def minimum_track_record(returns: np.ndarray, benchmark: float = 0.0, level: float = 0.95) -> float:
    """Bars that this Sharpe ratio needs to lie above `benchmark` with probability `level`; nan if it does not.

    `1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (Phi^-1(level) / (SR - SR*))^2`: the T at which PSR(SR*) is `level`.

    Source: Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk, 2012.
    """
    ratio, spread = _sharpe_and_spread(returns)
    return 1 + (spread * float(ndtri(level)) / (ratio - benchmark)) ** 2 if ratio > benchmark else math.nan


def expected_maximum_sharpe(trial_sharpes: np.ndarray, num_bars: int | None = None) -> float:
    """Sharpe ratio per bar that the best of n worthless trials reaches by luck; 0 for a single one.

    `SR0 = min(sd(trials), 1 / sqrt(T - 1)) [(1 - g) Phi^-1(1 - 1/n) + g Phi^-1(1 - 1/(n e))]`, g = 0.5772.

    Noise alone spreads Sharpe ratios by `1 / sqrt(T - 1)`: what lies further apart (a failure, a wrong fee, a policy
    that is truly better) is not luck and must not condemn the others.

    Args:
        trial_sharpes: per bar, (n,), of everything that was ever tried; nan (no deviation) counts as 0.
        num_bars: T; None: the spread is taken as it is.

    Source: Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management, 2014; the bound is
    the standard error of a Sharpe ratio of 0 (Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal, 2002).
    """
    trials = np.nan_to_num(np.asarray(trial_sharpes, float).ravel(), nan=0.0)
    n = len(trials)
    if n < 2:
        return 0.0
    luck = (1 - EULER_GAMMA) * ndtri(1 - 1 / n) + EULER_GAMMA * ndtri(1 - 1 / (n * math.e))
    noise = math.inf if num_bars is None else 1 / math.sqrt(max(num_bars - 1, 1))
    return float(min(deviation(trials), noise) * luck)


def deflated_sharpe(returns: np.ndarray, trial_sharpes: np.ndarray) -> float:
    """Probability that the true Sharpe ratio beats what luck alone reaches in n trials: PSR at SR0.

    Args:
        returns: simple returns per bar, (T,).
        trial_sharpes: per bar, (n,), of independent trials: where some are alike, one of each cluster.

    Source: Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management, 2014; clusters as
    Lopez de Prado and Lewis, "Detection of False Investment Strategies Using Unsupervised Learning Methods",
    Quantitative Finance, 2019.
    """
    return probabilistic_sharpe(returns, expected_maximum_sharpe(trial_sharpes, len(returns)))


def interquartile_mean(x: np.ndarray) -> float:
    """Mean of the middle half of scores (K,): neither a lucky nor a broken seed decides.

    Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS, 2021.
    """
    from scipy.stats import trim_mean

    x = np.asarray(x, float).ravel()
    return float(trim_mean(x, 0.25)) if x.size and np.isfinite(x).all() else math.nan


def seed_correlation(positions: np.ndarray) -> float:
    """Mean correlation of positions between seeds, over pairs of seeds and assets; 1.0 is a collapse.

    Two positions that never move count as 1, one that moves and one that does not as 0; nan for fewer than two seeds.

    Args:
        positions: (K, T, N) weights or multipliers by seed.
    """
    x = np.asarray(positions, float)
    if len(x) < 2 or not x.size or not np.isfinite(x).all():
        return math.nan
    x = x - x.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.sum(x**2, axis=1, keepdims=True))  # (K, 1, N)
    still = norm <= 1e-6 * math.sqrt(x.shape[1])  # float32 noise is no movement
    unit = np.where(still, 0.0, x / np.where(still, 1.0, norm))
    correlation = np.einsum("atn,btn->nab", unit, unit)
    both = (still[:, None] & still[None, :])[:, :, 0]  # (K, K, N)
    first, second = np.triu_indices(len(x), 1)
    return float(np.mean(correlation[:, first, second].T + both[first, second]))


def _sharpe_and_spread(returns: np.ndarray) -> tuple[float, float]:
    """Sharpe ratio per bar and `sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)`, its deviation times sqrt(T - 1)."""
    r = np.asarray(returns, float)
    sd = deviation(r)
    if not sd > 0:
        return math.nan, math.nan
    ratio, z = r.mean() / sd, (r - r.mean()) / r.std()
    z2 = z * z  # products: numpy's z**3 is a power function, a hundred times slower
    square = 1 - np.mean(z2 * z) * ratio + (np.mean(z2 * z2) - 1) / 4 * ratio**2
    return float(ratio), math.sqrt(max(square, 0.0))
