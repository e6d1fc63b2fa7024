"""The simulator of a span: policies, rules and baselines played through the account at any cost and delay."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.market import Market
from himari_jax.account import Costs
from himari_jax.base_positions import Base
from himari_jax.baselines import Orders, Setting, Window
from himari_jax.candles import Candles
from himari_jax.features import BASE, Features
from himari_jax.plugins import BASELINES
from himari_jax.policies.policy import Policy
from himari_jax.splits import Stretches
from himari_jax.times import iso_second
from train.config.market import MarketConfig
from train.data.market import market_from, sizing_rules
from train.simulation.baselines import all_orders, all_rules, every_bar
from train.simulation.engine import (
    BATCH_BYTES,
    AccountHistory,
    Limits,
    Tape,
    histories,
    lay_out,
    make_lanes,
    run_policy,
    run_weights,
)
from train.simulation.returns import returns_in_batches


class Cell(NamedTuple):
    """One way to play a policy."""

    start: int  # position on the tape
    delay: int  # bars by which it sees the market late
    rate: float  # share of the traded value that a trade costs


CellHistories = tuple[int, list[tuple[int, AccountHistory]]]  # a policy, and its histories by index of the cell
Play = Callable[[Sequence[Cell], int], Iterator[CellHistories]]  # cells and bars of a window; see play_policies


@dataclass(frozen=True)
class Simulator:
    """A span of a market, laid out so that policies and baselines can be played on it."""

    candles: Candles
    market: Market  # on the host, seen on time
    span: Stretches
    host: Tape  # the tape on the host
    tape: Tape  # and on the device
    delays: tuple[int, ...]  # of `tape.seen`
    limits: Limits
    setting: Setting  # what the rules of the baselines look at

    @property
    def num_rows(self) -> int:
        """Decisions of the span."""
        return len(self.host.rows)

    @property
    def rows(self) -> np.ndarray:
        """Rows of the decisions, (L,)."""
        return self.host.rows

    @property
    def bars_per_year(self) -> float:
        """Of the candles."""
        return self.candles.bars_per_year

    @property
    def times(self) -> np.ndarray:
        """When the decisions were made, (L,), epoch milliseconds."""
        return self.candles.time[self.rows] + self.candles.bar_ms

    @property
    def seen_rows(self) -> np.ndarray:
        """Every row that a decision sees at some delay, each once, in order."""
        return np.unique(self.host.seen)

    @cached_property
    def rules(self) -> Mapping[str, np.ndarray]:
        """Target weights of the baselines that are rules, (T, N) by name."""
        return all_rules(self.setting)

    def seen(self, delay: int, start: int = 0, steps: int | None = None) -> np.ndarray:
        """Rows of the market that decisions see at a delay, (S,), from a position on."""
        return self.host.seen[self.delays.index(delay), start : None if steps is None else start + steps]


def build_simulator(
    candles: Candles,
    config: MarketConfig,
    span: Stretches,
    delays: Sequence[int],
    base: Base | None = None,
    features: Features = BASE,
) -> Simulator:
    """Aligns the market once; delays are read off the same arrays.

    Args:
        candles: checked.
        config: base sizing, caps, fill; its costs and delay are not looked at.
        span: stretches of decision rows.
        delays: bars.
        base: instead of the base sizing of the flags; known at every row that a decision of the span sees.
        features: what the policies see of the market.
    """
    market = market_from(candles, config, 0, base, features)
    host = lay_out(market, span, candles, delays)
    setting = Setting(candles, base or config.base_sizing, sizing_rules(config))
    return Simulator(candles, market, span, host, jax.device_put(host), tuple(delays), Limits.of(config), setting)


def play_policies(
    simulator: Simulator, policy: Policy, variables: Any, first: int, cells: Sequence[Cell], steps: int
) -> Iterator[CellHistories]:
    """Plays K policies on every cell, as much at once as the memory allows.

    Args:
        simulator: of the span.
        policy: the module.
        variables: leaves (K, ...).
        first: the policy that comes first in every part.
        cells: windows, delays, costs.
        steps: bars of a window.

    Yields:
        part by part of the cells, for every policy: its index, and (index of the cell, history) of the part's cells.
    """
    seeds = jax.tree.leaves(variables)[0].shape[0]
    order = np.array([first, *(k for k in range(seeds) if k != first)])
    per_lane = steps * (3 * policy.num_assets + 1) * 4
    for offset, part in batches(cells, max(1, BATCH_BYTES // per_lane)):
        at_once = max(1, min(seeds, BATCH_BYTES // (per_lane * len(part))))
        starts, rates = np.array([c.start for c in part]), [c.rate for c in part]
        lanes = make_lanes(starts.tolist(), [simulator.delays.index(c.delay) for c in part], rates)
        for some in (order[a : a + at_once] for a in range(0, seeds, at_once)):
            chosen = jax.tree.map(lambda x, some=some: x[some], variables)
            paths = run_policy(policy, steps, chosen, simulator.tape, lanes, simulator.limits)
            paths = jax.tree.map(np.asarray, paths)
            for i, k in enumerate(some.tolist()):
                path = jax.tree.map(lambda x, i=i: x[i], paths)
                played = enumerate(histories(path, simulator.host, starts, np.asarray(lanes.rate)), offset)
                yield k, [(index, history) for index, history in played if index < len(cells)]


def play_weights(
    simulator: Simulator, weights: np.ndarray, cells: Sequence[Cell], steps: int
) -> Iterator[CellHistories]:
    """Plays target weights (T, N) on cells, as `play_policies` plays policies."""
    places: dict[tuple[int, int], list[int]] = {}
    for index, cell in enumerate(cells):
        places.setdefault((cell.start, cell.delay), []).append(index)
    for (start, delay), indices in places.items():
        orders = every_bar(weights[simulator.seen(delay, start, steps)])
        played = play_orders(simulator, start, [orders] * len(indices), [cells[i].rate for i in indices])
        yield 0, list(zip(indices, played, strict=True))


def batches(cells: Sequence[Cell], most: int) -> Iterator[tuple[int, list[Cell]]]:
    """Equal parts of at most `most` cells with their offsets; the last is filled up, so that one shape is compiled."""
    number = -(-len(cells) // most)
    size = -(-len(cells) // number)
    for offset in range(0, len(cells), size):
        part = list(cells[offset : offset + size])
        yield offset, part + part[-1:] * (size - len(part))


def play_baselines(
    simulator: Simulator,
    start: int,
    delay: int,
    agents: Mapping[float, AccountHistory],
    names: Sequence[str] | None = None,
) -> dict[float, dict[str, AccountHistory]]:
    """Baselines in one window at one delay, by cost and name.

    Args:
        simulator: of the span.
        start: position of the window.
        delay: bars.
        agents: the policy's history in that window by cost: `random` and `constant` are made from it.
        names: which; None: all.
    """
    orders: list[Orders] = []
    labels: list[tuple[float, str]] = []
    for rate, agent in agents.items():
        wanted = all_orders(simulator.rules, window_of(simulator, start, delay, agent))
        chosen = BASELINES.names if names is None else names
        orders += [wanted[name] for name in chosen]
        labels += [(rate, name) for name in chosen]
    played = play_orders(simulator, start, orders, [rate for rate, _ in labels]) if orders else []
    found: dict[float, dict[str, AccountHistory]] = {rate: {} for rate in agents}
    for (rate, name), history in zip(labels, played, strict=True):
        found[rate][name] = history
    return found


def window_of(simulator: Simulator, start: int, delay: int, agent: AccountHistory) -> Window:
    """The strategies' inputs in the window that an agent was simulated in."""
    steps = len(agent.returns)
    part = slice(start, start + steps)
    first = np.array(simulator.host.first[part])
    first[0] = True
    return Window(
        seen=simulator.seen(delay, start, steps),
        tradable=simulator.host.tradable[part],
        first=first,
        mean_weights=np.asarray(agent.held, np.float64).mean(0),
        traded=float(np.abs(agent.delta).sum(1).mean()),
    )


