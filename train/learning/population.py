"""Many independent learners in one program: each with its own market, hyperparameters and seed.

The learner itself is that of a single run. On a CPU members train one after the other on each device, which keeps their
working set in the cache and a member's numbers independent of its neighbors; elsewhere all at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from envs.state import EnvParams
from train.learning.ppo import Learner, train_chunk
from train.learning.state import Hyperparameters, LearnerState, Metrics

AXIS = "members"


class Episodes(NamedTuple):
    """Large arrays of an environment's parameters: the market, and the begins and ends of its episodes."""

    market: Any  # leaves (T, ...)
    starts: Any  # (S,) int32
    last: Any  # (T,) bool

    @classmethod
    def of(cls, params: EnvParams) -> "Episodes":
        """Takes those of an environment."""
        return cls(params.market, params.starts, params.last)


@dataclass(frozen=True)
class Spread:
    """Layout of members over devices.

    Args:
        mesh: one axis of devices; the number of members must be a multiple of theirs.
        one_by_one: whether a device takes its members one after the other.
    """

    mesh: Mesh
    one_by_one: bool

    @property
    def size(self) -> int:
        """Number of devices."""
        return int(self.mesh.devices.size)

    def place(self, tree: Any, split: bool) -> Any:
        """Puts arrays on the devices: split by members, or replicated."""
        where = NamedSharding(self.mesh, PartitionSpec(AXIS) if split else PartitionSpec())
        return jax.device_put(tree, where)

    def map_members(self, function: Callable, split: Sequence[bool]) -> Callable:
        """Maps a function of one member over all members.

        Args:
            function: of arguments without the axis of members.
            split: whether each argument has that axis, (M, ...); others are common.
        """
        axes = tuple(0 if each else None for each in split)

        def on_device(*args: Any) -> Any:
            if not self.one_by_one:
                return jax.vmap(function, axes)(*args)
            own = [x for x, each in zip(args, split, strict=True) if each]

            def one(own: list) -> Any:
                left = iter(own)
                return function(*(next(left) if each else x for x, each in zip(args, split, strict=True)))

            return jax.lax.map(one, own)

        specs = tuple(PartitionSpec(AXIS) if each else PartitionSpec() for each in split)
        # No member knows of another: nothing is ever exchanged, so there is no replication to check.
        return jax.shard_map(on_device, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)


def spread_members(devices: int | None = None) -> Spread:
    """Lays members over the first devices of jax; None: over all of them."""
    found = jax.devices()[:devices]
    mesh = jax.make_mesh((len(found),), (AXIS,), axis_types=(AxisType.Auto,), devices=found)
    return Spread(mesh, found[0].platform == "cpu")


def without_episodes(params: EnvParams) -> EnvParams:
    """Removes the large arrays: the scalars are left, of which every member has its own."""
    return params.replace(market=None, starts=None, last=None)


def stack_episodes(each: Sequence[Episodes], starts: int = 0, rows: int = 0) -> Episodes:
    """Stacks episodes on U markets, on the host; padded rows and starts are never reached.

    Args:
        each: of one number of assets and features.
        starts: least length of the starts.
        rows: least length of the markets.
    """
    starts = max(starts, *(len(one.starts) for one in each))
    rows = max(rows, *(len(one.last) for one in each))
    padded = [
        Episodes(jax.tree.map(lambda x: pad(x, rows), one.market), pad(one.starts, starts), pad(one.last, rows))
        for one in each
    ]
    return stack(padded)


def stack(trees: Sequence[Any]) -> Any:
    """Stacks trees of equal shapes along a new first axis, on the host."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *trees)


def pad(x: Any, length: int) -> np.ndarray:
    """Appends rows of zeros up to `length` rows, on the host."""
    x = np.asarray(x)
    return np.concatenate([x, np.zeros((length - len(x), *x.shape[1:]), x.dtype)])


def pick(stacked: Any, number: jax.Array | int) -> Any:
    """Takes one of the trees that were stacked."""
    return jax.tree.map(lambda x: x[number], stacked)


def params_of(scalars: EnvParams, episodes: Episodes, market: jax.Array) -> EnvParams:
    """Joins the parameters of a member: its own scalars, and its market out of (U, ...)."""
    return scalars.replace(**pick(episodes, market)._asdict())


@cache
def compile_init(learner: Learner, spread: Spread) -> Any:
    """Jits the first state of all members: (keys, scalars, episodes, market, hyper, variables) -> runners."""

    def init(
        key: jax.Array, scalars: Any, episodes: Any, market: jax.Array, hyper: Hyperparameters, variables: dict
    ) -> LearnerState:
        # A seed's axis of one, as a run has it: the same program, to the last bit.
        one = jax.vmap(learner.init, in_axes=(0, None, None, 0))
        key, variables = jax.tree.map(lambda x: x[None], (key, variables))
        return pick(one(key, params_of(scalars, episodes, market), hyper, variables), 0)

    return jax.jit(spread.map_members(init, (True, True, False, True, True, True)))


@cache
def compile_update(learner: Learner, spread: Spread) -> Any:
    """Jits a chunk of updates of all members: (runners, scalars, episodes, market, count) -> (runners, metrics)."""

    def chunk(
        runner: LearnerState, scalars: Any, episodes: Any, market: jax.Array, count: jax.Array
    ) -> tuple[LearnerState, Metrics]:
        many = jax.vmap(partial(train_chunk, learner), in_axes=(0, None, None))
        found = many(jax.tree.map(lambda x: x[None], runner), params_of(scalars, episodes, market), count)
        return pick(found, 0)

    return jax.jit(spread.map_members(chunk, (True, True, False, True, False)), donate_argnums=0)


def first_policies(
    learner: Learner, width: int, seeds: Sequence[int], constants: Sequence[dict | None]
) -> tuple[jax.Array, dict]:
    """Returns keys (M,) of the learners and variables (M, ...) of their first policies, equal to those of a single run.

    Args:
        learner: common to all.
        width: D.
        seeds: of each member; members of one seed begin with one policy.
        constants: of each member's normalizer.
    """
    init_policy = jax.jit(partial(learner.init_policy, width=width))
    keys = {seed: jax.random.split(jax.random.key(seed)) for seed in sorted(set(seeds))}
    policies = {seed: jax.device_get(init_policy(pair[0])) for seed, pair in keys.items()}
    each = [
        policies[seed] if own is None else {**policies[seed], "constants": jax.device_get(own)}
        for seed, own in zip(seeds, constants, strict=True)
    ]
    return jnp.stack([keys[seed][1] for seed in seeds]), stack(each)


def bytes_of_member(learner: Learner, runner: Any, params: Any) -> int:
    """Estimates the bytes that one member needs while it trains: state, rollout, and activations for gradients.

    Args:
        learner: whose sizes count.
        runner: shapes of its state, of one member.
        params: shapes of its environment, of one market.
    """

    def size(tree: Any) -> int:
        return sum(int(np.prod(x.shape)) * 4 for x in jax.tree.leaves(tree))

    _, played = jax.eval_shape(learner.collect_rollout, params, runner.variables, runner.players)
    units = sum(x.shape[-1] for x in jax.tree.leaves(runner.variables["params"]) if x.ndim == 2)
    kept = learner.sizes.steps_per_update // learner.sizes.num_minibatches * units * 4
    return 2 * size(runner) + 3 * size(played) + 4 * kept + size(params)
