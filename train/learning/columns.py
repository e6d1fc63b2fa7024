"""Packs many small arrays into one: the numbers of an environment side by side, in columns of 32 bits.

Where environments are few, an accelerator takes longer to start a kernel than to run it, and it starts one for each
array that a step returns.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def scan_columns(step: Callable, state: tuple[Any, Any], xs: Any, slopes: bool = False) -> tuple[tuple[Any, Any], Any]:
    """`jax.lax.scan`; on an accelerator with the small arrays packed into one, without a change of any number.

    Args:
        step: ((small, rest), x) -> ((small, rest), record).
        state: (small, rest) before the first step; leaves (B, ...), as those of the record; the rest is not packed.
        xs: leaves (S, ...).
        slopes: whether a gradient is wanted; packed, each step is computed again instead of kept (`jax.checkpoint`).
    """
    small, rest = state
    _, blank = jax.eval_shape(step, state, jax.tree.map(lambda x: x[0], xs))
    if not (pays_to_pack() and can_pack((small, blank))):
        return jax.lax.scan(step, state, xs)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), (small, blank))
    carrier = jnp.float32 if slopes else jnp.int32
    read, write = jax.vmap(partial(unpack, like=like)), jax.vmap(partial(pack, carrier=carrier))

    def packed(state: tuple[jax.Array, Any], x: Any) -> tuple[tuple[jax.Array, Any], jax.Array]:
        rows, rest = state
        (small, rest), record = step((read(rows)[0], rest), x)
        rows = write((small, record))
        return (rows, rest), rows

    first = write((small, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), blank)))
    (rows, rest), played = jax.lax.scan(jax.checkpoint(packed) if slopes else packed, (first, rest), xs)
    return (read(rows)[0], rest), jax.vmap(read)(played)[1]


def pays_to_pack() -> bool:
    """Whether fewer arrays are worth a copy of them: not on a CPU, where a kernel is a function call."""
    return jax.default_backend() != "cpu"


def can_pack(tree: Any) -> bool:
    """Whether every leaf is bool or has 32 bits: not random keys, nor numbers of other widths."""
    return all(x.dtype in (np.bool_, np.float32, np.int32, np.uint32) for x in jax.tree.leaves(tree))


def pack(tree: Any, carrier: Any = jnp.int32) -> jax.Array:
    """Concatenates the bits of a tree's leaves in a row, (W,): nothing is rounded.

    Args:
        tree: leaves of 32 bits, or bool.
        carrier: type of the row; float32 lets gradients through.
    """
    return jnp.concatenate([recast(x, carrier).ravel() for x in jax.tree.leaves(tree)])


def unpack(row: jax.Array, like: Any) -> Any:
    """Restores the tree of a row: the inverse of `pack`.

    Args:
        row: (W,).
        like: shapes and types of the leaves.
    """
    leaves, structure = jax.tree.flatten(like)
    edges = np.cumsum([math.prod(leaf.shape) for leaf in leaves])[:-1]
    parts = jnp.split(row, edges)
    found = [recast(part, leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, found)


def recast(x: jax.Array, dtype: Any) -> jax.Array:
    """Reinterprets the 32 bits as another type; a bool becomes 0 or 1."""
    if np.bool_ in (x.dtype, dtype):
        return x.astype(dtype)
    return x if x.dtype == dtype else jax.lax.bitcast_convert_type(x, dtype)
