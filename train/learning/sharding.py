"""Layout of a run over its devices: environments split among them, everything else replicated."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from himari_jax.errors import InputError
from train.learning.state import LearnerState, Sizes

AXIS = "environments"


@dataclass(frozen=True)
class Sharding:
    """A mesh of devices over which `jit` splits the environments; PPO knows nothing of it.

    Args:
        mesh: one axis; its devices may belong to several processes.
    """

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """A copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def split(self) -> NamedSharding:
        """(K, B, ...) split by environments."""
        return NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    def of_state(self, runner: LearnerState) -> LearnerState:
        """Returns the layout of each leaf of a runner."""
        replicated = jax.tree.map(lambda _: self.replicated, runner)
        return replicated._replace(players=jax.tree.map(lambda _: self.split, runner.players))

    def shard(self, runner: LearnerState) -> LearnerState:
        """Lays a runner, the same in every process, over the devices."""
        return jax.tree.map(place, runner, self.of_state(runner))

    def replicate(self, tree: Any) -> Any:
        """Replicates arrays, the same in every process, to all devices."""
        return jax.tree.map(lambda x: place(x, self.replicated), tree)

    def fetch(self, tree: Any) -> Any:
        """Gathers arrays of this layout as ordinary ones, in every process."""
        return jax.tree.map(gather, tree)


def place(x: jax.Array, sharding: NamedSharding) -> jax.Array:
    """Lays an array over the devices of a mesh."""
    if is_key(x):
        return jax.random.wrap_key_data(place(jax.random.key_data(x), sharding))
    host = np.array(x)  # a copy: the array is donated later
    return jax.make_array_from_callback(host.shape, sharding, lambda where: host[where])


def gather(x: jax.Array) -> jax.Array:
    """Gathers an array on this process's host: the inverse of `place`."""
    from jax.experimental.multihost_utils import process_allgather

    if is_key(x):
        return jax.random.wrap_key_data(gather(jax.random.key_data(x)))
    whole = jax.device_get(x) if x.is_fully_addressable else process_allgather(x, tiled=True)
    return jax.numpy.array(whole)


def make_sharding(devices: int | str | None, sizes: Sizes) -> Sharding | None:
    """Returns the layout that `--devices` asks for; None on a single device.

    Args:
        devices: a number, `all`, or None for one device, or all of them where several processes train together.
        sizes: of the run.

    Raises:
        InputError: there are fewer, or the environments cannot be shared out evenly.
    """
    found = jax.devices()
    count = device_count(devices)
    if count == 1:
        return None
    if sizes.blocks % count:
        raise InputError(
            f"--devices {count}: the {sizes.num_envs // sizes.num_minibatches} environments of a minibatch cannot be "
            f"shared out among them; choose --num-envs as a multiple of {count * sizes.num_minibatches} "
            "(--num-minibatches times --devices)"
        )
    mesh = jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=found[:count])
    return Sharding(mesh)


def device_count(devices: int | str | None) -> int:
    """Counts the devices that a run takes.

    Raises:
        InputError: there are fewer.
    """
    found, processes = jax.device_count(), jax.process_count()
    count = found if devices == "all" or (devices is None and processes > 1) else int(devices or 1)
    if count > found:
        kind = jax.devices()[0].device_kind
        raise InputError(f"--devices {count}: jax finds {found} of kind {kind}; use --devices all")
    if processes > 1 and count != found:
        raise InputError(f"--devices {count}: {processes} processes together have {found}; leave the flag out")
    return count


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
