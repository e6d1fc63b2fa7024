"""Results of a walk-forward test: the numbers of result.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.statistics.comparison import paired_difference
from himari_jax.times import iso_second
from train.evaluation.summary import account_metrics
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories
from train.studies.walk_forward.track import Walk
from train.training.kept import Trained

TREND = "trend"  # the rule without parameters


def sharpe_on(history: AccountHistory, rows: np.ndarray, year: float) -> float:
    """Measures the annual Sharpe ratio on some of the decisions, (L,) bool; 0 where it is undefined."""
    return metrics.sharpe_or_zero(history.returns[rows], year)


def describe_blocks(walk: Walk, played: SpanHistories, trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """Describes every test block: its spans, the choice on validation, and the results of its policies.

    Args:
        walk: the test.
        played: the track and the baselines beside it; the constant is that of the whole track.
        trained: of the members, in their order.
    """
    year, found, seeds = played.bars_per_year, [], len(walk.seeds)
    agent, constant = played.agents[0], played.baselines["constant"]
    simulator = walk.simulator
    for number, session in enumerate(walk.sessions):
        rows = walk.block == number
        own = trained[number * seeds : (number + 1) * seeds]
        cut, times = agent.cut(rows), simulator.times[rows]
        figures = account_metrics(cut, played.liquidated[rows], year)
        spans = session.spans()
        late = sharpe_on(played.late, rows, year) - sharpe_on(played.late_baselines["constant"], rows, year)
        sharpe, beside = sharpe_on(agent, rows, year), sharpe_on(constant, rows, year)
        found.append(
            {
                "train": [spans["train"][0][0], spans["train"][-1][1]],
                "val": [spans["val"][0][0], spans["val"][-1][1]],
                "test": [iso_second(times[0]), iso_second(times[-1])],
                "decisions": int(rows.sum()),
                "symbols": int(simulator.active[:, rows].any(1).sum()) if agent.accounts else len(simulator.symbols),
                "sharpe": sharpe,
                "base_sharpe": sharpe_on(played.baselines["base"], rows, year),
                "constant_sharpe": beside,
                "difference": sharpe - beside,
                "late_difference": late,
                "turnover": figures["turnover"],
                "multiplier": float(np.nanmean(np.asarray(cut.decision, np.float64))),
                "validation_sharpe": [each.sharpe for each in own],
                "best_update": [each.update for each in own],
                "risk_aversion": session.risk_aversion,
                "by_symbol": symbols_of_block(walk, agent, constant, rows, year),
            }
        )
    return found


def symbols_of_block(
    walk: Walk, agent: AccountHistory, constant: AccountHistory, rows: np.ndarray, year: float
) -> dict[str, Any]:
    """Measures the Sharpe of each symbol's own account in a block, beside its constant; None without a decision."""
    if not agent.accounts:
        return {}
    found: dict[str, Any] = {}
    for a, symbol in enumerate(walk.simulator.symbols):
        own = rows & walk.simulator.active[a]
        if not own.any():
            found[symbol] = None
            continue
        sharpe, beside = (sharpe_on(each.accounts[a], own, year) for each in (agent, constant))
        found[symbol] = {"sharpe": sharpe, "constant_sharpe": beside, "difference": sharpe - beside}
    return found


def describe_seeds(walk: Walk, trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """Describes the track of every seed alone, beside its own constant."""
    found = []
    for number, seed in enumerate(walk.seeds):
        gain = walk.gain(walk.of_seed(trained, number))
        found.append({"seed": seed, "sharpe": gain.sharpe, "difference": gain.difference})
    return found


def describe_trend(walk: Walk, played: SpanHistories, rules: dict[str, Any]) -> dict[str, Any]:
    """Describes the policy beside the trend rule, and the rule beside its own constant."""
    gain = walk.gain_of(played.baselines[TREND])
    apart = paired_difference(gain.returns, gain.constant, gain.bars_per_year)
    return {
        "trend": rules["by_rule"][TREND],
        "trend_rule": {"sharpe": gain.sharpe, "difference": gain.difference, "interval": list(apart.interval)},
    }
