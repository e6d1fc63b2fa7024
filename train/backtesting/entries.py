"""Entrants and ground made ready: what backtest and compare have in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features import BASE
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.config.market import DataConfig, MarketConfig
from train.config.ppo import Config
from train.data.evaluation_data import EvaluationData, check_fits, find_span, load_evaluation_data
from train.data.market import market_of
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
from train.simulation.baselines import every_bar
from train.simulation.rules import Strategy, check_weights, load_strategy
from train.simulation.simulator import Cell, Play, Simulator, build_simulator, play_orders, play_policies
from train.simulation.trained import Agent, cuts_of, load_agent

AUDITED_ROWS = {"run": 2, "strategy": 3}  # inside the span, at which the future changes for the whole way
CLOSE_ROWS = 24  # spread over the span, and as many where a rule's weights change, with the bars around them
AROUND = (2500, 60)  # bars before and after such a row
ROUNDING = 1e-9  # relative; a rule's sums may round otherwise where later numbers changed


def load(name: str, checkpoint: str) -> Agent | Strategy:
    """A run folder or a strategy's file.

    Raises:
        InputError: it is neither.
    """
    path = Path(name)
    if path.suffix in (".py", ".parquet"):
        return load_strategy(path)
    if not path.is_dir():
        raise InputError(f"{name}: no such folder; give run folders, FILE.py or FILE.parquet")
    return load_agent(path, checkpoint)


def delays_of(grid: GridConfig, own: int) -> tuple[int, ...]:
    """The delays that are played: the own one and one more are needed for the verdict."""
    return tuple(sorted({*grid.delays, own, own + 1}))


def costs_of(grid: GridConfig, own: float) -> tuple[float, ...]:
    """The costs that are played, shares of the traded value, the own one among them."""
    wanted = {cost / 1e4 for cost in grid.costs}
    near = [rate for rate in wanted if abs(rate - own) < 1e-9]
    return tuple(sorted((wanted - set(near)) | {own}))


def null_of(strategy: Strategy, candles: Candles, market: MarketConfig, delay: int) -> AuditResult:
    """A strategy on a market without drift, from the row on at which it has weights."""
    null = null_market(candles)
    weights = strategy.weights(null, market_of(null, market))
    lookback = BASE.lookback(null.bar_ms)
    known = np.isfinite(weights).all(1)
    first = max(lookback, int(np.argmax(known))) + delay
    if not known.any() or first > len(known) // 2:
        return AuditResult("null market", None, "not run: the rule needs more bars than this market has")
    span = ((first, len(known) - 1),)
    check_weights(
        weights, np.arange(first - delay, len(known) - 1), null, f"{strategy.path}, on a market without drift"
    )
    stage = build_simulator(null, market, span, (delay,), {strategy.name: weights})
    _, ((_, course),) = next(play_rule(stage, strategy.name, [Cell(0, delay, market.cost)], stage.num_rows))
    return audit_null_market(course)


def refuse_leaks(leaks: set[str], rows: int, where: str) -> AuditResult:
    """The finding of an audit of causality that passed.

    Raises:
        InputError: it failed: nothing that follows would mean anything.
    """
    finding = causality_result(leaks, rows)
    if not finding.passed:
        raise InputError(f"{where}: the audit of causality failed: it {finding.detail}; nothing was judged")
    return finding


def play_rule(stage: Simulator, name: str, cells: Sequence[Cell], steps: int) -> Iterator[tuple[int, list]]:
    """Plays the weights of a rule on cells, as `play_policies` plays policies."""
    by_place: dict[tuple[int, int], list[int]] = {}
    for index, cell in enumerate(cells):
        by_place.setdefault((cell.start, cell.delay), []).append(index)
    for (start, delay), indices in by_place.items():
        seen = np.asarray(stage.tape.seen[stage.delays.index(delay), start : start + steps])
        orders = every_bar(stage.rules[name][seen])
        played = play_orders(stage, start, [orders] * len(indices), [cells[i].rate for i in indices])
        yield 0, list(zip(indices, played, strict=True))


@dataclass(frozen=True)
class Entrant:
    """A run or a strategy with the stage that its flags ask for."""

    name: str
    stage: Simulator
    play: Play
    seeds: tuple[int | None, ...]  # of its policies; None for a strategy
    chosen: int  # index of the policy that counts
    cost: float  # its own, share of the traded value
    delay: int  # its own, bars


@dataclass(frozen=True)
class Member:
    """A run or a strategy on its ground, audited."""

    entrant: Entrant
    source: Agent | Strategy
    config: Config  # the run's; for a strategy, that of the first run
    ground: EvaluationData
    digest: str  # of its configuration, for the ledger
    findings: tuple[AuditResult, ...]  # causality and null market
    blind: bool = False  # a rule that no audited candle could move

    @property
    def stage(self) -> Simulator:
        """Where it plays."""
        return self.entrant.stage

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why there can be no EDGE here, whatever the numbers say."""
        found = []
        if seen := self.ground.seen_rows:
            rows = self.stage.num_rows
            found.append(f"{seen:,} of its {rows:,} bars lie before the run's test span: training may have known them")
        if isinstance(self.source, Strategy) and self.source.is_file:
            found.append("its weights come from a file, so nothing can say what they knew")
        if self.blind:
            found.append("its weights do not follow the candles at all, so nothing can say what they knew")
        failed = [finding.name for finding in self.findings if finding.passed is False]
        found += [f"the audit of the {name} failed" for name in failed]
        return tuple(found)