def play_orders(
    simulator: Simulator, start: int, orders: Sequence[Orders], rates: Sequence[float]
) -> list[AccountHistory]:
    """Given orders in one window, each at its cost."""
    targets: Any = np.stack([order.target for order in orders], -1).astype(np.float32)
    trade: Any = np.stack([order.trade for order in orders], -1)
    costs = Costs(np.asarray(rates, np.float32), simulator.limits.min_trade)
    begin: Any = np.int32(start)
    path = jax.tree.map(np.asarray, run_weights(targets, trade, simulator.tape, begin, costs))
    played = histories(path, simulator.host, np.full(len(orders), start), np.asarray(rates))
    return [history._replace(given=order.target) for history, order in zip(played, orders, strict=True)]


def constant_returns(simulator: Simulator, start: int, agents: Sequence[tuple[float, AccountHistory]]) -> np.ndarray:
    """Returns (S, B) of the policies that hold each agent's mean weights, by (cost, history) of one window."""
    means = np.stack([np.asarray(history.held, np.float64).mean(0) for _, history in agents], -1)
    targets = np.broadcast_to(means.astype(np.float32), (len(agents[0][1].returns), *means.shape))
    rates = np.array([rate for rate, _ in agents])
    parts = returns_in_batches(targets, simulator.tape, start, rates, simulator.limits.min_trade)
    return np.concatenate([returns for _, returns in parts], -1).astype(np.float64)


