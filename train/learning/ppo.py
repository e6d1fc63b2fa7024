"""PPO: rollout -> advantages -> epochs of minibatches, one seed; `vmap` trains many."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from himari_jax.policies.policy import Policy, unroll
from himari_jax.trees import select_tree
from train.learning.guard import new_guard
from train.learning.losses import (
    Batch,
    LossTerms,
    branch_td_errors,
    counterfactual_advantage,
    gae,
    ppo_loss,
    temporal_difference,
)
from train.learning.minibatches import pick, shuffle
from train.learning.optimizer import anneal_log_std, apply_gradients, make_optimizer
from train.learning.rollout import RolloutState, Transition, collect_rollout, reset_rollout
from train.learning.state import Hyperparameters, LearnerState, Metrics, Sizes, no_metrics


@dataclass(frozen=True)
class Learner:
    """PPO of a policy in an environment.

    Args:
        env: a gymnax environment, hashable.
        policy: the module.
        sizes: shapes.
    """

    env: Any
    policy: Policy
    sizes: Sizes

    def init_policy(self, key: jax.Array, width: int, constants: dict | None = None) -> dict:
        """Returns the variables of one policy before its first update.

        Not to be batched by `vmap`: orthogonal matrices come from QR, and several batched QR in one program
        deadlock on a CPU with as many threads (seen with jaxlib 0.10.2 on two cores).

        Args:
            key: of the initialization.
            width: D.
            constants: the normalizer's; the identity where None.
        """
        variables: Any = self.policy.init(key, self.policy.initial_carry(1), jnp.zeros((1, width)))
        return variables if constants is None else {**variables, "constants": constants}

    def init(self, key: jax.Array, params: Any, hyper: Hyperparameters, variables: dict) -> LearnerState:
        """Returns the state before the first update.

        Args:
            key: seeds environments and shuffles.
            params: of the environment.
            hyper: scalars.
            variables: of the policy.
        """
        key, key_envs, key_scale = jax.random.split(key, 3)
        num_envs = self.sizes.num_envs
        keys = jnp.concatenate([jax.random.split(each, num_envs) for each in (key_envs, key_scale)])
        both = reset_rollout(self.env, params, self.policy, keys)  # in one call: half as large a program
        players, others = (
            jax.tree.map(lambda x, part=part: x[part], both) for part in (slice(num_envs), slice(num_envs, None))
        )
        scale = self.measure_reward_scale(others, params, variables)
        opt_state = make_optimizer(hyper).init(variables["params"])
        return LearnerState(variables, opt_state, players, key, jnp.int32(0), scale, hyper, new_guard())

    def measure_reward_scale(self, players: RolloutState, params: Any, variables: dict) -> jax.Array:
        """`1 / sqrt(mean(r^2))` of one rollout of the first policy, (): makes values of order 1 on every market."""
        alone = replace(self, sizes=replace(self.sizes, lookahead=0))  # no branches
        _, played = alone.collect_rollout(params, variables, players)
        size = jnp.sqrt(jnp.nanmean(played.reward**2))  # one bad bar must not spoil the scale of all others
        return jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 1.0)

    def collect_rollout(self, params: Any, variables: dict, players: RolloutState) -> tuple[RolloutState, Transition]:
        """Plays one rollout."""
        sizes = self.sizes
        return collect_rollout(
            self.env, params, self.policy, variables, players, sizes.rollout_steps, sizes.slots, sizes.lookahead
        )

    def update(self, runner: LearnerState, params: Any) -> tuple[LearnerState, Metrics]:
        """Plays one rollout and learns from it in epochs of minibatches."""
        first_carry = runner.players.carry
        players, played = self.collect_rollout(params, runner.variables, runner.players)
        batch = self.compute_advantages(played, runner)
        key, key_shuffle = jax.random.split(runner.key)
        learned = (runner.variables, runner.opt_state, runner.guard)
        epoch = partial(self.epoch, batch=batch, first_carry=first_carry, runner=runner)
        learned, (terms, norms) = jax.lax.scan(epoch, learned, jax.random.split(key_shuffle, self.sizes.update_epochs))
        variables, opt_state, guard = learned
        variables = anneal_log_std(variables, runner.hyper, runner.update)
        after = runner._replace(
            variables=variables, opt_state=opt_state, players=players, key=key, update=runner.update + 1, guard=guard
        )
        return after, update_metrics(played, batch, variables, terms, norms, guard.skipped - runner.guard.skipped)

    def compute_advantages(self, played: Transition, runner: LearnerState) -> Batch:
        """Computes advantages and returns of a rollout, in units of the reward scale."""
        gamma, scale = runner.hyper.gamma, runner.reward_scale
        advantage = gae(
            played.reward * scale,
            played.value,
            played.next_value,
            played.terminated,
            played.truncated,
            gamma,
            runner.hyper.gae_lambda,
        )
        returns = advantage + played.value
        if self.sizes.lookahead:
            delta = temporal_difference(
                played.reward * scale, played.value, played.next_value, played.terminated, gamma
            )
            beside = branch_td_errors(played.branches.reward * scale, played.branches.value, played.value, gamma)
            advantage = counterfactual_advantage(delta, beside, played.branches.alive, gamma)
        return Batch(
            obs=played.obs,
            reset=played.reset,
            action=played.action,
            log_prob=played.log_prob,
            value=played.value,
            advantage=advantage,
            returns=returns,
        )

    def epoch(self, learned: tuple, key: jax.Array, batch: Batch, first_carry: Any, runner: LearnerState):
        """Passes once over the rollout in minibatches of environments, time in order."""
        index = shuffle(key, self.sizes)

        def minibatch_step(learned: tuple, index: jax.Array):
            part = jax.tree.map(lambda x: pick(x, index, axis=1), batch)
            carry = jax.tree.map(lambda x: pick(x, index, axis=0), first_carry)
            return self.minibatch(learned, part, carry, runner)

        return jax.lax.scan(minibatch_step, learned, index)

    def minibatch(self, learned: tuple, batch: Batch, carry: Any, runner: LearnerState):
        """Takes one step of the optimizer."""
        variables = learned[0]
        hyper = runner.hyper

        def loss(weights: dict) -> tuple[jax.Array, LossTerms]:
            now = {**variables, "params": weights}
            _, output = unroll(self.policy, now, carry, batch.obs, batch.reset)
            terms = ppo_loss(output, batch, hyper.clip_eps, hyper.ent_coef, hyper.vf_coef, self.sizes.clip_value)
            return terms.loss, terms

        grads, terms = jax.grad(loss, has_aux=True)(variables["params"])
        learned, good, norm = apply_gradients(learned, grads, terms.loss, runner, self.sizes.weight_decay)
        # Terms that are not finite, of a skipped step, would spoil the means.
        return learned, select_tree(good, (terms, norm), jax.tree.map(jnp.zeros_like, (terms, norm)))


def update_metrics(
    played: Transition, batch: Batch, variables: dict, terms: LossTerms, norms: jax.Array, skipped: jax.Array
) -> Metrics:
    """Returns the metrics of one update."""
    done = played.terminated | played.truncated
    episodes = done.sum(dtype=jnp.float32)
    unexplained = (batch.returns - batch.value).var() / (batch.returns.var() + 1e-12)
    return Metrics(
        reward=played.reward.mean(),
        episodes=episodes,
        terminated=played.terminated.sum(dtype=jnp.float32) / jnp.maximum(episodes, 1),
        explained_variance=1 - unexplained,
        log_std=variables["params"]["log_std"].mean(),
        grad_norm=norms.mean(),
        first_ratio_error=terms.ratio_error[0, 0],
        skipped=skipped.astype(jnp.float32),
        terms=jax.tree.map(jnp.mean, terms),
    )


def train_chunk(
    learner: Learner, runner: LearnerState, params: Any, updates: jax.Array
) -> tuple[LearnerState, Metrics]:
    """Runs `updates` updates (traced: any number without a new trace) and averages their metrics."""

    def step(_: jax.Array, state: tuple[LearnerState, Metrics]) -> tuple[LearnerState, Metrics]:
        runner, total = state
        runner, metrics = learner.update(runner, params)
        return runner, jax.tree.map(jnp.add, total, metrics)

    runner, total = jax.lax.fori_loop(0, updates, step, (runner, no_metrics()))
    return runner, jax.tree.map(lambda x: x / updates, total)