def enter(names: Sequence[str], wanted: EvaluationDataConfig, grid: GridConfig) -> list[Member]:
    """Loads, lays the ground, audits; the first run's flags hold for strategies.

    Args:
        names: run folders, FILE.py, FILE.parquet.
        wanted: data and span.
        grid: costs, delays, checkpoint.

    Raises:
        InputError: one of them does not fit, or knows the future.
    """
    sources = [load(name, grid.checkpoint) for name in names]
    agents = [source for source in sources if isinstance(source, Agent)]
    twice = [s.name for s in sources if sum(s.name == other.name for other in sources) > 1]
    if twice:
        raise InputError(f"two entrants are called {twice[0]}; rename one of the folders or files")
    lead = agents[0].config if agents else Config(data=DataConfig())
    late = {source.config.market.delay + k for source in agents for k in (0, 1)}
    grid = replace(grid, delays=tuple(sorted({*grid.delays, *late}))) if len(sources) > 1 else grid
    members = []
    for source in sources:
        config = source.config if isinstance(source, Agent) else lead
        cuts = cuts_of(source if isinstance(source, Agent) else (agents[0] if agents else None))
        features = source.features if isinstance(source, Agent) else BASE
        ground = load_evaluation_data(wanted, config.data, config.source_options, cuts, features)
        if isinstance(source, Agent):
            check_fits(ground, source.symbols, source.stored["data"]["bar"], str(source.folder))
            members.append(enter_agent(source, ground, grid))
        else:
            members.append(enter_strategy(source, ground, config, grid))
    return members


def ledger_root(members: Sequence[Member]) -> Path:
    """Where the trial ledger lies: beside the first run; of strategies alone, in `runs/`."""
    return next((m.source.folder.absolute().parent for m in members if isinstance(m.source, Agent)), Path("runs"))


def enter_agent(agent: Agent, ground: EvaluationData, grid: GridConfig) -> Member:
    """A run's entrant; its way from candles to equity is audited.

    Raises:
        InputError: something on it knows the future.
    """
    market, candles, seen = agent.config.market, ground.candles, agent.features
    own = candles.fingerprint == agent.stored["data"]["fingerprint"]
    train = find_span("train", candles, ground.cuts, agent.config.data.split, seen) if own else None
    way = agent_way(agent, train)
    rows = audit_rows(ground, train, AUDITED_ROWS["run"])
    leaks = audit_causality(ground.raws, ground.config, way, rows).leaks
    if own and fitted_elsewhere(way, candles):
        leaks |= {"the constants of its normalizer"}
    findings: tuple[AuditResult, ...] = (refuse_leaks(leaks, len(rows), str(agent.folder)),)
    null = null_market(candles)
    nothing = find_span("all", null, None, (0.6, 0.8), seen)
    stage = build_simulator(null, market, nothing, (market.delay,), features=seen)
    lone = [Cell(0, market.delay, market.cost)]
    _, ((_, course),) = next(play_policies(stage, agent.policy, agent.variables, agent.chosen, lone, stage.num_rows))
    findings += (audit_null_market(course),)
    stage = build_simulator(candles, market, ground.span, delays_of(grid, market.delay), features=seen)
    play = partial(play_policies, stage, agent.policy, agent.variables, agent.chosen)
    entrant = Entrant(agent.name, stage, play, tuple(agent.seeds), agent.chosen, market.cost, market.delay)
    return Member(entrant, agent, agent.config, ground, agent.digest, findings)


def enter_strategy(strategy: Strategy, ground: EvaluationData, config: Config, grid: GridConfig) -> Member:
    """A strategy's entrant at the smallest delay that was asked for; a function is audited.

    Raises:
        InputError: its weights are no weights, change from call to call, or know the future.
    """
    market, candles, delay = config.market, ground.candles, min(grid.delays)
    weights = strategy.weights(candles, market_of(candles, market))
    rows = np.concatenate([np.arange(a, b) for a, b in ground.span])
    check_weights(weights, rows, candles, str(strategy.path))
    stage = build_simulator(candles, market, ground.span, delays_of(grid, delay), {strategy.name: weights})
    check_weights(weights, np.unique(np.asarray(stage.tape.seen)), candles, str(strategy.path))
    play = partial(play_rule, stage, strategy.name)
    entrant = Entrant(strategy.name, stage, play, (None,), 0, market.cost, delay)
    if strategy.is_file:
        findings = tuple(
            AuditResult(name, None, "not run: weights from a file") for name in ("causality", "null market")
        )
        return Member(entrant, strategy, config, ground, strategy.digest, findings)
    again = strategy.weights(candles, market_of(candles, market))
    if not np.array_equal(weights, again, equal_nan=True):
        raise InputError(f"{strategy.path}: weights() gives other weights when called again; fix its seed")
    way = strategy_way(strategy, market, delay)
    far = audit_rows(ground, None, AUDITED_ROWS["strategy"])
    closer = close_rows(ground, weights, CLOSE_ROWS)
    wide = audit_causality(ground.raws, ground.config, way, far, ROUNDING)
    close = audit_causality(ground.raws, ground.config, way, closer, ROUNDING, AROUND)
    finding = refuse_leaks(wide.leaks | close.leaks, len({*far, *closer}), str(strategy.path))
    moving = bool(np.ptp(stage.rules[strategy.name][stage.rows], axis=0).any())
    findings = (finding, null_of(strategy, candles, market, delay))
    blind = moving and not (wide.reacted or close.reacted)
    return Member(entrant, strategy, config, ground, strategy.digest, findings, blind)
