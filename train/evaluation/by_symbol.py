"""The accounts of a pool's symbols one by one: what result.json, table and report say of each."""

from typing import Any

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.statistics.metrics import zero_if_nan
from train.evaluation.summary import account_metrics
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

BESIDE = ("base", "constant")  # baselines whose Sharpe ratio stands beside each symbol's


def by_symbol(played: SpanHistories, chosen: int) -> dict[str, dict[str, Any]]:
    """Metrics of each symbol's own account, with the Sharpe ratios of its base and of its own mean weight held.

    Args:
        played: histories of a pool's portfolio.
        chosen: index of the seed that validation chose.

    Returns:
        by symbol: the metrics, `decisions`, `multiplier` (its mean), `base_sharpe`, `constant_sharpe`, `timing_value`
        (Sharpe minus that of the constant) and `late_sharpe`.
    """
    assert played.active is not None, "not a pool"
    assert played.sold is not None, "not a pool"
    year, found = played.bars_per_year, {}
    for a, symbol in enumerate(played.symbols):
        rows = played.active[a]
        own = own_account(played.agents[chosen], a, rows)
        sold = played.sold[a][rows].copy()
        sold[-1] = True
        block: dict[str, Any] = account_metrics(own, sold, year)
        block["decisions"] = int(rows.sum())
        block["multiplier"] = None if own.multiplier is None else float(np.mean(own.multiplier))
        beside = {name: own_account(played.baselines[name], a, rows) for name in BESIDE if name in played.baselines}
        block |= {f"{name}_sharpe": metrics.sharpe_or_zero(history.returns, year) for name, history in beside.items()}
        block["late_sharpe"] = metrics.sharpe_or_zero(own_account(played.late, a, rows).returns, year)
        if "constant_sharpe" in block:
            block["timing_value"] = zero_if_nan(block["sharpe"]) - block["constant_sharpe"]
        found[symbol] = block
    return found


def own_account(history: AccountHistory, member: int, rows: np.ndarray) -> AccountHistory:
    """A symbol's account at its own decisions, rows (S,) bool."""
    return history.accounts[member].cut(rows)
