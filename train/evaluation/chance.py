"""Ranks a policy among random ones with its mean weights and turnover."""

from typing import Any

import numpy as np

from himari_jax.statistics.bootstrap import interval
from himari_jax.statistics.metrics import zero_if_nan
from train.simulation.play import SpanHistories


def among_draws(played: SpanHistories, sharpe: float) -> dict[str, Any] | None:
    """Ranks the chosen seed among the draws of `random`, for result.json; None where none were played.

    Args:
        played: histories of a span.
        sharpe: annual Sharpe ratio of the chosen seed; nan counts as 0.

    Returns:
        `number` of draws, `below` (share of them whose Sharpe ratio is lower), `sharpe_interval` (in which 95 % of
        theirs lie).
    """
    if played.draws is None:
        return None
    below = float(np.mean(played.draws < zero_if_nan(sharpe)))
    return {"number": len(played.draws), "below": below, "sharpe_interval": list(interval(played.draws))}
