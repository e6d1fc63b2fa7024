"""A stage: a span of a market, laid out so that policies and baselines can be played on it at any cost and delay."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market, build_market, to_device
from himari_jax.account import Costs
from himari_jax.baselines import Orders, Setting, Window
from himari_jax.candles import Candles
from himari_jax.features import BASE, Features
from himari_jax.plugins import BASELINES
from himari_jax.policies.policy import Policy
from himari_jax.splits import Stretches
from himari_jax.times import iso_second
from train.config.market import MarketConfig
from train.data.market import sizing_rules
from train.simulation.baselines import all_orders, all_rules
from train.simulation.engine import (
    BATCH_BYTES,
    AccountHistory,
    Limits,
    Tape,
    courses,
    make_lanes,
    make_tape,
    run_policy,
    run_weights,
)
from train.simulation.returns import returns_in_batches

CellHistories = tuple[int, list[tuple[int, AccountHistory]]]  # a policy, and its courses by index of the cell


class Cell(NamedTuple):
    """One way to play a policy."""

    start: int  # position on the tape
    delay: int  # bars by which it sees the market late
    rate: float  # share of the traded value that a trade costs


Play = Callable[[Sequence[Cell], int], Iterator[tuple[int, list[tuple[int, AccountHistory]]]]]  # see play_policies


@dataclass(frozen=True)
class Simulator:
    """What every policy and baseline meets."""

    candles: Candles
    market: Market  # on the host, seen on time
    span: Stretches
    tape: Tape  # on the device
    delays: tuple[int, ...]  # of `tape.seen`
    limits: Limits
    rules: Mapping[str, np.ndarray] = field(repr=False)  # (T, N) target weights by name, baselines first

    @property
    def num_rows(self) -> int:
        """Decisions of the span."""
        return len(self.tape.rows)

    @property
    def rows(self) -> np.ndarray:
        """Rows of the decisions, (L,)."""
        return np.asarray(self.tape.rows)

    @property
    def bars_per_year(self) -> float:
        """Of the candles."""
        return self.candles.bars_per_year


def build_simulator(
    candles: Candles,
    config: MarketConfig,
    span: Stretches,
    delays: Sequence[int],
    rules: Mapping[str, np.ndarray] | None = None,
    features: Features = BASE,
) -> Simulator:
    """Aligns the market once; delays are read off the same arrays.

    Args:
        candles: checked.
        config: base sizing, caps, fill; its costs and delay are not looked at.
        span: stretches of decision rows.
        delays: bars.
        rules: target weights of more strategies, (T, N) each.
        features: what the policies see of the market.
    """
    sizing = sizing_rules(config)
    market = build_market(candles, config.base_sizing, sizing, config.fill, features=features)
    limits = Limits.of(config)
    tape = make_tape(to_device(market), span, candles, delays)
    known = all_rules(Setting(candles, config.base_sizing, sizing)) | dict(rules or {})
    return Simulator(candles, market, span, tape, tuple(delays), limits, known)


def play_policies(
    stage: Simulator, policy: Policy, variables: Any, first: int, cells: Sequence[Cell], steps: int
) -> Iterator[CellHistories]:
    """Plays K policies on every cell, as much at once as the memory allows.

    Args:
        stage: the span.
        policy: the module.
        variables: leaves (K, ...).
        first: the policy that comes first in every part.
        cells: windows, delays, costs.
        steps: bars of a window.

    Yields:
        part by part of the cells, for every policy: its index, and (index of the cell, course) of the part's cells.
    """
    seeds = jax.tree.leaves(variables)[0].shape[0]
    order = np.array([first, *(k for k in range(seeds) if k != first)])
    per_lane = steps * (3 * policy.num_assets + 1) * 4
    for offset, part in batches(cells, max(1, BATCH_BYTES // per_lane)):
        at_once = max(1, min(seeds, BATCH_BYTES // (per_lane * len(part))))
        lanes = make_lanes([c.start for c in part], [stage.delays.index(c.delay) for c in part], [c.rate for c in part])
        starts, rates = np.asarray(lanes.start), np.asarray(lanes.rate)
        for some in (order[a : a + at_once] for a in range(0, seeds, at_once)):
            chosen = jax.tree.map(lambda x, some=some: x[some], variables)
            paths = run_policy(policy, steps, chosen, stage.tape, lanes, stage.limits)
            for i, k in enumerate(some.tolist()):
                path = jax.tree.map(lambda x, i=i: np.asarray(x[i]), paths)
                played = enumerate(courses(path, stage.tape, starts, rates), offset)
                yield k, [(index, course) for index, course in played if index < len(cells)]


def batches(cells: Sequence[Cell], most: int) -> Iterator[tuple[int, list[Cell]]]:
    """Equal parts of at most `most` cells with their offsets; the last is filled up, so that one shape is compiled."""
    number = -(-len(cells) // most)
    size = -(-len(cells) // number)
    for offset in range(0, len(cells), size):
        part = list(cells[offset : offset + size])
        yield offset, part + part[-1:] * (size - len(part))


def play_baselines(
    stage: Simulator, start: int, delay: int, agents: Mapping[float, AccountHistory], names: Sequence[str] | None = None
) -> dict[float, dict[str, AccountHistory]]:
    """Every baseline in one window at one delay, by cost and name.

    Args:
        stage: the span.
        start: position of the window.
        delay: bars.
        agents: the policy's course in that window by cost: `random` and `constant` are made from it.
        names: which; None: all, and what the stage's rules add.
    """
    orders: list[Orders] = []
    labels: list[tuple[float, str]] = []
    for rate, agent in agents.items():
        wanted = all_orders(stage.rules, window_of(stage, start, delay, agent))
        for name, order in wanted.items():
            if names is None or name in names:
                orders.append(order)
                labels.append((rate, name))
    played = play_orders(stage, start, orders, [rate for rate, _ in labels])
    found: dict[float, dict[str, AccountHistory]] = {rate: {} for rate in agents}
    for (rate, name), course in zip(labels, played, strict=True):
        found[rate][name] = course
    return found


def window_of(stage: Simulator, start: int, delay: int, agent: AccountHistory) -> Window:
    """What strategies look at in the window that an agent was played in."""
    steps = len(agent.returns)
    part = slice(start, start + steps)
    first = np.array(stage.tape.first[part])
    first[0] = True
    return Window(
        seen=np.asarray(stage.tape.seen[stage.delays.index(delay), part]),
        tradable=stage.market.tradable[stage.rows[part]],
        first=first,
        mean_weights=np.asarray(agent.held, np.float64).mean(0),
        traded=float(np.abs(agent.delta).sum(1).mean()),
    )


def play_orders(stage: Simulator, start: int, orders: Sequence[Orders], rates: Sequence[float]) -> list[AccountHistory]:
    """Given orders in one window, each at its cost."""
    targets = jnp.asarray(np.stack([order.target for order in orders], -1), jnp.float32)
    trade = jnp.asarray(np.stack([order.trade for order in orders], -1))
    costs = Costs(jnp.asarray(rates, jnp.float32), stage.limits.min_trade)
    path = run_weights(targets, trade, stage.tape, jnp.int32(start), costs)
    played = courses(path, stage.tape, np.full(len(orders), start), np.asarray(rates))
    return [course._replace(given=order.target) for course, order in zip(played, orders, strict=True)]


def constant_returns(stage: Simulator, start: int, agents: Sequence[tuple[float, AccountHistory]]) -> np.ndarray:
    """Returns (S, B) of the policies that hold each agent's mean weights, by (cost, course) of one window."""
    means = np.stack([np.asarray(course.held, np.float64).mean(0) for _, course in agents], -1)
    targets = np.broadcast_to(means.astype(np.float32), (len(agents[0][1].returns), *means.shape))
    rates = np.array([rate for rate, _ in agents])
    parts = returns_in_batches(targets, stage.tape, start, rates, stage.limits.min_trade)
    return np.concatenate([returns for _, returns in parts], -1).astype(np.float64)


