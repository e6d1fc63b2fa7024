"""What a backtest finds in what was played: lag, collapse, timing value."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from himari_jax import metrics
from himari_jax.metrics import zero_if_nan
from himari_jax.sizing import cap_targets
from train.backtesting.entries import Member
from train.evaluation.result import AuditResult
from train.evaluation.verdict import CONSTANT_BELOW
from train.simulation.baselines import every_bar
from train.simulation.simulator import SpanHistories, play_orders
from train.simulation.trained import Agent

MULTIPLIERS = np.arange(1, 9) / 4  # of the base position, among which the best constant policy is sought


def lag(
    result: dict[str, Any], rows: Sequence[dict[str, Any]], name: str, seed: int | None, cost: float
) -> AuditResult:
    """Sharpe by delay, and whether it lives on delay 0 alone."""
    own = [r for r in rows if r["policy"] == name and r["seed"] == seed and abs(r["cost"] - 1e4 * cost) < 1e-6]
    info = ", ".join(f"{r['sharpe']:.2f} at {r['delay']}" for r in sorted(own, key=lambda r: r["delay"]))
    fails = result["delay"]["depends_on_delay_0"]
    return AuditResult(
        "lag", not fails, f"Sharpe by bars of delay: {info}{'; it lives on time alone' if fails else ''}"
    )


def collapse(member: Member, played: SpanHistories, result: dict[str, Any]) -> AuditResult:
    """Whether the policy is a constant, or its seeds are one policy."""
    agent, e = played.agents[member.entrant.chosen], member.entrant
    spread = result["multiplier_deviation"]
    info = f"what it says deviates by {spread:.3f} over the bars"
    if isinstance(member.source, Agent):
        best, at = best_constant(member)
        distance = float(np.abs(agent.decision - agent.decision.mean(0)).mean())
        difference = zero_if_nan(result["agent"]["sharpe"]) - best
        info += (
            f" (mean distance from its own mean {distance:.3f}); "
            f"Sharpe {difference:+.2f} against the best constant multiplier ({at:g}, {best:.2f})"
        )
    across = result["across_seeds"]
    if across:
        info += f"; {len(e.seeds)} seeds, correlation of positions {across['position_correlation']:.2f}"
    collapsed = bool(across and across["collapsed"])
    return AuditResult("collapse", not (spread < CONSTANT_BELOW or collapsed), info)


def best_constant(member: Member) -> tuple[float, float]:
    """Sharpe and multiplier of the constant policy that did best on the span, in hindsight."""
    e, stage, market = member.entrant, member.stage, member.config.market
    base = np.asarray(stage.market.base, np.float64)[np.asarray(stage.tape.seen[stage.delays.index(e.delay)])]
    caps = market.max_position_pct, market.max_gross
    orders = [every_bar(cap_targets(np.full(base.shape, m), base, *caps)) for m in MULTIPLIERS]
    played = play_orders(stage, 0, orders, [e.cost] * len(orders))
    sharpes = [zero_if_nan(metrics.sharpe(course.returns, stage.bars_per_year)) for course in played]
    k = int(np.argmax(sharpes))
    return sharpes[k], float(MULTIPLIERS[k])


def timing(result: dict[str, Any]) -> AuditResult:
    """Whether it adds anything to holding its own mean weights."""
    value, (low, high) = result["timing_value"]["value"], result["timing_value"]["interval"]
    passed = True if low > 0 else False if high < 0 else None
    info = f"Sharpe {value:+.2f} (95 % interval {low:+.2f} to {high:+.2f}) against holding its own mean weights"
    return AuditResult("timing value", passed, info)
