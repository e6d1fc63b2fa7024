"""Says how a policy ranks among random ones, for console and report."""

from collections.abc import Mapping
from typing import Any


def rank_text(result: Mapping[str, Any]) -> str | None:
    """Says of a result.json how the policy ranks among random ones; None where it does not hold that."""
    found = result.get("random_draws")
    if not found:
        return None
    low, high = found["sharpe_interval"]
    return (
        f"of {found['number']} random policies with its mean weights and turnover {found['below']:.0%} have a lower "
        f"Sharpe (95 % of them lie in {low:.2f} to {high:.2f}); random in the table is the median one"
    )
