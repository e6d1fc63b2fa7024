"""Figures of the test span, which monitoring compares live results with."""

from collections.abc import Mapping
from typing import Any


def figures_of(result: Mapping[str, Any], seed: int) -> dict[str, float | None] | None:
    """Picks the figures out of a run's result.json; None where it has none of this seed.

    Args:
        result: of the run; empty where there is none.
        seed: of the policy.

    Returns:
        multiplier_deviation: over the decisions, the largest of the symbols.
        turnover: traded share of equity in a year.
        cost: share of equity in a year.
        drawdown: the deepest that resampled bars of the span show, at the lower end of the central 95 %; 0 or less.
    """
    agent = result.get("agent")
    if not agent or agent.get("seed") != seed:
        return None
    deepest = agent.get("max_drawdown_interval")
    return {
        "multiplier_deviation": result.get("multiplier_deviation"),
        "turnover": agent.get("turnover"),
        "cost": agent.get("cost_drag"),
        "drawdown": deepest[0] if deepest else None,
    }
