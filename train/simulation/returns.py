"""Returns of given target weights, many lanes at once."""

from collections.abc import Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.account import Costs
from train.simulation.engine import Tape, replayed, side_by_side

LANES = 256  # of which only returns are wanted, that are played at once
RETURN_BYTES = 2**25
PARTS = 64  # lanes that a short row of accounts is cut into, so that the vector units are full
SHORTEST_PART = 256  # bars
FORGOTTEN = 32  # bars after which an account that trades has forgotten what it began with


@jax.jit
def run_returns(targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array, costs: Costs) -> jax.Array:
    """The returns of `run_weights` alone, (S, B): faster, because memory is what such a loop waits for.

    Parallel in time where there are few lanes: split the bars, guess each part's initial weights from the part before,
    iterate to the fixed point (bit-identical). The guess is where the part's last bars lead from cash. An account that
    trades forgets its start within bars: one pass suffices. One that never trades needs as many passes as parts.
    """
    steps, lots = len(targets), targets.shape[-1]
    inputs, step = replayed(targets, orders, tape, start, costs)
    parts = max(1, min(PARTS // lots, steps // SHORTEST_PART))
    if parts == 1:
        return jax.lax.scan(step, jnp.zeros(targets.shape[1:], targets.dtype), inputs)[1][2]
    inputs, step = replayed(targets, orders, tape, start, Costs(jnp.tile(costs.rate, parts), costs.min_trade), parts)

    def begins_after(ends: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.zeros_like(ends[:, :lots]), ends[:, :-lots]], -1)

    def one_pass(state: tuple) -> tuple:
        begins, _, _ = state
        ends, (_, _, returns) = jax.lax.scan(step, begins, inputs)
        after = begins_after(ends)
        return after, returns, (after != begins).any()

    nothing = jnp.zeros((targets.shape[1], parts * lots), targets.dtype)
    guess = begins_after(jax.lax.scan(step, nothing, jax.tree.map(lambda x: x[-FORGOTTEN:], inputs))[0])
    blank = jnp.zeros((-(-steps // parts), parts * lots), targets.dtype)
    _, returns, _ = jax.lax.while_loop(lambda state: state[2], one_pass, (guess, blank, jnp.bool_(True)))
    return side_by_side(returns, parts, back=True)[:steps]


def lanes_at_once(steps: int, assets: int) -> int:
    """How many lanes of a window are played at once, so that their targets stay within 32 MB."""
    return max(1, min(LANES, RETURN_BYTES // (4 * steps * assets)))


def returns_in_batches(
    targets: np.ndarray, tape: Tape, start: int, rates: np.ndarray, min_trade: Any = 0.0
) -> Iterator[tuple[slice, np.ndarray]]:
    """Lanes and returns (S, b) of target weights (S, N, B) that are ordered at every bar, some lanes at a time.

    Arrays of up to 32 MB come back from the allocator warm; larger ones are paged in anew, which takes longer than the
    account itself.
    """
    steps, assets, lots = targets.shape
    size = lanes_at_once(steps, assets)
    always = np.ones((1, 1, 1), bool)
    for first in range(0, lots, size):
        part = slice(first, min(first + size, lots))
        costs = cast(Any, Costs)(np.asarray(rates[part], np.float32), np.float32(min_trade))
        wanted: Any = np.asarray(targets[..., part], np.float32)
        yield part, np.asarray(run_returns(wanted, cast(Any, always), tape, cast(Any, np.int32(start)), costs))