def liquidated(simulator: Simulator, start: int, steps: int) -> np.ndarray:
    """Bars of a window after which everything is sold, (S,) bool."""
    end = np.array(simulator.host.last[start : start + steps])
    end[-1] = True
    return end


def span_name(simulator: Simulator) -> str:
    """First and last decision, FROM/TO, as the ledger counts trials by."""
    (first, _), *_, (_, last) = ends(simulator.candles, simulator.span) * 2
    return f"{first}/{last}"


def ends(candles: Candles, span: Stretches) -> list[list[str]]:
    """First and last decision of each stretch."""
    close = candles.time + candles.bar_ms
    return [[iso_second(close[a]), iso_second(close[b - 1])] for a, b in span]


class SpanHistories(NamedTuple):
    """Account histories of agents and baselines on the test span."""

    agents: list[AccountHistory]  # by seed
    late: AccountHistory  # the chosen seed, one bar later
    baselines: dict[str, AccountHistory]
    late_baselines: dict[str, AccountHistory]
    liquidated: np.ndarray  # (L,) bool
    bars_per_year: float


def play_whole(simulator: Simulator, play: Play, chosen: int, delay: int, rate: float) -> SpanHistories:
    """All policies on the whole span, the chosen one a bar later too, and the baselines beside them.

    Args:
        simulator: with `delay` and `delay + 1` among its delays.
        play: plays the policies on cells, as `play_policies` does.
        chosen: index of the policy that validation chose.
        delay: the run's own, bars.
        rate: the run's own cost.
    """
    cells = [Cell(0, delay, rate), Cell(0, delay + 1, rate)]
    found = {(k, index): history for k, played in play(cells, simulator.num_rows) for index, history in played}
    agents = [found[k, 0] for k in range(len(found) // 2)]
    late = found[chosen, 1]
    return SpanHistories(
        agents=agents,
        late=late,
        baselines=play_baselines(simulator, 0, delay, {rate: agents[chosen]})[rate],
        late_baselines=play_baselines(simulator, 0, delay + 1, {rate: late})[rate],
        liquidated=liquidated(simulator, 0, simulator.num_rows),
        bars_per_year=simulator.bars_per_year,
    )
