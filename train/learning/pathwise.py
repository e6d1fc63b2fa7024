"""The gradient of the reward through the account: direct reinforcement, without exploration noise."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import act, mean_action
from himari_jax.trees import select_tree
from train.learning.losses import LossTerms
from train.learning.optimizer import apply_gradients
from train.learning.ppo import Learner
from train.learning.rollout import RolloutState
from train.learning.state import LearnerState, Metrics


@dataclass(frozen=True)
class PathwiseLearner(Learner):
    """Ascends the mean reward of the mean action: prices do not react, so a rollout is a differentiable function.

    Environments play in groups, one after the other, each with the weights that the group before left; the gradient
    is cut where a rollout begins.

    Source: Moody and Saffell, "Learning to trade via direct reinforcement", 2001.
    """

    def update(self, runner: LearnerState, params: Any) -> tuple[LearnerState, Metrics]:
        """One rollout of every environment, a step of the optimizer after each group."""
        groups, blocks = self.sizes.num_minibatches, self.sizes.blocks

        def split(x: jax.Array) -> jax.Array:  # as many of every block in each group, as in PPO's minibatches
            parts = x.reshape(blocks, groups, -1, *x.shape[1:]).swapaxes(0, 1)
            return parts.reshape(groups, -1, *x.shape[1:])

        def join(x: jax.Array) -> jax.Array:
            parts = x.reshape(groups, blocks, -1, *x.shape[2:]).swapaxes(0, 1)
            return parts.reshape(-1, *x.shape[2:])

        def step(learned: tuple, players: RolloutState):
            players, learned, info = self.ascend(learned, players, runner, params)
            return learned, (players, info)

        learned = (runner.variables, runner.opt_state, runner.guard)
        learned, (players, info) = jax.lax.scan(step, learned, jax.tree.map(split, runner.players))
        players = jax.tree.map(join, players)
        variables, opt_state, guard = learned
        after = runner._replace(
            variables=variables, opt_state=opt_state, players=players, update=runner.update + 1, guard=guard
        )
        return after, self.group_metrics(variables, info, guard.skipped - runner.guard.skipped)

    def ascend(
        self, learned: tuple, players: RolloutState, runner: LearnerState, params: Any
    ) -> tuple[RolloutState, tuple, tuple]:
        """One step of the optimizer on one group."""
        variables = learned[0]
        keys, key_step = jnp.moveaxis(jax.vmap(jax.random.split)(players.keys), 1, 0)
        moves = jax.vmap(lambda k: jax.random.split(k, self.sizes.rollout_steps), out_axes=1)(key_step)

        def loss(weights: dict) -> tuple[jax.Array, tuple]:
            now = {**variables, "params": weights}
            after, (reward, terminated, done) = jax.lax.scan(
                lambda players, key: self.step_group(params, now, players, key), players, moves
            )
            return -(reward * runner.reward_scale).mean(), (after, reward.mean(), terminated.sum(), done.sum())

        (value, (after, reward, terminated, done)), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        learned, good, norm = apply_gradients(learned, grads, value, runner, self.sizes.weight_decay)
        value, norm = select_tree(good, (value, norm), (jnp.zeros(()), jnp.zeros(())))
        return after._replace(keys=keys), learned, (value, reward, terminated, done, norm)

    def step_group(self, params: Any, variables: dict, players: RolloutState, key: jax.Array):
        """One step of all environments of a group by the mean action, gradients kept, episodes reset."""
        key_step, key_reset = jnp.moveaxis(jax.vmap(jax.random.split)(key), 1, 0)
        carry = reset_carry(players.carry, players.reset)
        carry, output = act(self.policy, variables, carry, players.obs)
        obs, state, reward, terminated, _ = jax.vmap(self.env.step_env, (0, 0, 0, None))(
            key_step, players.env_state, mean_action(output), params
        )
        done = terminated | jax.vmap(self.env.is_truncated, (0, None))(state, params)
        fresh = jax.vmap(self.env.reset_env, (0, None))(key_reset, params)
        obs, state = select_tree(done, fresh, (obs, state))
        return RolloutState(state, obs, done, carry, players.keys), (reward, terminated, done)

    def group_metrics(self, variables: dict, info: tuple, skipped: jax.Array) -> Metrics:
        """Scalars of one update; what only PPO has is 0."""
        value, reward, terminated, done, norms = info
        episodes = done.sum().astype(jnp.float32)
        zero = jnp.zeros(())
        return Metrics(
            reward=reward.mean(),
            episodes=episodes,
            terminated=terminated.sum() / jnp.maximum(episodes, 1),
            explained_variance=zero,
            log_std=variables["params"]["log_std"].mean(),
            grad_norm=norms.mean(),
            first_ratio_error=zero,
            skipped=skipped.astype(jnp.float32),
            terms=LossTerms(value.mean(), value.mean(), *(zero,) * (len(LossTerms._fields) - 2)),
        )
