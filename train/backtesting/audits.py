"""The audits that every entry goes through before it is played: causality, and a market without drift."""

from collections.abc import Sequence

import jax
import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features.market import BASE
from himari_jax.positions.base_positions import first_known
from himari_jax.positions.sizing import sizing_lookback
from himari_jax.splits import Stretches, cut_times, decision_rows, find_span, from_row, stretches
from train.config.market import MarketConfig
from train.data.base import first_decision
from train.data.evaluation_data import EvaluationData
from train.data.market import market_from, training_inputs
from train.data.members import Member
from train.evaluation.causality import (
    agent_pipeline,
    audit_causality,
    audit_rows,
    causality_result,
    close_rows,
    normalizer_differs,
    strategy_pipeline,
)
from train.evaluation.null_market import audit_null_market, null_market
from train.evaluation.result import AuditResult
from train.simulation.history import AccountHistory
from train.simulation.play import Cell, play_policies, play_weights, single_history
from train.simulation.rules import Strategy, check_weights
from train.simulation.simulator import build_simulator
from train.simulation.trained import Agent

AUDITED_ROWS = {"run": 2, "strategy": 3}  # inside the span, at which the future changes for the whole pipeline
CLOSE_ROWS = 24  # spread over the span, and as many where a rule's weights change, with the bars around them
AROUND = (2500, 60)  # bars before and after such a row; the look-back where that is longer
MOST_BARS = 2**18  # that the whole pipeline runs on for each row; longer candles are cut around it
ROUNDING = 1e-9  # relative; a rule's sums may round otherwise where later numbers changed

Around = tuple[int, int] | None  # bars before and after a row that are looked at; None: all


def audit_agent(agent: Agent, data: EvaluationData) -> tuple[AuditResult, AuditResult]:
    """Audits the pipeline of a run from candles to equity, and its gain on a market without drift.

    Of a pool the pipeline of every symbol is audited.

    Raises:
        InputError: a step of the pipeline knows the future.
    """
    own = data.candles.fingerprint == agent.stored["data"]["fingerprint"]
    train = train_spans(data) if own else None
    leaks: set[str] = set()
    count = seen = 0
    for each in data.alone:
        found, rows, around = audit_way(agent, each, train[0] if train and not data.config.pool else None)
        leaks, count, seen = leaks | found, count + rows, max(seen, sum(around or ()))
    if train:
        stored = jax.tree.map(lambda x: x[agent.chosen], agent.variables["constants"]["normaliser"])
        markets = [
            market_from(each.candles, agent.market, agent.market.delay, features=agent.features)
            for each in data.members
        ]
        if normalizer_differs(stored, *training_inputs(list(zip(markets, train, strict=True)))):
            leaks |= {"the constants of its normalizer"}
    causality = refuse_leaks(leaks, count, str(agent.folder), seen)
    return causality, audit_null_market(null_history(agent, data.members[0].candles))


def train_spans(data: EvaluationData) -> list[Stretches]:
    """Returns the training span of each member; it may be empty."""
    cuts = data.cuts or cut_times(data.candles.time, data.rules.cuts)
    return [find_span(each.candles, data.rules, cuts, "train") for each in data.members]


def audit_way(agent: Agent, data: EvaluationData, train: Stretches | None) -> tuple[set[str], int, Around]:
    """Audits the pipeline of a run from the candles of one account to its equity.

    Returns:
        names of values that know the future; number of rows after which it changed; bars audited around each row.
    """
    candles, base = data.candles, data.members[0].base
    known = None
    if train is not None:
        known = from_row(train, first_decision(base, candles, agent.market, agent.market.delay))
    rows = audit_rows(data, known, AUDITED_ROWS["run"])
    around = bars_around(candles, agent.features.lookback(candles.bar_ms))
    # Cut candles do not hold the training span: there `normalizer_differs` alone looks at the normalizer.
    pipeline = agent_pipeline(agent, train if around is None else None, base)
    found = audit_causality(data.raws, data.config, pipeline, rows, around=around, candles=candles)
    return found.leaks, len(rows), around


