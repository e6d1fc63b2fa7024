"""Pytrees whose leaves share their leading axes: a batch of environments, accounts or policies."""

from typing import Any

import jax
import jax.numpy as jnp


def select_tree(where: jax.Array, new: Any, old: Any) -> Any:
    """`new` in the rows that are set, `old` in the others; works for ().

    Args:
        where: bool; its axes are the leading ones of every leaf, none for a choice between whole trees.
        new, old: leaves (*where.shape, ...), or what broadcasts to that.
    """

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(where.reshape(*where.shape, *(1,) * (b.ndim - where.ndim)), a, b)

    return jax.tree.map(choose, new, old)
