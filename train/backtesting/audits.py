"""The audits that every entry goes through before it is played: causality, and a market without drift."""

import jax
import numpy as np

from himari_jax.base_positions import Base
from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features import BASE
from himari_jax.splits import decision_rows, from_row
from train.config.market import MarketConfig
from train.data.base import first_decision
from train.data.evaluation_data import EvaluationData, find_span
from train.data.market import market_from
from train.evaluation.causality import (
    agent_way,
    audit_causality,
    audit_rows,
    causality_result,
    close_rows,
    fitted_elsewhere,
    strategy_way,
)
from train.evaluation.null_market import audit_null_market, null_market
from train.evaluation.result import AuditResult
from train.simulation.engine import AccountHistory
from train.simulation.rules import Strategy, check_weights
from train.simulation.simulator import Cell, build_simulator, play_policies, play_weights
from train.simulation.trained import Agent

AUDITED_ROWS = {"run": 2, "strategy": 3}  # inside the span, at which the future changes for the whole way
CLOSE_ROWS = 24  # spread over the span, and as many where a rule's weights change, with the bars around them
AROUND = (2500, 60)  # bars before and after such a row
ROUNDING = 1e-9  # relative; a rule's sums may round otherwise where later numbers changed


def audit_agent(agent: Agent, data: EvaluationData, base: Base) -> tuple[AuditResult, AuditResult]:
    """Audits the way of a run from candles to equity, and what it earns on a market without drift.

    Raises:
        InputError: something on the way knows the future.
    """
    candles, flags = data.candles, agent.config.data
    own = candles.fingerprint == agent.stored["data"]["fingerprint"]
    train = find_span("train", candles, data.cuts, flags.split, agent.features) if own else None
    way = agent_way(agent, train, base)
    known = None if train is None else from_row(train, first_decision(base, candles, agent.market, agent.market.delay))
    rows = audit_rows(data, known, AUDITED_ROWS["run"])
    leaks = audit_causality(data.raws, data.config, way, rows, candles=candles).leaks
    if own and fitted_elsewhere(way, candles):
        leaks |= {"the constants of its normalizer"}
    causality = refuse_leaks(leaks, len(rows), str(agent.folder))
    return causality, audit_null_market(null_history(agent, candles))


def null_history(agent: Agent, candles: Candles) -> AccountHistory:
    """Simulates the chosen seed of a run on a market without drift, at its own cost and delay.

    No file of base positions knows that market: there the base sizing of the flags holds.
    """
    null, market = null_market(candles), agent.market
    span = find_span("all", null, None, (0.6, 0.8), agent.features)
    simulator = build_simulator(null, market, span, (market.delay,), features=agent.features)
    chosen = jax.tree.map(lambda x: x[agent.chosen : agent.chosen + 1], agent.variables)
    cell = Cell(0, market.delay, market.cost)
    _, ((_, history),) = next(play_policies(simulator, agent.policy, chosen, 0, [cell], simulator.num_rows))
    return history


def refuse_fickle(strategy: Strategy, weights: np.ndarray, candles: Candles, market: MarketConfig, base: Base) -> None:
    """Calls a function again.

    Raises:
        InputError: it gives other weights.
    """
    if strategy.is_file:
        return
    again = strategy.weights(candles, market_from(candles, market, base=base))
    if not np.array_equal(weights, again, equal_nan=True):
        raise InputError(f"{strategy.path}: weights() gives other weights when called again; fix its seed")


def audit_strategy(
    strategy: Strategy, weights: np.ndarray, data: EvaluationData, market: MarketConfig, delay: int, base: Base
) -> tuple[tuple[AuditResult, ...], bool]:
    """Audits a function; says, too, whether its weights move though no audited candle could move them.

    Raises:
        InputError: it knows the future.
    """
    if strategy.is_file:
        names = "causality", "null market"
        return tuple(AuditResult(name, None, "not run: weights from a file") for name in names), False
    way = strategy_way(strategy, market, delay, base)
    far = audit_rows(data, None, AUDITED_ROWS["strategy"])
    closer = close_rows(data, weights, CLOSE_ROWS)
    wide = audit_causality(data.raws, data.config, way, far, ROUNDING, candles=data.candles)
    close = audit_causality(data.raws, data.config, way, closer, ROUNDING, AROUND, data.candles)
    causality = refuse_leaks(wide.leaks | close.leaks, len({*far, *closer}), str(strategy.path))
    moving = bool(np.ptp(weights[decision_rows(data.span)], axis=0).any())
    blind = moving and not (wide.reacted or close.reacted)
    return (causality, null_of(strategy, data.candles, market, delay)), blind


def refuse_leaks(leaks: set[str], rows: int, where: str) -> AuditResult:
    """The result of an audit of causality that passed.

    Raises:
        InputError: it failed: nothing that follows would mean anything.
    """
    result = causality_result(leaks, rows)
    if not result.passed:
        raise InputError(f"{where}: the audit of causality failed: it {result.detail}; nothing was judged")
    return result


def null_of(strategy: Strategy, candles: Candles, market: MarketConfig, delay: int) -> AuditResult:
    """A strategy on a market without drift, from the row on at which it has weights."""
    null = null_market(candles)
    weights = strategy.weights(null, market_from(null, market))
    lookback = BASE.lookback(null.bar_ms)
    known = np.isfinite(weights).all(1)
    first = max(lookback, int(np.argmax(known))) + delay
    if not known.any() or first > len(known) // 2:
        return AuditResult("null market", None, "not run: the rule needs more bars than this market has")
    last = len(known) - 1
    check_weights(weights, np.arange(first - delay, last), null, f"{strategy.path}, on a market without drift")
    simulator = build_simulator(null, market, ((first, last),), (delay,))
    cell = Cell(0, delay, market.cost)
    _, ((_, history),) = next(play_weights(simulator, weights, [cell], simulator.num_rows))
    return audit_null_market(history)
