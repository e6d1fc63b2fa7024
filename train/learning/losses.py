"""PPO's equations: advantages and losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from himari_jax.policies.policy import Output, entropy, log_prob

UNROLL = 8  # bars in one pass of a loop whose time on an accelerator goes into starting kernels


def temporal_difference(
    reward: jax.Array, value: jax.Array, next_value: jax.Array, terminated: jax.Array, gamma: jax.Array
) -> jax.Array:
    """`r + gamma (1 - terminated) next_value - value`, (S, B).

    `next_value` is the value of the step's own final observation, so that a time limit bootstraps. All arrays (S, B).
    """
    return reward + gamma * jnp.where(terminated, 0, next_value) - value


def gae(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array,
    gae_lambda: jax.Array,
) -> jax.Array:
    """Generalized advantage estimates, all arrays (S, B).

    `adv = delta + gamma lambda (1 - done) adv'`, `delta` the temporal difference.

    Source: Schulman et al., "High-dimensional continuous control using generalized advantage estimation", 2016.
    """
    delta = temporal_difference(reward, value, next_value, terminated, gamma)
    decay = gamma * gae_lambda * (1 - (terminated | truncated).astype(delta.dtype))

    def step(advantage: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, decay = inputs
        advantage = delta + decay * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(step, jnp.zeros_like(delta[0]), (delta, decay), reverse=True, unroll=UNROLL)
    return advantages


def counterfactual_advantage(delta: jax.Array, beside: jax.Array, alive: jax.Array, gamma: jax.Array) -> jax.Array:
    """Advantages of actions over the mean action on the same prices, (S, B).

    Two branches of the mean action are compared over K bars: one that leaves after the action, one that leaves
    before it. `A_t = delta_t - d_(t,0) + sum_(i=1..K-1) gamma^i (d_(t+i,i-1) - d_(t+i,i))`, `d_(t,i)` the temporal
    difference `r + gamma V(s') - V(s)` at bar t of the branch that left i bars before; the sum ends where an episode
    or the rollout does.

    The baseline does not depend on the action, so that it adds no bias; the noise of the prices, which is in both
    branches, cancels. With more bars less of an action's later effect is left to the value.

    Args:
        delta: (S, B) temporal differences of the path.
        beside: (S, K, B) those of the branches by bar and age.
        alive: (S, K, B) bool, whether a branch is still in the episode that it left.
        gamma: (), discount per bar.
    """
    steps, ages, _ = beside.shape
    advantage = delta - beside[:, 0]
    for age in range(1, min(ages, steps)):
        both = alive[age:, age] & alive[age:, age - 1]
        change = jnp.where(both, beside[age:, age - 1] - beside[age:, age], 0)
        advantage = advantage.at[: steps - age].add(gamma**age * change)
    return advantage


def branch_td_errors(reward: jax.Array, value: jax.Array, start: jax.Array, gamma: jax.Array) -> jax.Array:
    """Computes temporal differences of branches of the mean action, all (S, K, B) by bar and age.

    Args:
        reward: of the bar, in units of the value.
        value: after the bar.
        start: (S, B) value of the path at the bar, where the youngest branch leaves it.
        gamma: discount.
    """
    older = jnp.concatenate([jnp.zeros_like(value[:1, :-1]), value[:-1, :-1]])  # after the bar before
    return reward + gamma * value - jnp.concatenate([start[:, None], older], axis=1)


class Batch(NamedTuple):
    """The loss's inputs: a slice of a rollout over environments."""

    obs: jax.Array  # (S, B, D)
    reset: jax.Array  # (S, B) bool, whether the episode starts at this step
    action: jax.Array  # (S, B, N) before squashing
    log_prob: jax.Array  # (S, B) under the policy of the rollout
    value: jax.Array  # (S, B) likewise
    advantage: jax.Array  # (S, B)
    returns: jax.Array  # (S, B) advantage + value


class LossTerms(NamedTuple):
    """The loss and its metrics, () each."""

    loss: jax.Array
    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array
    ratio_error: jax.Array  # largest |ratio - 1|; 0 in the first minibatch of an update


def ppo_loss(
    output: Output,
    batch: Batch,
    clip_eps: jax.Array,
    ent_coef: jax.Array,
    vf_coef: jax.Array,
    clip_value: bool,
) -> LossTerms:
    """Clipped surrogate + value error - entropy, advantages normalized over the minibatch.

    `-mean(min(ratio A, clip(ratio, 1 - eps, 1 + eps) A)) + c_v mean((V - R)^2) / 2 - c_e H`

    Source: Schulman et al., "Proximal policy optimization algorithms", 2017.
    """
    advantage = normalize(batch.advantage)
    log_ratio = log_prob(output, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps)
    policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_loss = value_error(output.value, batch, clip_eps if clip_value else None)
    bonus = entropy(output).mean()
    return LossTerms(
        loss=policy_loss + vf_coef * value_loss - ent_coef * bonus,
        policy_loss=policy_loss,
        value_loss=value_loss,
        entropy=bonus,
        approx_kl=(ratio - 1 - log_ratio).mean(),
        clip_fraction=(jnp.abs(ratio - 1) > clip_eps).mean(dtype=ratio.dtype),
        ratio_error=jnp.abs(ratio - 1).max(),
    )


def normalize(advantage: jax.Array) -> jax.Array:
    """Scales to zero mean and unit deviation."""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)


def value_error(value: jax.Array, batch: Batch, clip_eps: jax.Array | None) -> jax.Array:
    """Halves the mean squared error to the returns; with clipping the larger of the clipped and the plain error."""
    error = (value - batch.returns) ** 2
    if clip_eps is not None:
        near = batch.value + jnp.clip(value - batch.value, -clip_eps, clip_eps)
        error = jnp.maximum(error, (near - batch.returns) ** 2)
    return 0.5 * error.mean()
