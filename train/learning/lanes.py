"""One step of the path and of its branches, side by side: one pass of the policy, one step of the environment."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from himari_jax.policies.policy import Output, Policy, act, log_prob, mean_action, squash
from himari_jax.trees import select_tree


class Lanes(NamedTuple):
    """The path and its branches side by side, so that one pass of the policy and one step play them all.

    Lane 0 is the path, the others are branches: the one that leaves it at bar t is lane 1 + t mod K.
    """

    env_state: Any  # leaves (B, K + 1, ...)
    obs: jax.Array  # (B, K + 1, D)


class Memory(NamedTuple):
    """The policy's carry in the lanes, and its carry at the time limits of the rollout.

    Final observations at time limits are few: their carries in J slots for each environment cost one small batch
    instead of a second forward pass at every step.
    """

    carry: Any  # leaves (B, K + 1, H), or (): before it sees the observation
    ends: Any  # leaves (J, B, H), or ()
    used: jax.Array  # (B,) int32, slots in use


class Moves(NamedTuple):
    """Random draws of the environments in a rollout, made before the first step."""

    keys: jax.Array  # (S, B) of the steps
    fresh: tuple[jax.Array, Any]  # observation and state, leaves (S, B, ...), if an episode ends with the step


class Draws(NamedTuple):
    """Inputs of a step of all lanes; those of a rollout have S in front."""

    noise: jax.Array  # (S, B, N) of the actions
    moves: Moves  # leaves (S, B, ...)
    young: jax.Array  # (S,) int32 lane of the branch that leaves the path


class StepRecord(NamedTuple):
    """Outputs of a step of all lanes; those of a rollout have S in front."""

    action: jax.Array  # (B, N) of the path, before squashing
    log_prob: jax.Array  # (B,)
    value: jax.Array  # (B, K + 1) before the step
    reward: jax.Array  # (B, K + 1)
    terminated: jax.Array  # (B, K + 1) bool
    truncated: jax.Array  # (B,) bool
    final_obs: jax.Array  # (B, D) after the path's step, before an episode that ended is reset


def play_bar(env, params, policy, variables, state: tuple[Lanes, Memory], draws: Draws):
    """Plays one step of the path by a sampled action, and of the branches by their mean action, on the same prices.

    The youngest branch leaves the path here, in the lane of the oldest.

    Args:
        env, params, policy, variables: as `collect_rollout` has them.
        state: before the step.
        draws: of the step, leaves (B, ...).

    Returns:
        state; `StepRecord`.
    """
    lanes, memory = state
    carry, output = act_lanes(policy, variables, lanes.obs, memory.carry)
    path = first_lane(output)
    u = path.mean + jnp.exp(path.log_std) * draws.noise
    lane = jnp.arange(lanes.obs.shape[1])[None]
    started = (lanes.env_state, carry, mean_action(output))
    leaving = jax.tree.map(lambda x: x[:, :1], started)
    env_state, carry, mean = select_tree(lane == draws.young, leaving, started)
    action = select_tree(lane == 0, squash(u)[:, None], mean)
    obs, env_state, reward, terminated = step_lanes(env, params, env_state, action, draws.moves.keys)
    truncated = jax.vmap(env.is_truncated, (0, None))(first_lane(env_state), params)
    bar = StepRecord(u, log_prob(path, u), output.value, reward, terminated, truncated, obs[:, 0])
    memory = keep_end(memory._replace(carry=carry), truncated & ~terminated[:, 0])
    return restart_path(Lanes(env_state, obs), memory, terminated[:, 0] | truncated, *draws.moves.fresh), bar


def first_lane(lanes: Any) -> Any:
    """Returns the path alone: leaves (B, K + 1, ...) -> (B, ...)."""
    return jax.tree.map(lambda x: x[:, 0], lanes)


def act_lanes(policy: Policy, variables: dict, obs: jax.Array, carry: Any) -> tuple[Any, Output]:
    """Returns carry and output of the policy in all lanes, leaves (B, K + 1, ...)."""
    return jax.vmap(partial(act, policy, variables))(carry, obs)


def step_lanes(env, params, env_state: Any, action: jax.Array, keys: jax.Array):
    """Steps all lanes without resets: observation, state, reward and termination, leaves (B, K + 1, ...).

    Args:
        env, params: as `collect_rollout` has them.
        env_state: leaves (B, K + 1, ...).
        action: (B, K + 1, N).
        keys: (B,) common to path and branches.
    """
    step = jax.vmap(jax.vmap(env.step_env, (None, 0, 0, None)), (0, 0, 0, None))
    obs, env_state, reward, terminated, _ = step(keys, env_state, action, params)
    return obs, env_state, reward, terminated


def restart_path(lanes: Lanes, memory: Memory, done: jax.Array, obs: jax.Array, env_state: Any) -> tuple[Lanes, Memory]:
    """Begins an episode on the path where `done` (B,) is set, with an empty carry.

    Args:
        lanes, memory: after the step.
        done: (B,) bool.
        obs, env_state: leaves (B, ...) of the new episodes.
    """
    where = done[:, None] & (jnp.arange(lanes.obs.shape[1])[None] == 0)
    fresh = Lanes(*jax.tree.map(lambda x: x[:, None], (env_state, obs)))
    carry = jax.tree.map(jnp.zeros_like, memory.carry)
    lanes, carry = select_tree(where, (fresh, carry), (lanes, memory.carry))
    return lanes, memory._replace(carry=carry)


def no_memory(carry: Any, slots: int, batch: int) -> Memory:
    """Returns the memory before the first step: no time limit was met.

    Args:
        carry: of the lanes, leaves (B, K + 1, H).
        slots: J.
        batch: B.
    """
    ends = jax.tree.map(lambda x: jnp.zeros((slots, batch, *x.shape[2:]), x.dtype), carry)
    return Memory(carry, ends, jnp.zeros(batch, jnp.int32))


def keep_end(memory: Memory, cut: jax.Array) -> Memory:
    """Keeps the path's carry in the next slot of the environments where `cut` (B,) is set."""

    def keep(kept: jax.Array, carry: jax.Array) -> jax.Array:
        write = cut[None] & (jnp.arange(len(kept))[:, None] == memory.used[None])  # (J, B)
        return jnp.where(write[..., None], carry[None, :, 0], kept)

    ends = jax.tree.map(keep, memory.ends, memory.carry)
    return memory._replace(ends=ends, used=memory.used + cut)
