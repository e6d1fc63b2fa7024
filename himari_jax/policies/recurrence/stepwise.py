"""The recurrence step by step, layer by layer, with what the gradient needs kept: the fastest on a CPU."""

import jax
import jax.numpy as jnp

from himari_jax.policies.core import Carry, reset_carry
from himari_jax.policies.recurrence.gates import Weights, cell_backward, cell_forward, weight_gradients


def replay(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, tuple[jax.Array, tuple]]:
    """Stacked cells over time.

    Args:
        weights: by layer.
        carry: ((c, h), ...) by layer, (B, H) each.
        x: (S, B, D).
        reset: (S, B) bool, before which steps the carry is zeroed.

    Returns:
        carry; h of the last layer, (S, B, H), and by layer what entered the cell, (S, B, D + H), with its slopes.
    """

    def step(carry: Carry, inputs: tuple[jax.Array, jax.Array]):
        x, reset = inputs
        after, seen = [], []
        for (kernel, bias), (c, h) in zip(weights, reset_carry(carry, reset), strict=True):
            entered = jnp.concatenate([x, h], axis=-1)
            (c, x), slopes = cell_forward(c, entered @ kernel + bias)
            after.append((c, x))
            seen.append((entered, slopes))
        return tuple(after), (x, tuple(seen))

    return jax.lax.scan(step, carry, (x, reset))


@jax.custom_vjp
def recur(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
    """Carry and h of `replay`."""
    carry, (h, _) = replay(weights, carry, x, reset)
    return carry, h


def recur_forward(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array):
    """`recur`, and what its gradient needs."""
    carry, (h, seen) = replay(weights, carry, x, reset)
    return (carry, h), (weights, reset, seen)


def recur_backward(kept: tuple, gradient: tuple[Carry, jax.Array]):
    """Gradients by weights, first carry and x, from those by the last carry and h."""
    weights, reset, seen = kept
    by_carry, by_h = gradient

    def step(by_carry: Carry, inputs: tuple):
        by_above, reset, seen = inputs
        before, by_gates = [], []
        for (kernel, _), (by_c, by_h), (_, slopes) in zip(weights[::-1], by_carry[::-1], seen[::-1], strict=True):
            by_c, by_z = cell_backward(slopes, (by_c, by_h + by_above))
            by_above, by_h = jnp.split(by_z @ kernel.T, [kernel.shape[0] - by_h.shape[-1]], axis=-1)
            before.append((by_c, by_h))
            by_gates.append(by_z)
        return reset_carry(tuple(before[::-1]), reset), (tuple(by_gates[::-1]), by_above)

    by_carry, (by_gates, by_x) = jax.lax.scan(step, by_carry, (by_h, reset, seen), reverse=True)
    return weight_gradients(tuple(entered for entered, _ in seen), by_gates), by_carry, by_x, None


recur.defvjp(recur_forward, recur_backward)
