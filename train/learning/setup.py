"""Makes the learner that flags name, and its first state."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.trees import select_tree
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.learning.pathwise import PathwiseLearner
from train.learning.policy import make_policy
from train.learning.ppo import Learner, train_chunk
from train.learning.sharding import Sharding, device_count
from train.learning.state import Hyperparameters, LearnerState, Sizes


@dataclass(frozen=True)
class Setup:
    """Configuration, environment parameters and learner of a run, whatever the market."""

    config: Config
    params: Any  # of the environment, on the device
    learner: Learner
    constants: dict | None  # of the normalizer; None: the identity

    @property
    def seeds(self) -> list[int]:
        """Seeds of the policies that train side by side."""
        return [self.config.run.seed + k for k in range(self.config.run.num_seeds)]

    @property
    def config_hash(self) -> str:
        """Hash of the configuration."""
        return config_hash(self.config)

    @property
    def files(self) -> dict[str, bytes]:
        """Files of the user that the run folder keeps, by name."""
        return {}

    @property
    def width(self) -> int:
        """Width of the observation, D."""
        return int(self.learner.env.observation_space(self.params).shape[0])


class Best(NamedTuple):
    """The best parameters of each seed at the evaluations."""

    variables: dict  # leaves (K, ...)
    sharpe: jax.Array  # (K,) the score: annual Sharpe ratio on the validation span, or share of a known optimum
    update: jax.Array  # (K,) int32


class TrainState(NamedTuple):
    """The content of a checkpoint; leaves of the runner have a leading seed axis (K,)."""

    runner: LearnerState
    best: Best


def make_learner(config: Config, env: Any, costly: bool, start: float) -> Learner:
    """Makes the learner that the flags name, with its policy.

    Args:
        config: flags.
        env: a gymnax environment with `num_assets`.
        costly: whether trading costs something there.
        start: multiplier at the start, unless the flags give one.
    """
    ppo = config.ppo
    sizes = Sizes(
        num_envs=config.num_envs,
        rollout_steps=ppo.rollout_steps,
        update_epochs=ppo.update_epochs,
        num_minibatches=ppo.num_minibatches,
        episode_steps=ppo.episode_steps,
        clip_value=ppo.clip_value,
        weight_decay=ppo.weight_decay > 0,
        lookahead=config.lookahead,
        num_devices=device_count(config.run.devices),
    )
    kind = PathwiseLearner if ppo.algorithm == "pathwise" else Learner
    return kind(env, make_policy(config, env.num_assets, costly, start), sizes)


def hyperparameters(config: Config, num_assets: int) -> Hyperparameters:
    """Returns the hyperparameters that are traced, on the device."""
    ppo = config.ppo
    values = {name: getattr(ppo, name) for name in Hyperparameters._fields if name != "total_updates"}
    values |= {"learning_rate": config.learning_rate(num_assets), "total_updates": config.total_updates}
    return cast(Hyperparameters, jax.device_put(Hyperparameters(**jax.tree.map(np.float32, values))))


def first_state(session: Setup) -> Callable[[], TrainState]:
    """Returns a traceable function without arguments that makes the state before the first update."""
    learner, config = session.learner, session.config
    hyper = hyperparameters(config, learner.env.num_assets)

    def make_state() -> TrainState:
        policies = [first_policy(learner, session.width, np.uint32(seed)) for seed in session.seeds]
        return first_learners(learner, policies, session.constants, session.params, hyper)

    return make_state


@partial(jax.jit, static_argnums=(0, 1))
def first_policy(learner: Learner, width: int, seed: jax.Array) -> tuple[jax.Array, dict]:
    """Returns the key of a seed's learner, (), and the variables of its first policy."""
    key_policy, key = jax.random.split(jax.random.key(seed))
    return key, learner.init_policy(key_policy, width)


@partial(jax.jit, static_argnums=0)
def first_learners(
    learner: Learner, policies: list[tuple[jax.Array, dict]], constants: dict | None, params: Any, hyper: Any
) -> TrainState:
    """Makes the state of all seeds before the first update.

    Args:
        learner: of all seeds.
        policies: key and variables of each, by `first_policy`.
        constants: of the normalizer, in place of those of the variables; None: those stay.
        params: of the environment.
        hyper: scalars.
    """
    keys, variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies)  # (K, ...)
    if constants is not None:
        same = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(policies), *x.shape)), constants)
        variables = {**variables, "constants": same}
    runner = jax.vmap(learner.init, in_axes=(0, None, None, 0))(keys, params, hyper, variables)
    return TrainState(runner, no_best(runner))


def no_best(runner: LearnerState) -> Best:
    """Returns the best before the first evaluation: scores of -inf."""
    seeds = runner.update.shape[0]
    return Best(runner.variables, jnp.full(seeds, -jnp.inf, jnp.float32), jnp.zeros(seeds, jnp.int32))


@jax.jit
def better(best: Best, variables: dict, sharpe: jax.Array, update: jax.Array) -> Best:
    """Takes over the parameters of the seeds whose score is their best so far."""
    return select_tree(sharpe > best.sharpe, Best(variables, sharpe, jnp.full_like(best.update, update)), best)


def compile_chunk(session: Setup, runner: LearnerState, params: Any, sharding: Sharding | None = None) -> Any:
    """Compiles a chunk of updates for all seeds: (runner, params, count) -> (runner, metrics).

    Args:
        session: of the run.
        runner: of all seeds, or its shapes.
        params: of the environment, likewise.
        sharding: None on a single device.
    """
    chunk = jax.vmap(partial(train_chunk, session.learner), in_axes=(0, None, None))
    pinned: dict[str, Any] = {}
    if sharding is not None:  # the compiler would choose another layout of the outputs
        lies = sharding.of_state(runner)
        pinned = {
            "in_shardings": (lies, sharding.replicated, sharding.replicated),
            "out_shardings": (lies, sharding.replicated),
        }
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (runner, params))
    return jax.jit(chunk, donate_argnums=0, **pinned).lower(*shapes, np.int32(1)).compile()
