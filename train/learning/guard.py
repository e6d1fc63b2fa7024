"""Numbers that go bad inside jit: a step of the optimizer that is not finite is not taken."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

MOST_IN_A_ROW = 10  # steps not taken, after which a run is given up
MOST_SHARE = 0.01  # of all steps, likewise
LEAST_STEPS = 200  # before the share says anything


class Guard(NamedTuple):
    """Counts of optimizer steps that were skipped, and the newest gradient norms."""

    in_a_row: jax.Array  # () int32, steps not taken since the last one that was
    skipped: jax.Array  # () int32
    steps: jax.Array  # () int32, all of them
    first: jax.Array  # () int32, update of the first step that was not taken; -1 where all were


def new_guard() -> Guard:
    """Nothing has happened."""
    a, b, c = (jnp.zeros((), jnp.int32) for _ in range(3))
    return Guard(a, b, c, jnp.full((), -1, jnp.int32))


def check_step(guard: Guard, loss: jax.Array, norm: jax.Array, update: jax.Array) -> tuple[Guard, jax.Array]:
    """Whether a step may be taken: loss and norm are finite; (), bool.

    A large gradient is no reason to refuse a step: it is scaled down to `max_grad_norm`, and healthy runs meet some.

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
    """Whether a run should be given up: 10 steps not taken in a row, or 1 % of all, of the shape of the counts."""
    often = (guard.steps >= LEAST_STEPS) & (guard.skipped > MOST_SHARE * guard.steps)
    return (guard.in_a_row >= MOST_IN_A_ROW) | often
