"""Simulates policies, rules and baselines on a span, at any cost and delay."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np

from himari_jax.account import Costs
from himari_jax.policies.policy import Policy
from himari_jax.positions.baselines import Orders, constant
from train.simulation.baselines import all_orders, every_bar
from train.simulation.draws import draw_sharpes, median_draw
from train.simulation.engine import make_lanes, run_policy
from train.simulation.given import run_weights
from train.simulation.history import AccountHistory, as_portfolio, histories
from train.simulation.placement import Work, place, place_policies
from train.simulation.returns import place_returns, returns_in_batches
from train.simulation.simulator import Simulator, liquidated
from train.simulation.windows import portfolio_returns, window_of


class Cell(NamedTuple):
    """A window, delay and cost at which a policy is simulated."""

    start: int  # position on the tape
    delay: int  # bars by which it sees the market late
    rate: float  # share of the traded value that a trade costs


CellHistories = tuple[int, list[tuple[int, AccountHistory]]]  # a policy, and its histories by index of the cell
Play = Callable[[Sequence[Cell], int], Iterator[CellHistories]]  # cells and bars of a window; see play_policies


def single_history(played: Iterator[CellHistories]) -> AccountHistory:
    """Returns the history of the only policy in the only cell that was played."""
    ((_, ((_, history),)),) = played
    return history


def play_policies(
    simulator: Simulator, policy: Policy, variables: Any, first: int, cells: Sequence[Cell], steps: int
) -> Iterator[CellHistories]:
    """Plays K policies on every cell, as many at once as fit the memory, on the faster device.

    Windows, delays and costs are lanes of one program, which knows none of their values.

    Args:
        simulator: of the span.
        policy: the module.
        variables: leaves (K, ...).
        first: index of the policy that comes first in every part.
        cells: windows, delays, costs.
        steps: bars of a window.

    Yields:
        part by part of the cells, for every policy: its index, and (index of the cell, history) of the part's cells.
    """
    seeds, accounts = jax.tree.leaves(variables)[0].shape[0], len(simulator.members)
    where = place_policies(variables, steps, len(cells) * accounts, seeds)
    # Indexed on the host: jax would compile a program for each index.
    variables, tape = jax.device_get(variables), simulator.tape_at(where)
    order = np.array([first, *(k for k in range(seeds) if k != first)])
    per_cell = steps * (3 * policy.num_assets + 1) * 4 * accounts
    for offset, part in batches(cells, max(1, where.form.batch_bytes // per_cell)):
        at_once = max(1, min(seeds, where.form.batch_bytes // (per_cell * len(part))))
        starts = np.array([simulator.positions(a, cell.start).start for cell in part for a in range(accounts)])
        rates = np.repeat([cell.rate for cell in part], accounts)
        late = np.repeat([simulator.delays.index(cell.delay) for cell in part], accounts)
        lanes = make_lanes(starts.tolist(), late.tolist(), rates.tolist())
        for some in (order[a : a + at_once] for a in range(0, seeds, at_once)):
            chosen = where.put(jax.tree.map(lambda x, some=some: x[some], variables))
            paths = run_policy(policy, steps, chosen, tape, lanes, simulator.limits, form=where.form)
            paths = jax.tree.map(np.asarray, paths)
            for i, k in enumerate(some.tolist()):
                path = jax.tree.map(lambda x, i=i: x[i], paths)
                lots = histories(path, simulator.host, starts, np.asarray(lanes.rate))
                played = enumerate(portfolios(simulator, lots, [cell.start for cell in part]), offset)
                yield k, [(index, history) for index, history in played if index < len(cells)]


def portfolios(simulator: Simulator, lots: Iterable[AccountHistory], starts: Sequence[int]) -> Iterator[AccountHistory]:
    """Yields the history of each window: of its one account, or of the portfolio of the members' accounts.

    Args:
        simulator: that played.
        lots: histories of accounts, those of one window together.
        starts: positions of the windows.
    """
    waiting = iter(lots)
    for start in starts:
        own = tuple(islice(waiting, len(simulator.members)))
        window = slice(start, start + len(own[0].returns))
        yield as_portfolio(own, simulator.active[:, window]) if simulator.is_pool else own[0]


def play_weights(
    simulator: Simulator, weights: Sequence[np.ndarray], cells: Sequence[Cell], steps: int
) -> Iterator[CellHistories]:
    """Plays target weights (T, n) of each member on cells, as `play_policies` plays policies."""
    places: dict[tuple[int, int], list[int]] = {}
    for index, cell in enumerate(cells):
        places.setdefault((cell.start, cell.delay), []).append(index)
    for (start, delay), indices in places.items():
        orders = every_bar(simulator.at_decisions(weights, delay, start, steps))
        played = play_orders(simulator, start, [orders] * len(indices), [cells[i].rate for i in indices])
        yield 0, list(zip(indices, played, strict=True))


def batches(cells: Sequence[Cell], most: int) -> Iterator[tuple[int, list[Cell]]]:
    """Cuts cells into equal parts of at most `most`, with offsets; fills the last one: one shape is compiled."""
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
    draw: int = 0,
) -> dict[float, dict[str, AccountHistory]]:
    """Plays baselines in one window at one delay; histories by cost and name.

    Args:
        simulator: of the span.
        start: position of the window.
        delay: bars.
        agents: the policy's history in that window by cost, from which `random` and `constant` are made.
        names: of the baselines; None: all.
        draw: number of the draw of `random`.
    """
    orders: list[Orders] = []
    labels: list[tuple[float, str]] = []
    for rate, agent in agents.items():
        wanted = orders_beside(simulator, start, delay, agent, draw, names)
        orders += wanted.values()
        labels += [(rate, name) for name in wanted]
    played = play_orders(simulator, start, orders, [rate for rate, _ in labels]) if orders else []
    found: dict[float, dict[str, AccountHistory]] = {rate: {} for rate in agents}
    for (rate, name), history in zip(labels, played, strict=True):
        found[rate][name] = history
    return found


def orders_beside(
    simulator: Simulator,
    start: int,
    delay: int,
    agent: AccountHistory,
    draw: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, Orders]:
    """Makes the orders of baselines in the window that an agent was simulated in, by name; see `play_baselines`."""
    windows = (window_of(simulator, start, delay, agent, a, draw) for a in range(len(simulator.members)))
    found = [all_orders(rules, window, names) for rules, window in zip(simulator.rules, windows, strict=True)]
    if len(found) == 1:
        return found[0]
    return {
        name: Orders(*(np.concatenate(x, axis=1) for x in zip(*(orders[name] for orders in found), strict=True)))
        for name in found[0]
    }


def play_orders(
    simulator: Simulator, start: int, orders: Sequence[Orders], rates: Sequence[float]
) -> list[AccountHistory]:
    """Plays given orders of all members in one window, each at its cost.

    Args:
        simulator: of the span.
        start: position of the window.
        orders: (S, N) each.
        rates: cost of each.
    """
    targets: Any = np.nan_to_num(np.stack([order.target for order in orders], -1).astype(np.float32))
    trade: Any = np.stack([order.trade for order in orders], -1)
    costs = Costs(np.asarray(rates, np.float32), simulator.limits.min_trade)
    where = place(Work(len(targets), simulator.host.to_fill.shape[1] * len(orders)))
    tape = simulator.tape_at(where)
    columns = [slice(a, a + 1) for a in range(len(simulator.members))] if simulator.is_pool else [slice(None)]
    lots: list[Iterator[AccountHistory]] = []
    for a, column in enumerate(columns):
        begin: Any = np.int32(simulator.positions(a, start).start)
        path = run_weights(targets[:, column], trade[:, column], tape, begin, costs, form=where.form)
        path = jax.tree.map(np.asarray, path)
        lots.append(histories(path, simulator.host, np.full(len(orders), begin), np.asarray(rates)))
    by_order = (history for own in zip(*lots, strict=True) for history in own)
    played = portfolios(simulator, by_order, [start] * len(orders))
    return [history._replace(given=order.target) for history, order in zip(played, orders, strict=True)]


def constant_returns(
    simulator: Simulator, start: int, delay: int, agents: Sequence[tuple[float, AccountHistory]]
) -> np.ndarray:
    """Computes returns (S, B) of the baseline `constant` of each agent, given (cost, history) in one window."""
    rates, found = np.array([rate for rate, _ in agents]), []
    where = place_returns(len(agents[0][1].returns), simulator.host.to_fill.shape[1], len(agents))
    for a in range(len(simulator.members)):
        windows = (window_of(simulator, start, delay, history, a) for _, history in agents)
        targets = np.stack([constant(window).target for window in windows], -1).astype(np.float32)
        begin = simulator.positions(a, start).start
        limit, tape = simulator.limits.min_trade, simulator.tape_at(where)
        parts = returns_in_batches(targets, tape, begin, rates, limit, where.form)
        found.append(np.concatenate([returns for _, returns in parts], -1).astype(np.float64))
    return portfolio_returns(simulator, start, found)


def rule_histories(simulator: Simulator, delay: int, rate: float) -> dict[str, AccountHistory]:
    """Plays every baseline on the whole span, beside the base position as the agent, to choose a rule there."""
    bases = [rules["base"] for rules in simulator.rules]
    _, ((_, own),) = next(play_weights(simulator, bases, [Cell(0, delay, rate)], simulator.num_rows))
    return play_baselines(simulator, 0, delay, {rate: own})[rate]


class SpanHistories(NamedTuple):
    """Account histories of agents and baselines on the test span."""

    agents: list[AccountHistory]  # by seed
    late: AccountHistory  # the chosen seed, one bar later
    baselines: dict[str, AccountHistory]
    late_baselines: dict[str, AccountHistory]
    liquidated: np.ndarray  # (L,) bool
    bars_per_year: float  # decisions of a year
    symbols: tuple[str, ...] = ()  # of a pool, whose accounts are A
    active: np.ndarray | None = None  # (A, L) bool, whether they decide
    sold: np.ndarray | None = None  # (A, L) bool, whether an account is sold after the bar
    draws: np.ndarray | None = (
        None  # (DRAWS,) Sharpe ratios of random policies with the chosen seed's weights and turnover
    )

    @property
    def draw(self) -> int:
        """Number of the draw that stands as the baseline `random`: that of the median Sharpe ratio."""
        return 0 if self.draws is None else median_draw(self.draws)


def play_whole(simulator: Simulator, play: Play, chosen: int, delay: int, rate: float) -> SpanHistories:
    """Plays all policies on the whole span, the chosen one also a bar later, and the baselines.

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
    steps, members = simulator.num_rows, range(len(simulator.members))
    draws = draw_sharpes(simulator, delay, agents[chosen], rate)
    draw = median_draw(draws)
    pool: dict[str, Any] = {}
    if simulator.is_pool:
        sold = np.stack([simulator.host.last[simulator.positions(a)] for a in members])
        pool = {"symbols": simulator.symbols, "active": simulator.active, "sold": sold}
    return SpanHistories(
        agents=agents,
        late=late,
        baselines=play_baselines(simulator, 0, delay, {rate: agents[chosen]}, draw=draw)[rate],
        late_baselines=play_baselines(simulator, 0, delay + 1, {rate: late}, draw=draw)[rate],
        liquidated=liquidated(simulator, 0, steps),
        bars_per_year=simulator.bars_per_year,
        draws=draws,
        **pool,
    )
