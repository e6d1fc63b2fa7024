"""The gradient of the reward through the account: direct reinforcement, without exploration noise."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Output, act, mean_action
from himari_jax.trees import select_tree
from train.learning.columns import scan_columns
from train.learning.lanes import Moves
from train.learning.losses import LossTerms
from train.learning.optimizer import apply_gradients
from train.learning.ppo import Learner
from train.learning.rollout import RolloutState, draw_moves
from train.learning.state import LearnerState, Metrics


@dataclass(frozen=True)
class PathwiseLearner(Learner):
    """Ascends the mean reward of the mean action: prices do not react, so a rollout is a differentiable function.

    Environments play in groups, one after the other, each with the weights after the group before; the gradient is cut
    where a rollout begins.

    Source: Moody and Saffell, "Learning to trade via direct reinforcement", 2001.
    """

    def update(self, runner: LearnerState, params: Any) -> tuple[LearnerState, Metrics]:
        """Plays one rollout of every environment, with a step of the optimizer after each group."""
        groups, blocks = self.sizes.num_minibatches, self.sizes.blocks

        def split(x: jax.Array) -> jax.Array:  # as many of every block in each group, as in PPO's minibatches
            parts = x.reshape(blocks, groups, -1, *x.shape[1:]).swapaxes(0, 1)
            return parts.reshape(groups, -1, *x.shape[1:])

        def join(x: jax.Array) -> jax.Array:
            parts = x.reshape(groups, blocks, -1, *x.shape[2:]).swapaxes(0, 1)
            return parts.reshape(-1, *x.shape[2:])

        def step(learned: tuple, players: RolloutState):
            players, learned, counts = self.ascend(learned, players, runner, params)
            return learned, (players, counts)

        learned = (runner.variables, runner.opt_state, runner.guard)
        learned, (players, counts) = jax.lax.scan(step, learned, jax.tree.map(split, runner.players))
        players = jax.tree.map(join, players)
        variables, opt_state, guard = learned
        after = runner._replace(
            variables=variables, opt_state=opt_state, players=players, update=runner.update + 1, guard=guard
        )
        return after, self.group_metrics(variables, counts, guard.skipped - runner.guard.skipped)

    def ascend(
        self, learned: tuple, players: RolloutState, runner: LearnerState, params: Any
    ) -> tuple[RolloutState, tuple, tuple]:
        """Takes one step of the optimizer on one group."""
        keys, key_step = jnp.moveaxis(jax.vmap(jax.random.split)(players.keys), 1, 0)
        steps = jax.vmap(lambda k: jax.random.split(k, self.sizes.rollout_steps), out_axes=1)(key_step)
        moves = draw_moves(self.env, params, steps)
        grads, value, counts, players = self.slope(params, learned[0], players, moves, runner.reward_scale)
        learned, good, norm = apply_gradients(learned, grads, value, runner, self.sizes.weight_decay)
        value, norm = select_tree(good, (value, norm), (jnp.zeros(()), jnp.zeros(())))
        return players._replace(keys=keys), learned, (value, *counts, norm)

    def slope(
        self, params: Any, variables: dict, players: RolloutState, moves: Moves, scale: jax.Array
    ) -> tuple[dict, jax.Array, tuple, RolloutState]:
        """Returns the gradient of the loss by the weights, the loss, counts for the metrics, and the state afterwards.

        Zeros are added to the policy's outputs: the gradient by these is that by the outputs, step after step; that by
        the weights follows for all steps at once, in a few large products.
        """
        shapes = jax.eval_shape(self.answer, variables, players.carry, players.obs)
        nudges = jax.tree.map(lambda x: jnp.zeros((self.sizes.rollout_steps, *x.shape), x.dtype), shapes)
        loss = jax.value_and_grad(partial(self.loss, params, variables, players, moves, scale), has_aux=True)
        (value, (counts, seen, players)), by_answer = loss(nudges)

        def answers(weights: dict) -> Any:
            return jax.vmap(partial(self.answer, {**variables, "params": weights}))(*seen)

        return jax.vjp(answers, variables["params"])[1](by_answer)[0], value, counts, players

    def loss(
        self, params: Any, variables: dict, players: RolloutState, moves: Moves, scale: jax.Array, nudges: Any
    ) -> tuple[jax.Array, tuple]:
        """Returns minus the mean reward of a rollout in units of the scale; counts, the policy's inputs, the state."""
        play = partial(self.step_group, params, variables)
        start = ((players.env_state, players.obs, players.reset), players.carry)
        after, (reward, terminated, done, seen) = scan_columns(play, start, (moves, nudges), slopes=True)
        (env_state, obs, reset), carry = after
        counts = (reward.mean(), terminated.sum(), done.sum())
        return -(reward * scale).mean(), (counts, seen, RolloutState(env_state, obs, reset, carry, players.keys))

    def answer(self, variables: dict, carry: Any, obs: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        """Returns the outputs of the policy that the reward depends on: carry, mean and deviation, leaves (B, ...)."""
        carry, output = act(self.policy, variables, carry, obs)
        return carry, output.mean, output.log_std

    def step_group(self, params: Any, variables: dict, state: tuple[tuple, Any], inputs: tuple[Moves, Any]):
        """Plays one step of all environments of a group by the mean action, differentiably; ended episodes are reset.

        Args:
            params: of the environment.
            variables: of the policy.
            state: (env_state, obs, reset), carry.
            inputs: of the step, leaves (B, ...).
        """
        (env_state, obs, reset), carry = state
        moves, nudge = inputs
        seen = (reset_carry(carry, reset), obs)
        carry, mean, log_std = jax.tree.map(jnp.add, self.answer(variables, *seen), nudge)
        action = mean_action(Output(mean, log_std, jnp.zeros(())))
        obs, env_state, reward, terminated, _ = jax.vmap(self.env.step_env, (0, 0, 0, None))(
            moves.keys, env_state, action, params
        )
        done = terminated | jax.vmap(self.env.is_truncated, (0, None))(env_state, params)
        obs, env_state = select_tree(done, moves.fresh, (obs, env_state))
        return ((env_state, obs, done), carry), (reward, terminated, done, jax.lax.stop_gradient(seen))

    def group_metrics(self, variables: dict, counts: tuple, skipped: jax.Array) -> Metrics:
        """Returns the metrics of one update; those of PPO alone are 0."""
        value, reward, terminated, done, norms = counts
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