def bars_around(candles: Candles, look_back: int) -> Around:
    """Bars before and after a row that the whole pipeline runs on: all of them, or of long candles a bounded number.

    Of many millions each of a dozen futures would be checked, and its features computed, from the first bar on.
    """
    if len(candles.time) <= MOST_BARS:
        return None
    return max(3 * MOST_BARS // 4, look_back + 1), MOST_BARS // 4


def null_history(agent: Agent, candles: Candles) -> AccountHistory:
    """Simulates the chosen seed of a run on a market without drift, at its own cost and delay.

    No file of base positions knows that market: there the base sizing of the flags holds.
    """
    market, bar_ms = agent.market, candles.bar_ms
    look_back, step = max(agent.features.lookback(bar_ms), sizing_lookback(bar_ms)), market.step(bar_ms)
    null = null_market(candles, look_back, step)
    span = stretches(null, 0, len(null.time), look_back, step, market.phase_ms)
    simulator = build_simulator(null, market, span, (market.delay,), features=agent.features)
    chosen = jax.tree.map(lambda x: x[agent.chosen : agent.chosen + 1], agent.variables)
    cell = Cell(0, market.delay, market.cost)
    return single_history(play_policies(simulator, agent.policy, chosen, 0, [cell], simulator.num_rows))


def refuse_nondeterministic(strategy: Strategy, weights: np.ndarray, member: Member, market: MarketConfig) -> None:
    """Calls a strategy's function a second time on the same candles and compares the weights, (T, N).

    Raises:
        InputError: it gives other weights.
    """
    if strategy.is_file:
        return
    again = strategy.weights(member.candles, market_from(member.candles, market, base=member.base))
    if not np.array_equal(weights, again, equal_nan=True):
        raise InputError(f"{strategy.path}: weights() gives other weights when called again; fix its seed")


def audit_strategy(
    strategy: Strategy, weights: Sequence[np.ndarray], data: EvaluationData, market: MarketConfig, delay: int
) -> tuple[tuple[AuditResult, ...], bool]:
    """Audits a strategy; also returns whether its weights move although no audited candle moves them.

    Args:
        strategy: a function or a file.
        weights: (T, n) of each account that decides.
        data: its candles.
        market: rules.
        delay: bars.

    Raises:
        InputError: it knows the future.
    """
    if strategy.is_file:
        names = "causality", "null market"
        return tuple(AuditResult(name, None, "not run: weights from a file") for name in names), False
    leaks: set[str] = set()
    rows, seen, moving, reacted = 0, 0, False, False
    around = max(AROUND[0], BASE.lookback(data.candles.bar_ms) + 1), AROUND[1]
    for each, own in zip(data.alone, weights, strict=True):
        pipeline = strategy_pipeline(strategy, market, delay, each.members[0].base)
        far = audit_rows(each, None, AUDITED_ROWS["strategy"])
        closer = close_rows(each, own, CLOSE_ROWS)
        whole = bars_around(each.candles, BASE.lookback(each.candles.bar_ms))
        wide = audit_causality(each.raws, each.config, pipeline, far, ROUNDING, whole, each.candles)
        close = audit_causality(each.raws, each.config, pipeline, closer, ROUNDING, around, each.candles)
        leaks, rows = leaks | wide.leaks | close.leaks, rows + len({*far, *closer})
        seen = max(seen, sum(whole or ()))
        moving |= bool(np.ptp(own[decision_rows(each.span)], axis=0).any())
        reacted |= wide.reacted or close.reacted
    causality = refuse_leaks(leaks, rows, str(strategy.path), seen)
    return (causality, null_of(strategy, weights[0], data.alone[0].candles, market, delay)), moving and not reacted


def refuse_leaks(leaks: set[str], rows: int, where: str, seen: int = 0) -> AuditResult:
    """Refuses leaks, or returns the result of an audit that passed.

    Args:
        leaks: names of what knows the future.
        rows: after which the future changed.
        where: who was audited.
        seen: bars around each of them that were looked at, where candles are long; 0: all.

    Raises:
        InputError: it failed: nothing that follows would mean anything.
    """
    result = causality_result(leaks, rows, seen)
    if not result.passed:
        raise InputError(f"{where}: the audit of causality failed: it {result.detail}; nothing was evaluated")
    return result


def null_of(strategy: Strategy, weights: np.ndarray, candles: Candles, market: MarketConfig, delay: int) -> AuditResult:
    """Audits a strategy on a market without drift, from the first row that has weights.

    Args:
        strategy: a function.
        weights: (T, n) on its candles; the first known row is the rule's look-back.
        candles: of the account.
        market: rules.
        delay: bars.
    """
    bar_ms, step = candles.bar_ms, market.step(candles.bar_ms)
    usual = max(BASE.lookback(bar_ms), sizing_lookback(bar_ms))
    look_back = max(usual, first_known(weights)) + delay
    null = null_market(candles, look_back, step)
    own = strategy.weights(null, market_from(null, market))
    first, last = max(usual, first_known(own)) + delay, len(own) - step
    if first > (look_back + len(own)) // 2:
        return AuditResult("null market", None, "not run: the rule needs more bars than this market has")
    check_weights(own, np.arange(first - delay, last), null, f"{strategy.path}, on a market without drift")
    simulator = build_simulator(null, market, (range(first, last, step),), (delay,))
    cell = Cell(0, delay, market.cost)
    return audit_null_market(single_history(play_weights(simulator, [own], [cell], simulator.num_rows)))
