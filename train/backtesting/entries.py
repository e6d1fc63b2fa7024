"""Entries of backtests and comparisons: trained runs and strategies on their data, audited, ready to be simulated."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from himari_jax.candles import Candles, DataReport
from himari_jax.errors import InputError
from himari_jax.features.market import BASE, Features
from himari_jax.positions.base_positions import Base, first_known
from himari_jax.splits import decision_rows
from train.artifacts.run_folder import refuse_other_folders
from train.backtesting.audits import audit_agent, audit_strategy, refuse_nondeterministic
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.config.market import DataConfig, MarketConfig
from train.config.ppo import Config
from train.data.base import sha256_of
from train.data.evaluation_data import EvaluationData, check_fits, known_data, load_candles, load_evaluation_data
from train.data.market import market_from, sizing_rules
from train.evaluation.ledger import Ledger, ledger_of_run, open_ledger
from train.evaluation.result import AuditResult
from train.evaluation.trials import Evaluated, evaluated_on
from train.simulation.play import Play, play_policies, play_weights
from train.simulation.rules import Strategy, check_weights, load_strategy
from train.simulation.simulator import Simulator, simulate
from train.simulation.trained import Agent, base_of, cuts_of, load_agent

SimulatorOf = Callable[[EvaluationData, MarketConfig, Sequence[int], Base, Features], Simulator]


@dataclass(frozen=True)
class Entry:
    """A trained run or a strategy on its data, audited and ready to be played."""

    name: str
    source: Agent | Strategy
    config: Config  # the run's; for a strategy, that of the first run
    data: EvaluationData
    base: Base  # that a policy on these candles multiplies
    simulator: Simulator
    play: Play
    seeds: tuple[int | None, ...]  # of its policies; None for a strategy
    chosen: int  # index of the policy that counts
    cost: float  # its own, share of the traded value
    delay: int  # its own, bars
    audits: tuple[AuditResult, ...]  # causality and null market
    blind: bool = False  # a rule that no audited candle could move

    @property
    def candles(self) -> Candles:
        """The candles that the entry is simulated on."""
        return self.data.candles

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the candles."""
        return self.candles.symbols

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the candles."""
        return self.candles.fingerprint

    @property
    def num_rows(self) -> int:
        """Decisions of the span."""
        return self.simulator.num_rows

    @property
    def bars_per_year(self) -> float:
        """Decisions of a year."""
        return self.simulator.bars_per_year

    @property
    def market(self) -> MarketConfig:
        """Rules of the market."""
        return self.config.market

    @property
    def own_cost(self) -> float:
        """Its own cost, basis points."""
        return round(1e4 * self.cost, 6)

    @property
    def chosen_seed(self) -> int | None:
        """Number of the policy that counts."""
        return self.seeds[self.chosen]

    @property
    def evaluated(self) -> Evaluated:
        """The entry as the trial ledger knows it."""
        return evaluated_on(self.simulator, self.name, digest_of(self.source, self.base))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons that rule out an EDGE here, whatever the numbers are."""
        found = []
        if seen := self.data.seen_rows:
            rows = self.num_rows
            found.append(f"{seen:,} of its {rows:,} bars lie before the run's test span: training may have known them")
        if isinstance(self.source, Strategy) and self.source.is_file:
            found.append("its weights come from a file, so nothing can say what they knew")
        if self.blind:
            found.append("its weights do not follow the candles at all, so nothing can say what they knew")
        found += [f"the audit of the {audit.name} failed" for audit in self.audits if audit.passed is False]
        return tuple(found)


def load(name: str, checkpoint: str) -> Agent | Strategy:
    """Loads a run folder or a strategy's file.

    Raises:
        InputError: it is neither.
    """
    path = Path(name)
    if path.suffix in (".py", ".parquet"):
        return load_strategy(path)
    if not path.is_dir():
        raise InputError(f"{name}: no such folder; give run folders, FILE.py or FILE.parquet")
    refuse_other_folders(path)
    return load_agent(path, checkpoint)


def delays_of(grid: GridConfig, own: int) -> tuple[int, ...]:
    """Returns the delays to play: the own one and one more are needed for the verdict."""
    return tuple(sorted({*grid.delays, own, own + 1}))


def costs_of(grid: GridConfig, own: float) -> tuple[float, ...]:
    """Returns the costs to play, shares of the traded value, the own one among them."""
    wanted = {cost / 1e4 for cost in grid.costs}
    near = [rate for rate in wanted if abs(rate - own) < 1e-9]
    return tuple(sorted((wanted - set(near)) | {own}))


