"""Base sizings: every public function here is one; its name, with hyphens, is its command-line name.

Each takes candles and `SizingRules`, and returns the base position of each asset at each row, (T, N), share of equity,
from rows <= t. Host code without jax.
"""

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features.market import segments
from himari_jax.positions.sizing import (
    SizingRules,
    constant_position,
    constant_position_on_cap,
    ewma_volatility,
    exponential_sum,
    rolling_bars_per_year,
    simple_returns,
)
from himari_jax.times import HOUR_MS, bar_name

TARGET_VOLATILITY = 0.20  # annual, of the whole portfolio


def constant(candles: Candles, rules: SizingRules) -> np.ndarray:
    """Half of the largest weight, `min(max_position_pct / 2, max_gross / (N + 1))`: neutral, and inside the caps."""
    return np.full(candles.close.shape, constant_position(rules, candles.close.shape[1]))


def vol_target(candles: Candles, rules: SizingRules) -> np.ndarray:
    """20 % of annual volatility shared out evenly, `min(max_position_pct, .20 / (sigma sqrt(A)) / N)`.

    sigma from `ewma_volatility`, A the bars of a year; the cap where sigma is 0.
    """
    sigma = ewma_volatility(candles) * np.sqrt(rolling_bars_per_year(candles))
    raw = TARGET_VOLATILITY / len(candles.symbols) / np.maximum(sigma, 1e-12)
    return np.minimum(rules.max_position_pct, raw)


def kelly(candles: Candles, rules: SizingRules) -> np.ndarray:
    """Fractional Bayesian Kelly, `c E[mu] / E[sigma^2 + var(mu)]`, clipped to [0, max_position_pct].

    Normal-Inverse-Gamma posterior of the bar return whose evidence is forgotten exponentially towards
    the prior. With n, s1, s2 the forgotten count, sum and sum of squares, and k = what the prior is worth, in bars:
    `E[mu] = s1 / (k + n)`, `a = (k + n) / 2`, `b = k v / 2 + (s2 - s1^2 / (k + n)) / 2`,
    `E[sigma^2] = b / (a - 1)`, `E[var(mu)] = E[sigma^2] / (k + n)`, v the prior's variance.
    Without evidence it is 0; with endless evidence and no forgetting it reaches `c mu / sigma^2`.

    The prior is worth `kelly_prior_bars` hours, whatever the length of a bar.

    Raises:
        InputError: that is not more than two bars, which a variance needs.

    Source: Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", 2007.
    """
    worth = rules.kelly_prior_bars * HOUR_MS / candles.bar_ms
    if not worth > 2:
        raise InputError(
            f"--kelly-prior-bars {rules.kelly_prior_bars:g}: hours, {worth:g} bars of {bar_name(candles.bar_ms)}; "
            "a variance needs a prior worth more than 2"
        )
    returns = np.zeros_like(candles.close)
    returns[1:] = simple_returns(candles.close)
    known = np.ones(len(candles.time))
    first = [start for start, _ in segments(candles)]
    returns[first], known[first] = 0.0, 0.0  # a return across a gap is not one bar's
    year = rolling_bars_per_year(candles)
    bars_per_day = year / 365
    decay = 0.5 ** (1 / (rules.kelly_half_life_days * bars_per_day))
    count = exponential_sum(known[:, None], decay) + worth
    total = exponential_sum(returns, decay)
    square = exponential_sum(returns**2, decay)
    prior = rules.kelly_prior_volatility**2 / year * worth
    mean = total / count
    variance = np.maximum(prior + square - total * mean, 1e-18) / 2 / (count / 2 - 1)
    fraction = rules.kelly_fraction * mean / (variance * (1 + 1 / count))
    return np.clip(fraction, 0.0, rules.max_position_pct)


def constant_on_cap(candles: Candles, rules: SizingRules) -> np.ndarray:
    """As constant was in 0.1.0, `min(max_position_pct / 2, max_gross / N)`: four assets stand on the gross cap."""
    return np.full(candles.close.shape, constant_position_on_cap(rules, candles.close.shape[1]))
