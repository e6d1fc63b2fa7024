"""Parts of the reward that training rows decide: the weight of volatility=auto, the first moments."""

from collections.abc import Mapping

import numpy as np

from envs.market import risk_aversion
from train.config.market import MarketConfig


def decided_terms(account: MarketConfig, own: np.ndarray) -> tuple[dict[str, float], float | None]:
    """Returns the weights of the reward terms, and the one of volatility=auto; None without it.

    Args:
        account: flags.
        own: (L,) simple returns of the base position on the training rows.
    """
    risk = risk_aversion(own)
    terms = {name: risk if weight is None else weight for name, weight in account.reward_terms.items()}
    return terms, risk if None in account.reward_terms.values() else None


def initial_moments(terms: Mapping[str, float], own: np.ndarray) -> tuple[float, float]:
    """Returns mean and mean square of the log return with which an episode begins.

    `differential_sharpe` divides by their variance: from zero its first terms would be in the hundreds, later ones are
    near 1. The base position's return on the training rows gives the first guess.
    """
    if "differential_sharpe" not in terms:
        return 0.0, 0.0
    r = np.log1p(own)
    return float(r.mean()), float(np.mean(r**2))
