"""State that learning carries from update to update; static sizes of the program."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train.learning.guard import Guard
from train.learning.losses import LossTerms
from train.learning.rollout import RolloutState

BLOCKS = 8  # the shuffle stays inside this many blocks of environments, so that devices need not exchange them


class Hyperparameters(NamedTuple):
    """Hyperparameters that a sweep may vary: traced scalars, () each."""

    learning_rate: jax.Array
    final_learning_rate: jax.Array  # share of the learning rate at the end
    total_updates: jax.Array  # over which the learning rate is annealed
    gamma: jax.Array
    gae_lambda: jax.Array
    clip_eps: jax.Array
    ent_coef: jax.Array
    vf_coef: jax.Array
    max_grad_norm: jax.Array
    final_std: jax.Array  # share of the exploration's deviation at the end of its annealing
    weight_decay: jax.Array  # share of a kernel that a step of learning rate 1 would subtract


@dataclass(frozen=True)
class Sizes:
    """Static sizes that shape the compiled program."""

    num_envs: int
    rollout_steps: int
    update_epochs: int
    num_minibatches: int
    episode_steps: int
    clip_value: bool = False
    weight_decay: bool = False  # whether kernels decay
    lookahead: int = 0  # bars over which an action is compared with the mean action; 0: with the value
    num_devices: int = 1

    @property
    def steps_per_update(self) -> int:
        """S * B."""
        return self.num_envs * self.rollout_steps

    @property
    def slots(self) -> int:
        """The most time limits that an environment can meet in a rollout, J."""
        return -(-self.rollout_steps // self.episode_steps)

    @property
    def blocks(self) -> int:
        """Blocks of environments inside which minibatches are drawn: on 2, 4 and 8 devices mostly those of one."""
        per_minibatch = self.num_envs // self.num_minibatches
        most = min(max(BLOCKS, self.num_devices), per_minibatch)
        fitting = [n for n in range(most, 0, -1) if per_minibatch % n == 0]
        return next((n for n in fitting if n % self.num_devices == 0), fitting[0])


class LearnerState(NamedTuple):
    """Everything that training needs to go on."""

    variables: dict  # params (learned) and constants (the normalizer's)
    opt_state: Any
    players: RolloutState
    key: jax.Array  # () shuffles
    update: jax.Array  # () int32, updates done
    reward_scale: jax.Array  # () 1 / root mean square of the rewards of the first rollout
    hyper: Hyperparameters
    guard: Guard  # counts of skipped steps of the optimizer


class Metrics(NamedTuple):
    """Metrics that a chunk returns to the host, () each, means over its updates."""

    reward: jax.Array  # mean reward of a step, unscaled
    episodes: jax.Array  # episodes that ended
    terminated: jax.Array  # share of them that ended in ruin
    explained_variance: jax.Array  # of the returns by the value
    log_std: jax.Array  # mean over assets
    grad_norm: jax.Array  # before clipping
    first_ratio_error: jax.Array  # largest |ratio - 1| in the first minibatch of an update: 0 up to rounding
    skipped: jax.Array  # steps of the optimizer that were not taken
    terms: LossTerms  # means over minibatches


def no_metrics() -> Metrics:
    """Returns zeros, to which the metrics of updates are added."""
    zero = jnp.zeros(())
    names = [name for name in Metrics._fields if name != "terms"]
    return Metrics(**dict.fromkeys(names, zero), terms=LossTerms(*(zero for _ in LossTerms._fields)))
