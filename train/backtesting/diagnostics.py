"""Diagnostics of the account histories of a backtest: lag, collapse, timing value."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from himari_jax.positions.sizing import cap_targets
from himari_jax.statistics import metrics
from himari_jax.statistics.metrics import zero_if_nan
from train.backtesting.entries import Entry
from train.evaluation.result import AuditResult
from train.evaluation.verdict import CONSTANT_BELOW
from train.reporting.subjects import SUBJECTS
from train.simulation.baselines import every_bar
from train.simulation.play import SpanHistories, play_orders
from train.simulation.trained import Agent

MULTIPLIERS = np.arange(1, 9) / 4  # of the base position, among which the best constant policy is sought


def lag(entry: Entry, result: dict[str, Any], rows: Sequence[dict[str, Any]]) -> AuditResult:
    """Audits the Sharpe ratio by delay on the whole span: it fails where the result depends on delay 0."""
    whose = {"policy": entry.name, "seed": entry.chosen_seed, "cost": entry.own_cost}
    own = [row for row in rows if all(row[key] == value for key, value in whose.items())]
    info = ", ".join(f"{r['sharpe']:.2f} at {r['delay']}" for r in sorted(own, key=lambda r: r["delay"]))
    fails = result["delay"]["depends_on_delay_0"]
    return AuditResult(
        "lag", not fails, f"Sharpe by bars of delay: {info}{'; it lives on time alone' if fails else ''}"
    )


def collapse(entry: Entry, played: SpanHistories, result: dict[str, Any]) -> AuditResult:
    """Audits whether the policy is a constant; the detail includes how much its seeds agree."""
    agent = played.agents[entry.chosen]
    spread = result["multiplier_deviation"]
    info = f"{SUBJECTS[entry.source.kind].does('deviate')} by {spread:.3f} over the bars"
    if isinstance(entry.source, Agent):
        best, at = best_constant(entry)
        distance = float(np.nanmean(np.abs(agent.decision - np.nanmean(agent.decision, 0))))
        difference = zero_if_nan(result["agent"]["sharpe"]) - best
        info += (
            f" (mean distance from its own mean {distance:.3f}); "
            f"Sharpe {difference:+.2f} against the best constant multiplier ({at:g}, {best:.2f})"
        )
    across = result["across_seeds"]
    if across:
        correlation = across["multiplier_correlation"]
        info += f"; {len(entry.seeds)} seeds, correlation of what they decide {correlation:.2f}"
    return AuditResult("collapse", not spread < CONSTANT_BELOW, info)


def best_constant(entry: Entry) -> tuple[float, float]:
    """Sharpe and multiplier of the constant policy that did best on the span, in hindsight."""
    simulator, rules = entry.simulator, entry.market
    bases = [np.asarray(market.base, np.float64) for market in simulator.markets]
    base = simulator.at_decisions(bases, entry.delay)
    caps = rules.max_position_pct, rules.max_gross
    orders = [every_bar(constant_targets(base, m, caps, simulator.is_pool)) for m in MULTIPLIERS]
    played = play_orders(simulator, 0, orders, [entry.cost] * len(orders))
    sharpes = [metrics.sharpe_or_zero(history.returns, entry.bars_per_year) for history in played]
    k = int(np.argmax(sharpes))
    return sharpes[k], float(MULTIPLIERS[k])


def constant_targets(base: np.ndarray, multiplier: float, caps: tuple[float, float], is_pool: bool) -> np.ndarray:
    """Target weights of a constant multiplier, (L, N); in a pool the caps hold for each symbol's account."""
    rows = base[..., None] if is_pool else base
    return cap_targets(np.full(rows.shape, multiplier), rows, *caps).reshape(base.shape)


def timing(result: dict[str, Any]) -> AuditResult:
    """Audits whether the policy beats its own mean exposure held, the baseline `constant`."""
    value, (low, high) = result["timing_value"]["value"], result["timing_value"]["interval"]
    passed = True if low > 0 else False if high < 0 else None
    info = f"Sharpe {value:+.2f} (95 % interval {low:+.2f} to {high:+.2f}) against its own mean exposure held"
    return AuditResult("timing value", passed, info)
