"""Recurrent core: layers of LSTM cells, replayed with time in order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from himari_jax.policies.core import Carry, Core, reset_carry

DEFAULTS = {"num_envs": 256, "lookahead": 1}  # steps cost more than those of an mlp
CANDLES = {"learning_rate": 5e-4}
GATES = 4  # input, forget, candidate, output


def gate_kernels(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
    """Kernels of the four gates side by side, (D + H, 4 H): LeCun normal for the inputs, orthogonal for the memory."""
    rows, width = shape[0], shape[1] // GATES
    key_input, key_memory = jax.random.split(key)
    inputs = nn.initializers.lecun_normal()
    memory = nn.initializers.orthogonal()
    blocks = [
        jnp.concatenate([inputs(i, (rows - width, width), dtype), memory(m, (width, width), dtype)])
        for i, m in zip(jax.random.split(key_input, GATES), jax.random.split(key_memory, GATES), strict=True)
    ]
    return jnp.concatenate(blocks, axis=1)


class Slopes(NamedTuple):
    """Derivatives of the next memory by what it came from, (B, H) each."""

    input: jax.Array  # of c' by z_i
    forget: jax.Array  # of c' by z_f
    candidate: jax.Array  # of c' by z_g
    output: jax.Array  # of h' by z_o
    shown: jax.Array  # of h' by c'
    kept: jax.Array  # of c' by c


def advance(c: jax.Array, z: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Slopes]:
    """`c' = f c + i g`, `h' = o tanh(c')` with `i, f, o = sigmoid(z)`, `g = tanh(z)`; and the derivatives.

    Args:
        c: (B, H).
        z: (B, 4 H), the gates side by side.
    """
    i, f, g, o = jnp.split(z, GATES, axis=-1)
    i, f, o, g = nn.sigmoid(i), nn.sigmoid(f), nn.sigmoid(o), nn.tanh(g)
    after = f * c + i * g
    shown = nn.tanh(after)
    slopes = Slopes(g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), shown * o * (1 - o), o * (1 - shown * shown), f)
    return (after, o * shown), slopes


def retreat(slopes: Slopes, gradient: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Gradients by c (B, H) and z (B, 4 H), from those by c' and h'."""
    by_c, by_h = gradient
    by_c = by_c + by_h * slopes.shown
    by_gates = (by_c * slopes.input, by_c * slopes.forget, by_c * slopes.candidate, by_h * slopes.output)
    return by_c * slopes.kept, jnp.concatenate(by_gates, axis=-1)


@jax.custom_vjp
def remember(c: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """c' and h' of `advance`; its products of slopes are a tenth faster than the compiler's own derivative."""
    return advance(c, z)[0]


remember.defvjp(advance, retreat)

Weights = tuple[tuple[jax.Array, jax.Array], ...]  # kernel (D + H, 4 H) and bias (1, 4 H) of each layer


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
            (c, x), slopes = advance(c, entered @ kernel + bias)
            after.append((c, x))
            seen.append((entered, slopes))
        return tuple(after), (x, tuple(seen))

    return jax.lax.scan(step, carry, (x, reset))


@jax.custom_vjp
def recur(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
    """Carry and h of `replay`.

    Its gradient by the weights is one product over all steps: adding it up step by step, as the derivative of a scan
    does, costs a third of the time where minibatches are small.
    """
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
            by_c, by_z = retreat(slopes, (by_c, by_h + by_above))
            by_above, by_h = jnp.split(by_z @ kernel.T, [kernel.shape[0] - by_h.shape[-1]], axis=-1)
            before.append((by_c, by_h))
            by_gates.append(by_z)
        return reset_carry(tuple(before[::-1]), reset), (tuple(by_gates[::-1]), by_above)

    by_carry, (by_gates, by_x) = jax.lax.scan(step, by_carry, (by_h, reset, seen), reverse=True)
    over_time = (((0, 1), (0, 1)), ((), ()))  # steps and environments; never merged: devices share out the latter
    by_weights = tuple(
        (jax.lax.dot_general(entered, by_z, over_time), by_z.sum((0, 1))[None])
        for (entered, _), by_z in zip(seen, by_gates, strict=True)
    )
    return by_weights, by_carry, by_x, None


recur.defvjp(recur_forward, recur_backward)


class FusedLSTMCell(nn.Module):
    """The LSTM cell with one kernel for all gates: `z = [x, h] K + b`, `c' = f c + i g`, `h' = o tanh(c')`.

    Equal to `flax.linen.LSTMCell`, whose eight kernels cost half as much again in small batches.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with forget gates.
    """

    width: int

    @nn.compact
    def weights(self, inputs: int) -> tuple[jax.Array, jax.Array]:
        """Kernel (D + H, 4 H) and bias (1, 4 H) for inputs of that width D."""
        kernel = self.param("kernel", gate_kernels, (inputs + self.width, GATES * self.width))
        return kernel, self.param("bias", nn.initializers.zeros, (1, GATES * self.width))

    def __call__(self, memory: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[Carry, jax.Array]:
        """(c, h) of (B, H) and (B, D) -> the next (c, h), and h."""
        c, h = memory
        kernel, bias = self.weights(x.shape[-1])
        c, h = remember(c, jnp.concatenate([x, h], axis=-1) @ kernel + bias)
        return (c, h), h


class LSTMCore(Core):
    """Stacked LSTM cells; the carry is ((c, h), ...) by layer."""

    width: int = 64
    num_layers: int = 2

    def setup(self) -> None:
        """A cell for each layer."""
        self.cells = [FusedLSTMCell(self.width) for _ in range(self.num_layers)]

    def initial_carry(self, batch: int) -> Carry:
        """Zeros, ((c, h), ...) of (B, H)."""
        # Distinct arrays: a donated carry must not hold one buffer twice.
        return tuple(tuple(jnp.zeros((batch, self.width)) for _ in "ch") for _ in range(self.num_layers))

    def __call__(self, carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        """(B, D) -> (B, H)."""
        after = []
        for cell, memory in zip(self.cells, carry, strict=True):
            memory, x = cell(memory, x)
            after.append(memory)
        return tuple(after), x

    def unroll(self, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
        """Step by step, with resets where the rollout reset."""
        widths = (x.shape[-1], *(self.width for _ in self.cells))
        weights = tuple(cell.weights(width) for cell, width in zip(self.cells, widths, strict=False))
        return recur(weights, carry, x, reset)


def make(hidden_dim: int, lstm_hidden_dim: int, lstm_num_layers: int) -> tuple[Core, tuple[int, ...]]:
    """The core, and the hidden widths of the heads."""
    return LSTMCore(width=lstm_hidden_dim, num_layers=lstm_num_layers), (hidden_dim,)