def liquidated(stage: Simulator, start: int, steps: int) -> np.ndarray:
    """Bars of a window after which everything is sold, (S,) bool."""
    end = np.array(stage.tape.last[start : start + steps])
    end[-1] = True
    return end


def span_name(stage: Simulator) -> str:
    """First and last decision, FROM/TO, as the ledger counts trials by."""
    (first, _), *_, (_, last) = ends(stage.candles, stage.span) * 2
    return f"{first}/{last}"


def ends(candles: Candles, span: Stretches) -> list[list[str]]:
    """First and last decision of each stretch."""
    close = candles.time + candles.bar_ms
    return [[iso_second(close[a]), iso_second(close[b - 1])] for a, b in span]


class SpanHistories(NamedTuple):
    """Everything that was played on the test span."""

    agents: list[AccountHistory]  # by seed
    late: AccountHistory  # the chosen seed, one bar later
    baselines: dict[str, AccountHistory]
    late_baselines: dict[str, AccountHistory]
    liquidated: np.ndarray  # (L,) bool
    bars_per_year: float


def play_whole(stage: Simulator, play: Play, chosen: int, delay: int, rate: float) -> SpanHistories:
    """All policies on the whole span, the chosen one a bar later too, and the baselines beside them.

    Args:
        stage: with `delay` and `delay + 1` among its delays.
        play: plays the policies on cells, as `play_policies` does.
        chosen: index of the policy that validation chose.
        delay: the run's own, bars.
        rate: the run's own cost.
    """
    cells = [Cell(0, delay, rate), Cell(0, delay + 1, rate)]
    found = {(k, index): course for k, played in play(cells, stage.num_rows) for index, course in played}
    agents = [found[k, 0] for k in range(len(found) // 2)]
    late = found[chosen, 1]
    return SpanHistories(
        agents=agents,
        late=late,
        baselines=play_baselines(stage, 0, delay, {rate: agents[chosen]}, BASELINES.names)[rate],
        late_baselines=play_baselines(stage, 0, delay + 1, {rate: late}, BASELINES.names)[rate],
        liquidated=liquidated(stage, 0, stage.num_rows),
        bars_per_year=stage.bars_per_year,
    )