def load_entries(names: Sequence[str], wanted: EvaluationDataConfig, grid: GridConfig) -> list[Entry]:
    """Loads, simulates, audits; the first run's flags hold for strategies.

    Equal candles are loaded once, and entries with the same span and market rules share one simulator.

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
        raise InputError(f"two entries are called {twice[0]}; rename one of the folders or files")
    lead = agents[0].config if agents else Config(data=DataConfig())
    if len(sources) > 1:
        late = {agent.market.delay + k for agent in agents for k in (0, 1)}
        grid = replace(grid, delays=tuple(sorted({*grid.delays, *late})))
    if wanted.base_positions and not any(agent.base_sha256 for agent in agents):
        raise InputError(f"--base-positions {wanted.base_positions}: no run here was trained with own base positions")
    read, simulator_of = cache(load_candles), shared_simulators()
    entries = []
    for source in sources:
        config = source.config if isinstance(source, Agent) else lead
        run = source if isinstance(source, Agent) else (agents[0] if agents else None)
        features = source.features if isinstance(source, Agent) else BASE
        data = load_evaluation_data(
            wanted, config.data, config.market, config.source_options, cuts_of(run), features, read
        )
        if isinstance(source, Agent):
            check_fits(data, source.symbols, source.stored["data"]["bar"], str(source.folder))
        base, data = load_base(run, config.market, data, wanted, grid)
        if isinstance(source, Agent):
            entries.append(agent_entry(source, data, grid, simulator_of, base))
        else:
            entries.append(strategy_entry(source, data, config, grid, simulator_of, base))
    return entries


def load_base(
    run: Agent | None, market: MarketConfig, data: EvaluationData, wanted: EvaluationDataConfig, grid: GridConfig
) -> tuple[Base, EvaluationData]:
    """Loads the base on some data; drops the decisions before the base is known at every delay.

    Raises:
        InputError: the file of the base does not fit the candles, or no decision is left.
    """
    if run is None:
        return market.base_sizing, data
    assume_utc = data.config.assume_utc or wanted.assume_utc
    base = base_of(run, data.candles.symbols, assume_utc, wanted.base_positions)
    report = DataReport(list(data.report.entries))  # entries of the same candles share the one of those
    return base, known_data(data, base, market, max(delays_of(grid, market.delay)), report)


def digest_of(source: Agent | Strategy, base: Base) -> str:
    """Hash of the configuration in the trial ledger; other base positions than in training make another one."""
    own = sha256_of(base)
    if isinstance(source, Strategy) or own == source.base_sha256:
        return source.digest
    return hashlib.sha256(f"{source.digest} {own}".encode()).hexdigest()


def shared_simulators() -> SimulatorOf:
    """Returns `simulate` with a cache: the same candles, base, span, delays and rules share one simulator."""
    built: dict[tuple, Simulator] = {}

    def simulator_of(
        data: EvaluationData, market: MarketConfig, delays: Sequence[int], base: Base, features: Features
    ) -> Simulator:
        rules = sha256_of(base) or base, features.marks, sizing_rules(market), market.fill, market.min_trade
        spans = tuple(each.span for each in data.members)
        key = data.candles.fingerprint, data.config.pool, spans, tuple(delays), *rules
        if key not in built:
            built[key] = simulate(data.members, market, delays, features, data.config.pool)
        return built[key]

    return simulator_of


def ledger_of(entries: Sequence[Entry], named: str | None) -> Ledger:
    """Opens the trial ledger: the one named, that of the first run, else beside it; of strategies alone, in `runs/`.

    Raises:
        InputError: the run's ledger is a file that is not there: counting would begin at nothing.
    """
    agents = [entry.source for entry in entries if isinstance(entry.source, Agent)]
    if named is not None or not agents:
        return open_ledger(named or "runs")
    return ledger_of_run(agents[0].folder, agents[0].config.run.ledger)


def agent_entry(agent: Agent, data: EvaluationData, grid: GridConfig, simulator_of: SimulatorOf, base: Base) -> Entry:
    """Builds the entry of a run and audits its pipeline from candles to equity.

    Raises:
        InputError: a step of the pipeline knows the future.
    """
    market = agent.market
    audits = audit_agent(agent, data)
    simulator = simulator_of(data, market, delays_of(grid, market.delay), base, agent.features)
    return Entry(
        name=agent.name,
        source=agent,
        config=agent.config,
        data=data,
        base=base,
        simulator=simulator,
        play=partial(play_policies, simulator, agent.policy, agent.variables, agent.chosen),
        seeds=tuple(agent.seeds),
        chosen=agent.chosen,
        cost=market.cost,
        delay=market.delay,
        audits=audits,
    )


def strategy_entry(
    strategy: Strategy, data: EvaluationData, config: Config, grid: GridConfig, simulator_of: SimulatorOf, base: Base
) -> Entry:
    """Builds the entry of a strategy at the smallest delay asked for; audits a function.

    Raises:
        InputError: its weights are no weights, change from call to call, or know the future.
    """
    market, delay, where = config.market, min(grid.delays), str(strategy.path)
    simulator = simulator_of(data, market, delays_of(grid, delay), base, BASE)
    weights = []
    for a, each in enumerate(simulator.members):
        own = strategy.weights(each.candles, market_from(each.candles, market, base=each.base))
        check_weights(own, decision_rows(each.span), each.candles, where, strategy.is_file)
        seen = np.concatenate([simulator.seen(d, member=a)[simulator.active[a]] for d in simulator.delays])
        if strategy.is_file:  # a late rule stays in cash until its first row is known
            seen = seen[seen >= first_known(own)]
        check_weights(own, np.unique(seen), each.candles, where, strategy.is_file)
        refuse_nondeterministic(strategy, own, each, market)
        weights.append(own)
    audits, blind = audit_strategy(strategy, weights, data, market, delay)
    return Entry(
        name=strategy.name,
        source=strategy,
        config=config,
        data=data,
        base=base,
        simulator=simulator,
        play=partial(play_weights, simulator, weights),
        seeds=(None,),
        chosen=0,
        cost=market.cost,
        delay=delay,
        audits=audits,
        blind=blind,
    )
