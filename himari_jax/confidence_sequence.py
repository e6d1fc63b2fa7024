"""A confidence sequence for the mean of returns: an interval that holds at every look at once.

Source: de la Peña, Klass and Lai, "Self-normalized processes", 2004 (normal mixture over the sum of squares); the
asymptotic form is that of Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence
sequences", 2024.
"""

from math import log, sqrt

import numpy as np

LEVEL = 0.05  # share of sequences that ever exclude the truth, both sides together


def tightest(bars: float, level: float = LEVEL) -> float:
    """The mixture's variance for which the interval is narrowest after so many bars of unit variance."""
    return (-2 * log(level) + log(1 - 2 * log(level))) / bars


def radius(squares: np.ndarray, mixture: np.ndarray | float, level: float = LEVEL) -> np.ndarray:
    """How far a sum may be from its mean at any time, with probability `1 - level`.

    Args:
        squares: (...) sums of squares so far.
        mixture: variance of the normal mixture, in units of 1 / squares.
        level: probability that the sum ever leaves.
    """
    grown = squares * mixture + 1
    return np.sqrt(grown / mixture * np.log(grown / level**2))


def sequence(returns: np.ndarray, warm_up: int, aim: int, level: float = LEVEL) -> np.ndarray:
    """Mean and interval at every look, (S, 3): mean, low, high; the real line in the warm-up.

    The sum of squares stands for the variance: where returns lie evenly about their mean, given the past, this holds
    exactly, whatever their volatility does; else for many bars.

    Args:
        returns: (S,) of a bar, such as policy minus base.
        warm_up: bars that set the scale alone; they do not count.
        aim: bars for which the interval is to be narrowest.
        level: share of sequences that ever exclude the mean.
    """
    found = np.full((len(returns), 3), np.nan)
    found[:, 1], found[:, 2] = -np.inf, np.inf
    scale = float(np.mean(returns[:warm_up] ** 2)) if warm_up and len(returns) > warm_up else 0.0
    if scale <= 0:
        return found
    counted = np.asarray(returns[warm_up:], np.float64)
    bars = np.arange(1, len(counted) + 1)
    total, squares = np.cumsum(counted), np.cumsum(counted**2)
    around = np.maximum(squares - total**2 / bars, 0)  # about the mean so far
    width = radius(around, tightest(aim, level) / scale, level) / bars
    found[warm_up:] = np.stack([total / bars, total / bars - width, total / bars + width], axis=1)
    return found


def bars_to_decide(effect: float, aim: int, level: float = LEVEL, most: float = 1e12) -> float:
    """Bars after which the expected sum leaves the interval about 0; inf beyond `most`.

    Args:
        effect: |mean| / deviation of a bar.
        aim: see `sequence`.
        level: see `sequence`.
        most: bars to look ahead.
    """
    mixture = tightest(aim, level)
    low, high = 1.0, most
    if effect <= 0 or effect * high < float(radius(np.array(high), mixture, level)):
        return float("inf")
    while high / low > 1.001:
        middle = sqrt(low * high)
        if effect * middle < float(radius(np.array(middle), mixture, level)):
            low = middle
        else:
            high = middle
    return high
