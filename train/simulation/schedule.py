"""Policies one after the other in one account, whose positions pass on from block to block.

Trades at a change of policy are charged like any other. A policy begins its block with an empty carry.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.account import Account, Costs
from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Output, Policy, act, mean_action
from train.simulation.engine import LaneHistories, Lanes, Limits, Tape, cash, make_lanes, play_decision, read_rows
from train.simulation.history import histories
from train.simulation.placement import place_policies
from train.simulation.play import Cell, CellHistories, portfolios
from train.simulation.simulator import Simulator


@partial(jax.jit, static_argnums=(0, 1))
def run_schedule(
    policy: Policy, steps: int, variables: dict, edges: jax.Array, tape: Tape, lanes: Lanes, limits: Limits
) -> LaneHistories:
    """Plays the mean action of E policies in each of B blocks, in one go; leaves (S, ...).

    Args:
        policy: the module.
        steps: S, bars of the whole window.
        variables: leaves (B, E, ...).
        edges: (B + 1,) int32, bars of the window at which blocks begin, and its end.
        tape: the rows.
        lanes: accounts, as `run_policy` has them.
        limits: caps and smallest trade.
    """
    blocks, together = jax.tree.leaves(variables)[0].shape[:2]
    lots, assets = lanes.start.shape[0], policy.num_assets
    costs = Costs(lanes.rate, limits.min_trade)
    fresh = jax.tree.map(lambda x: jnp.broadcast_to(x, (together, *x.shape)), policy.initial_carry(lots))

    def block(state: tuple[Account, LaneHistories], number: jax.Array) -> tuple[tuple[Account, LaneHistories], None]:
        own = jax.tree.map(lambda x: x[number], variables)

        def decide(carry: Any, first: jax.Array, obs: jax.Array) -> tuple[Any, jax.Array]:
            def act_one(one: dict, memory: Any) -> tuple[Any, Output]:
                return act(policy, one, reset_carry(memory, first), obs)

            carry, output = jax.vmap(act_one)(own, carry)  # (E, B, ...)
            return carry, mean_action(output).mean(0)

        def step(i: jax.Array, state: tuple[Account, Any, LaneHistories]) -> tuple[Account, Any, LaneHistories]:
            account, carry, path = state
            rows = read_rows(tape, lanes, i, steps)
            (account, carry), done = play_decision(decide, (account, carry), rows, limits, costs)
            return account, carry, jax.tree.map(lambda x, new: x.at[i].set(new), path, done)

        account, path = state
        account, _, path = jax.lax.fori_loop(edges[number], edges[number + 1], step, (account, fresh, path))
        return (account, path), None

    kind = lanes.rate.dtype
    blank = jnp.zeros((steps, assets, lots), kind)
    start = cash(assets, lots, kind), LaneHistories(blank, blank, blank, jnp.zeros((steps, lots), kind))
    (_, path), _ = jax.lax.scan(block, start, jnp.arange(blocks))
    return path


def play_schedule(
    simulator: Simulator, policy: Policy, variables: dict, block: np.ndarray, cells: Sequence[Cell], steps: int
) -> Iterator[CellHistories]:
    """Plays policies one after the other on cells, as `play_policies` plays a policy.

    Args:
        simulator: of the whole test span.
        policy: the module.
        variables: leaves (B, E, ...), of the policies whose mean action is played in each block.
        block: (L,) int32, number of the block of each decision, from 0 on, in order.
        cells: the whole span at its delays and costs.
        steps: L.
    """
    accounts, (number, together) = len(simulator.members), jax.tree.leaves(variables)[0].shape[:2]
    edges: Any = np.searchsorted(block, np.arange(number + 1)).astype(np.int32)
    where = place_policies(variables, steps, accounts, together, in_turn=number)
    variables, tape = where.put(variables), simulator.tape_at(where)
    found = []
    for index, cell in enumerate(cells):
        starts = np.array([simulator.positions(a, cell.start).start for a in range(accounts)])
        late = [simulator.delays.index(cell.delay)] * accounts
        lanes = make_lanes(starts.tolist(), late, [cell.rate] * accounts)
        path = run_schedule(policy, steps, variables, edges, tape, lanes, simulator.limits)
        lots = histories(jax.tree.map(np.asarray, path), simulator.host, starts, np.asarray(lanes.rate))
        found.append((index, next(portfolios(simulator, lots, [cell.start]))))
    yield 0, found
