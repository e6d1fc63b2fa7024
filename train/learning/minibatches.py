"""Cuts a rollout into minibatches of environments."""

import jax
import jax.numpy as jnp

from train.learning.state import Sizes


def shuffle(key: jax.Array, sizes: Sizes) -> jax.Array:
    """Draws the environments of each minibatch as indices into their blocks, (M, blocks, B / M / blocks)."""
    per_block = sizes.num_envs // sizes.blocks
    keys = jax.random.split(key, sizes.blocks)
    order = jax.vmap(lambda k: jax.random.permutation(k, per_block))(keys)  # (blocks, per_block)
    return order.reshape(sizes.blocks, sizes.num_minibatches, -1).transpose(1, 0, 2)


def pick(x: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    """Takes the environments of one minibatch out of an array that has B of them along an axis.

    Args:
        x: of the whole rollout.
        index: (blocks, B / M / blocks) into the blocks.
        axis: of the environments.
    """
    blocks, count = index.shape
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    parts = x.reshape(*before, blocks, -1, *after)
    # Block by block: environments of one device are taken there, without communication.
    picked = jax.vmap(lambda part, i: jnp.take(part, i, axis=axis), in_axes=(axis, 0), out_axes=axis)(parts, index)
    return picked.reshape(*before, blocks * count, *after)
