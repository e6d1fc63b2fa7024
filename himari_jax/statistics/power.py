"""Power of a one-sided test: which true difference a sample finds, and how long one of a given size needs."""

import math

from scipy.special import ndtri

LEVEL = 0.05  # one-sided
OFTEN = 0.8  # "4 times in 5"


def smallest_found(error: float, power: float, level: float = LEVEL) -> float:
    """The true difference that a one-sided test at `level` finds with probability `power`.

    `(Phi^-1(1 - level) + Phi^-1(power)) error`; at even odds that is the critical value itself.

    Args:
        error: standard error of the difference, in its unit.
        power: probability of finding it.
        level: of the test.

    Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd edition, 1988.
    """
    return float(ndtri(1 - level) + ndtri(power)) * error


def years_to_find(difference: float, error: float, years: float, power: float = OFTEN, level: float = LEVEL) -> float:
    """Years of such bars after which a true difference of this size is found with probability `power`.

    The error falls with the square root of the time: `years (smallest_found / difference)^2`; inf where the difference
    is not above 0.

    Args:
        difference: true, in the unit of the error.
        error: standard error over the sample.
        years: length of the sample.
        power: probability of finding it.
        level: of the test.
    """
    return years * (smallest_found(error, power, level) / difference) ** 2 if difference > 0 else math.inf


def family_level(trials: int, level: float = LEVEL) -> float:
    """Level of each of n independent tests at which one in any of them is wrong with probability `level`.

    `1 - (1 - level)^(1 / n)`.

    Source: Sidak, "Rectangular Confidence Regions for the Means of Multivariate Normal Distributions", JASA, 1967.
    """
    return 1 - (1 - level) ** (1 / max(trials, 1))
