"""Feed-forward core: layers of tanh units."""

import jax
import numpy as np
from flax import linen as nn

from himari_jax.policies.core import Carry, Core

SEVERAL_ASSETS = {"hidden_dim": 256}  # defaults where there is more than one


class MLPCore(Core):
    """`tanh` layers with orthogonal initialization; remembers nothing."""

    widths: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        """(..., D) -> (..., H)."""
        for width in self.widths:
            x = nn.tanh(nn.Dense(width, kernel_init=nn.initializers.orthogonal(np.sqrt(2)))(x))
        return carry, x

    def unroll(self, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
        """All steps at once: nothing is remembered."""
        return self(carry, x)


def make(hidden_dim: int, num_layers: int) -> tuple[Core, tuple[int, ...]]:
    """The core, and the hidden widths of the heads (none: they are linear)."""
    return MLPCore(widths=(hidden_dim,) * num_layers), ()
