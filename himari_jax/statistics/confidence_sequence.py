"""A confidence sequence for the mean of returns: an interval that holds at every look at once.

Source: de la Peña, Klass and Lai, "Self-normalized processes", 2004 (normal mixture over the sum of squares); the
asymptotic form is that of Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence
sequences", 2024.
"""

from math import log, sqrt

import numpy as np

ROUNDS = 200  # of a fixed point, from below; of the first few bars it has none
BOUNDLESS = 1e60  # squares, in units of the mixture's, from which on a fixed point is taken for none
WARM_UP_DAYS = 7  # that set the scale of the differences of a live account
LEVEL = 0.05  # share of sequences that ever exclude the truth, both sides together


def tightest(bars: float, level: float = LEVEL) -> float:
    """The mixture's variance for which the interval is narrowest after so many bars of unit variance."""
    return (-2 * log(level) + log(1 - 2 * log(level))) / bars


def radius(squares: np.ndarray, mixture: np.ndarray | float, level: float = LEVEL) -> np.ndarray:
    """Largest distance of a sum from its mean at any time, with probability `1 - level`.

    Args:
        squares: (...) sums of squares so far.
        mixture: variance of the normal mixture, in units of 1 / squares.
        level: probability that the sum ever leaves.
    """
    grown = squares * mixture + 1
    return np.sqrt(grown / mixture * np.log(grown / level**2))


def sequence(returns: np.ndarray, warm_up: int, aim: int, level: float = LEVEL) -> np.ndarray:
    """Mean and interval at every look, (S, 3): mean, low, high; the real line in the warm-up.

    The sum of squares about a mean stands for its variance: where returns lie evenly about their mean, given the past,
    0 is excluded wrongly as seldom as `level` says, whatever their volatility does; else for many bars.

    Args:
        returns: (S,) of a bar, such as policy minus base.
        warm_up: bars, from the first that is not 0, that set the scale alone; they do not count.
        aim: bars for which the interval is to be narrowest.
        level: share of sequences that ever exclude the mean.
    """
    found = np.full((len(returns), 3), np.nan)
    found[:, 1], found[:, 2] = -np.inf, np.inf
    begin = first_counted(returns, warm_up)
    if begin >= len(returns):
        return found
    mixture = tightest(aim, level) / float(np.mean(returns[begin - warm_up : begin] ** 2))
    counted = np.asarray(returns[begin:], np.float64)
    bars = np.arange(1, len(counted) + 1)
    found[begin:] = interval(np.cumsum(counted), np.cumsum(counted**2), bars, mixture, level)
    return found


class RunningSequence:
    """The newest look of a `sequence`, brought up to date return by return; a return costs the same at any length.

    Args:
        warm_up: see `sequence`.
        aim: see `sequence`.
        level: see `sequence`.
    """

    def __init__(self, warm_up: int, aim: int, level: float = LEVEL):
        self.warm_up, self.aim, self.level = warm_up, aim, level
        self.first: list[float] = []  # returns of the warm-up
        self.mixture = 0.0  # see `radius`; known once the warm-up is over
        self.bars, self.total, self.squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """Adds the return of a bar."""
        if len(self.first) == self.warm_up:
            self.bars, self.total, self.squares = self.bars + 1, self.total + value, self.squares + value * value
        elif self.first or value:
            self.first.append(value)
            if len(self.first) == self.warm_up:
                self.mixture = tightest(self.aim, self.level) / float(np.mean(np.array(self.first) ** 2))

    def look(self) -> np.ndarray:
        """Mean, low, high, (3,): the last row of `sequence`."""
        if not self.bars:
            return np.array([np.nan, -np.inf, np.inf])
        total, squares, bars = np.array([self.total]), np.array([self.squares]), np.array([self.bars])
        return interval(total, squares, bars, self.mixture, self.level)[0]


def interval(total: np.ndarray, squares: np.ndarray, bars: np.ndarray, mixture: float, level: float) -> np.ndarray:
    """Mean and interval, (S, 3): mean, low, high.

    Args:
        total: (S,) sums so far.
        squares: (S,) sums of squares so far.
        bars: (S,) of them.
        mixture: see `radius`.
        level: see `radius`.
    """
    mean = total / bars
    width = half_width(np.maximum(squares - total**2 / bars, 0), bars, mixture, level)
    # Where the scale was far too small, means far off the interval stand, too: 0 is asked for by itself.
    stands = np.abs(total) <= radius(squares, mixture, level)
    width[stands & (width < np.abs(mean))] = np.inf
    return np.stack([mean, mean - width, mean + width], axis=1)


def half_width(around: np.ndarray, bars: np.ndarray, mixture: float, level: float) -> np.ndarray:
    """Half-width of the interval about the mean so far, (S,): the least `d = radius(around + bars d^2) / bars`, or inf.

    Args:
        around: (S,) sums of squares about the mean so far.
        bars: (S,) of them.
        mixture: see `radius`.
        level: see `radius`.
    """
    width, left = np.full(len(bars), np.inf), np.arange(len(bars))
    at = radius(around, mixture, level) / bars
    for _ in range(ROUNDS):
        new = radius(around[left] + bars[left] * at**2, mixture, level) / bars[left]
        settled = new - at <= 1e-12 * new
        width[left[settled]] = new[settled]
        grows = ~settled & (new**2 * mixture < BOUNDLESS)
        left, at = left[grows], new[grows]
        if not len(left):
            break
    return width


def first_counted(returns: np.ndarray, warm_up: int) -> int:
    """Index of the first return (S,) after the warm-up, which begins with the first that is not 0; S where none is."""
    moved = np.flatnonzero(returns)
    return min(int(moved[0]) + warm_up, len(returns)) if len(moved) else len(returns)


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
