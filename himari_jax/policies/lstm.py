"""Recurrent core: layers of LSTM cells, replayed with time in order."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from himari_jax.policies.core import Carry, Core, reset_carry


class LSTMCore(Core):
    """Stacked LSTM cells (Hochreiter and Schmidhuber, 1997); the carry is ((c, h), ...) by layer."""

    width: int = 64
    num_layers: int = 2

    def setup(self) -> None:
        """A cell for each layer."""
        self.cells = [nn.OptimizedLSTMCell(self.width) for _ in range(self.num_layers)]

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

        def step(core: LSTMCore, carry: Carry, inputs: tuple[jax.Array, jax.Array]):
            x, reset = inputs
            return core(reset_carry(carry, reset), x)

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, carry, (x, reset))


def make(hidden_dim: int, lstm_hidden_dim: int, lstm_num_layers: int, **_: int) -> tuple[Core, tuple[int, ...]]:
    """The core, and the hidden widths of the heads."""
    return LSTMCore(width=lstm_hidden_dim, num_layers=lstm_num_layers), (hidden_dim,)
