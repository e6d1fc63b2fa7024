"""The verdict on a market with nothing to find: the same words, on a year of its bars."""

from typing import Any

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.statistics.metrics import zero_if_nan
from train.evaluation.summary import summarize
from train.oracles.scoring import OraclePath as OraclePath
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

BARS_PER_YEAR = 8760.0
NUM_SAMPLES = 400  # of the bootstrap


def null_verdict(path: OraclePath) -> dict[str, Any]:
    """Reaches verdict, Sharpe ratio and spread of a policy against cash, buy_and_hold and constant; no costs.

    Args:
        path: of the policy, one asset.
    """
    weights, market = path.weights.astype(np.float64), path.returns.astype(np.float64)
    agent = account(weights, path.multiplier, market)
    late = account(one_bar_late(weights), one_bar_late(path.multiplier), market)
    rules = {"cash": 0.0, "buy_and_hold": 1.0, "base": 0.5, "constant": float(weights.mean())}  # multiplier 1 is .5
    baselines = {name: account(np.full_like(weights, w), None, market) for name, w in rules.items()}
    liquidated = np.zeros(len(weights), bool)
    played = SpanHistories([agent], late, baselines, baselines, liquidated, BARS_PER_YEAR)
    own = np.array([metrics.sharpe_or_zero(agent.returns, 1.0)])
    result, _ = summarize(played, 0, [0], own, NUM_SAMPLES)
    return {
        "verdict": result["verdict"],
        "sharpe": zero_if_nan(result["agent"]["sharpe"]),
        "sharpe_difference": result["agent"]["sharpe_difference"],
    }


def one_bar_late(x: np.ndarray) -> np.ndarray:
    """Delays rows by one bar, (S, N); the first row stays."""
    return np.vstack([x[:1], x[:-1]])


def account(weights: np.ndarray, multiplier: np.ndarray | None, market: np.ndarray) -> AccountHistory:
    """Plays weights without costs.

    Args:
        weights: held over each bar, (S, 1).
        multiplier: of the policy that they come from, (S, 1); None where it is a rule.
        market: simple returns of the asset, (S, 1).
    """
    gain = weights * market
    traded = np.diff(weights, axis=0, prepend=0.0)
    given = weights if multiplier is None else None
    return AccountHistory(multiplier, weights, traded, np.zeros(len(weights)), gain, gain[:, 0], given)
