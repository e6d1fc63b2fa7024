"""What a policy core is: `(carry, x) -> (carry, features)`, and the same over time with resets."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from himari_jax.trees import select_tree

Carry = Any  # a pytree of (..., H) arrays; () where nothing is remembered


def reset_carry(carry: Carry, reset: jax.Array) -> Carry:
    """Zeroes the carry of the rows whose episode starts anew; works for ().

    Args:
        carry: leaves (B, H).
        reset: (B,) bool.
    """
    return select_tree(reset, jax.tree.map(jnp.zeros_like, carry), carry)


class Core(nn.Module):
    """Base of the cores."""

    def initial_carry(self, batch: int) -> Carry:
        """The carry at the start of an episode: zeros."""
        return ()

    def unroll(self, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
        """Over time, (S, B, D) -> (S, B, H); the carry is reset before the steps where `reset` (S, B) is set."""
        raise NotImplementedError
