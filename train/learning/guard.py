"""Guard against numbers that go bad inside jit: a step of the optimizer that is not finite is skipped."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

MOST_IN_A_ROW = 10  # skipped steps after which a run is aborted
MOST_SHARE = 0.01  # of all steps that were skipped, likewise
LEAST_STEPS = 200  # before the share counts


class Guard(NamedTuple):
    """Counts of optimizer steps that were skipped."""

    in_a_row: jax.Array  # () int32, steps skipped since the last one that was taken
    skipped: jax.Array  # () int32
    steps: jax.Array  # () int32, all of them
    first: jax.Array  # () int32, update of the first skipped step; -1 where none was


def new_guard() -> Guard:
    """Returns counts of zero."""
    a, b, c = (jnp.zeros((), jnp.int32) for _ in range(3))
    return Guard(a, b, c, jnp.full((), -1, jnp.int32))


def check_step(guard: Guard, loss: jax.Array, norm: jax.Array, update: jax.Array) -> tuple[Guard, jax.Array]:
    """Counts a step and returns whether it may be taken, () bool: whether loss and norm are finite.

    A large gradient is no reason to skip a step: it is scaled down to `max_grad_norm`.

    Args:
        guard: before the step.
        loss: () of the step.
        norm: () of its gradient before clipping.
        update: () int32, updates done before.
    """
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    bad = (~good).astype(jnp.int32)
    first = jnp.where((guard.first < 0) & ~good, update, guard.first)
    return Guard((guard.in_a_row + 1) * bad, guard.skipped + bad, guard.steps + 1, first), good


def should_abort(guard: Guard) -> jax.Array:
    """Whether a run should be aborted: 10 skipped steps in a row, or 1 % of all; of the shape of the counts."""
    often = (guard.steps >= LEAST_STEPS) & (guard.skipped > MOST_SHARE * guard.steps)
    return (guard.in_a_row >= MOST_IN_A_ROW) | often
