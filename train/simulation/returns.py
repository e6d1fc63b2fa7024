"""Returns of given target weights, many lanes at once."""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.account import Costs
from train.simulation.engine import Tape
from train.simulation.given import cut_in_time, replay_bar, side_by_side, window_bars
from train.simulation.placement import CARD, FORGOTTEN, Form, Place, Work, form_of, place
from train.simulation.walk import walk_lanes


@partial(jax.jit, static_argnames="form")
def run_returns(
    targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array, costs: Costs, form: Form | None = None
) -> jax.Array:
    """Computes the returns of `run_weights` alone, (S, B): faster, as memory bounds such a loop.

    Parallel in time where there are few lanes: split the bars, guess each part's initial weights from the part before,
    iterate to the fixed point (bit-identical). The guess comes from playing the last bars of the part before from cash.
    For an account that trades one pass suffices; one that never trades needs as many passes as parts.
    """
    form = form or form_of()
    if form.kernel:
        return walk_lanes(targets, orders, tape, start, costs)
    steps, lots = len(targets), targets.shape[-1]
    inputs, parts = window_bars(targets, orders, tape, start), time_parts(steps, lots, form)
    if parts > 1:
        inputs, costs = cut_in_time(inputs, lots, parts), Costs(jnp.tile(costs.rate, parts), costs.min_trade)
    scan = partial(jax.lax.scan, partial(replay_bar, costs), unroll=form.account_bars)
    cash = jnp.zeros((targets.shape[1], parts * lots), targets.dtype)
    if parts == 1:
        return scan(cash, inputs)[1][2]

    def begins_after(ends: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.zeros_like(ends[:, :lots]), ends[:, :-lots]], -1)

    def one_pass(state: tuple) -> tuple:
        begins, _, _ = state
        ends, (_, _, returns) = scan(begins, inputs)
        after = begins_after(ends)
        return after, returns, (after != begins).any()

    guess = begins_after(scan(cash, jax.tree.map(lambda x: x[-FORGOTTEN:], inputs))[0])
    blank = jnp.zeros((-(-steps // parts), parts * lots), targets.dtype)
    _, returns, _ = jax.lax.while_loop(lambda state: state[2], one_pass, (guess, blank, jnp.bool_(True)))
    return side_by_side(returns, parts, back=True)[:steps]


def time_parts(steps: int, lots: int, form: Form) -> int:
    """Returns the number of lanes into which each of `lots` rows of `steps` bars is cut to fill the device."""
    return max(1, min(form.parts // lots, steps // form.shortest_part))


def place_returns(steps: int, assets: int, lots: int) -> Place:
    """Chooses the device that computes the returns of `lots` lanes of given weights."""
    return place(Work(steps, assets * lots, parts=time_parts(steps, lots, CARD)))


def lanes_at_once(steps: int, assets: int, form: Form) -> int:
    """Returns the number of lanes of a window that are played at once within the form's bytes."""
    return max(1, min(form.most_lanes, form.return_bytes // (4 * steps * assets)))


def returns_in_batches(
    targets: np.ndarray, tape: Tape, start: int, rates: np.ndarray, min_trade: Any = 0.0, form: Form | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields lanes and returns (S, b) of target weights (S, N, B) that are ordered at every bar, some lanes at a time.

    Args:
        targets: (S, N, B).
        tape: the rows, where the program runs.
        start: position on the tape at which the window begins.
        rates: (B,) costs.
        min_trade: smallest trade.
        form: of the program; None: that for the default device.
    """
    form = form or form_of()
    steps, assets, lots = targets.shape
    size = lanes_at_once(steps, assets, form)
    size = -(-lots // -(-lots // size))  # equal parts, so that one shape is compiled
    always: Any = np.ones((1, 1, 1), bool)
    begin: Any = np.int32(start)
    for first in range(0, lots, size):
        part = slice(first, min(first + size, lots))
        costs = cast(Any, Costs)(np.asarray(rates[part], np.float32), np.float32(min_trade))
        wanted: Any = np.asarray(targets[..., part], np.float32)
        yield (
            part,
            np.asarray(run_returns(wanted, always, tape, begin, costs, form=form)),
        )
