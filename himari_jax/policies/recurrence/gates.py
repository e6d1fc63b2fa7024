"""Shared by all forms of the recurrence: the gates of a cell, their derivatives, the gradient of the kernels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

GATES = 4  # input, forget, candidate, output

Weights = tuple[tuple[jax.Array, jax.Array], ...]  # kernel (D + H, 4 H) and bias (1, 4 H) of each layer


class Slopes(NamedTuple):
    """Derivatives of the next memory."""

    input: jax.Array  # (..., H) of c' by z_i
    forget: jax.Array  # (..., H) of c' by z_f
    candidate: jax.Array  # (..., H) of c' by z_g
    output: jax.Array  # (..., H) of h' by z_o
    shown: jax.Array  # (..., H) of h' by c'
    kept: jax.Array  # (..., H) of c' by c


def cell_forward(c: jax.Array, z: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Slopes]:
    """`c' = f c + i g`, `h' = o tanh(c')` with `i, f, o = sigmoid(z)`, `g = tanh(z)`; and the derivatives.

    Args:
        c: (..., H).
        z: (..., 4 H), the gates side by side.
    """
    i, f, g, o = jnp.split(z, GATES, axis=-1)
    i, f, o, g = nn.sigmoid(i), nn.sigmoid(f), nn.sigmoid(o), nn.tanh(g)
    after = f * c + i * g
    shown = nn.tanh(after)
    slopes = Slopes(g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), shown * o * (1 - o), o * (1 - shown * shown), f)
    return (after, o * shown), slopes


def cell_backward(slopes: Slopes, gradient: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Gradients by c (B, H) and z (B, 4 H), from those by c' and h'."""
    by_c, by_h = gradient
    by_c = by_c + by_h * slopes.shown
    by_gates = (by_c * slopes.input, by_c * slopes.forget, by_c * slopes.candidate, by_h * slopes.output)
    return by_c * slopes.kept, jnp.concatenate(by_gates, axis=-1)


def weight_gradients(entered: tuple[jax.Array, ...], by_gates: tuple[jax.Array, ...]) -> Weights:
    """Gradients by kernels and biases: one product over all steps for each layer.

    Adding up step by step, as the derivative of a scan does, costs a third of the time where minibatches are small.

    Args:
        entered: inputs of the cell by layer, x and h, (S, B, D + H).
        by_gates: by layer, (S, B, 4 H).
    """
    over_time = (((0, 1), (0, 1)), ((), ()))  # steps and environments; never merged: devices share out the latter
    return tuple(
        (jax.lax.dot_general(x, by_z, over_time), by_z.sum((0, 1))[None])
        for x, by_z in zip(entered, by_gates, strict=True)
    )
