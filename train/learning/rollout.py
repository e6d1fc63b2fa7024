"""Rollouts: the policy acts in B environments for S steps. Knows no PPO."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Policy, act
from himari_jax.trees import select_tree
from train.learning.columns import scan_columns
from train.learning.lanes import Draws, Lanes, Memory, Moves, StepRecord, act_lanes, first_lane, no_memory, play_bar


class Branches(NamedTuple):
    """Counterfactual steps by the mean action, on the same prices as the sampled action.

    At every step a branch leaves the path and follows the mean action for K bars: at each bar there are K of them; the
    one of age i left i bars before.
    """

    reward: jax.Array  # (S, K, B) of the bar
    value: jax.Array  # (S, K, B) after the bar; 0 after ruin
    alive: jax.Array  # (S, K, B) bool, whether neither the path's episode nor the branch's ended since it left


class Transition(NamedTuple):
    """A rollout, time first."""

    obs: jax.Array  # (S, B, D)
    reset: jax.Array  # (S, B) bool, whether the episode starts at this step
    action: jax.Array  # (S, B, N) before squashing
    log_prob: jax.Array  # (S, B)
    value: jax.Array  # (S, B)
    next_value: jax.Array  # (S, B) of the step's own final observation
    reward: jax.Array  # (S, B)
    terminated: jax.Array  # (S, B) bool
    truncated: jax.Array  # (S, B) bool
    branches: Branches  # K is 0 unless they are asked for


class RolloutState(NamedTuple):
    """B environments in the middle of their episodes, and the policy's carry."""

    env_state: Any  # leaves (B, ...)
    obs: jax.Array  # (B, D)
    reset: jax.Array  # (B,) bool, whether `obs` starts an episode
    carry: Any  # leaves (B, H), or ()
    keys: jax.Array  # (B,) a key for each environment


def reset_rollout(env, params, policy: Policy, keys: jax.Array) -> RolloutState:
    """Resets B environments; episodes are staggered where the environment has `stagger`.

    Args:
        env: a gymnax environment.
        params: its parameters.
        policy: the module.
        keys: (B,) one for each environment.
    """
    keys, key_reset, key_age = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(keys), 1, 0)
    obs, state = jax.vmap(env.reset, (0, None))(key_reset, params)
    if hasattr(env, "stagger"):
        state = jax.vmap(env.stagger, (0, 0, None))(key_age, state, params)
    batch = keys.shape[0]
    return RolloutState(state, obs, jnp.ones(batch, bool), policy.initial_carry(batch), keys)


def collect_rollout(
    env, params, policy: Policy, variables: dict, players: RolloutState, steps: int, slots: int = 1, lookahead: int = 0
) -> tuple[RolloutState, Transition]:
    """Plays S steps in B environments.

    Args:
        env: a gymnax environment whose `step` is gymnax's: `step_env`, `is_truncated`, and `reset_env` at an end.
        params: its parameters, shared by the B environments.
        policy: the module.
        variables: its parameters and constants.
        players: state of the B environments before the first step.
        steps: S.
        slots: J, the most time limits that an environment can meet in S steps.
        lookahead: K, bars that the mean action is played beside every action: K more steps of the environment, and
            of the policy for the value afterwards.
    """
    keys, noise, step_keys = draw(players.keys, steps, env.action_space(params).shape[0])
    draws = draw_ahead(env, params, noise, step_keys, lookahead)
    play = partial(play_bar, env, params, policy, variables)
    (lanes, memory), bars = scan_columns(play, begin(players, slots, lookahead), draws)
    _, last = act_lanes(policy, variables, lanes.obs, memory.carry)
    values = jnp.concatenate([bars.value, last.value[None]])  # (S + 1, B, K + 1)
    terminated = bars.terminated[..., 0]
    done, cut = terminated | bars.truncated, bars.truncated & ~terminated
    obs = jnp.concatenate([players.obs[None], select_tree(done, draws.moves.fresh[0], bars.final_obs)])
    ends = final_values(policy, variables, memory.ends, final_observations(bars.final_obs, cut, slots))
    played = Transition(
        obs=obs[:-1],
        reset=jnp.concatenate([players.reset[None], done[:-1]]),
        action=bars.action,
        log_prob=bars.log_prob,
        value=values[:-1, :, 0],
        next_value=next_values(values[..., 0], cut, ends),
        reward=bars.reward[..., 0],
        terminated=terminated,
        truncated=bars.truncated,
        branches=branches_of(bars, values, done),
    )
    state, carry = first_lane((lanes.env_state, memory.carry))
    return RolloutState(state, obs[-1], done[-1], carry, keys), played


def begin(players: RolloutState, slots: int, lookahead: int) -> tuple[Lanes, Memory]:
    """Puts all lanes where the path is, before the first step; no branch has left yet."""
    path = (Lanes(players.env_state, players.obs), reset_carry(players.carry, players.reset))
    lanes, carry = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (len(x), lookahead + 1, *x.shape[1:])), path)
    return lanes, no_memory(carry, slots, len(players.reset))


def draw(keys: jax.Array, steps: int, num_assets: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws all randomness of a rollout: next keys (B,), action noise (S, B, N), environment keys (S, B)."""
    keys, key_noise, key_step = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(keys), 1, 0)
    noise = jax.vmap(lambda k: jax.random.normal(k, (steps, num_assets)), out_axes=1)(key_noise)
    return keys, noise, jax.vmap(lambda k: jax.random.split(k, steps), out_axes=1)(key_step)


def draw_ahead(env, params, noise: jax.Array, keys: jax.Array, lookahead: int) -> Draws:
    """Prepares the inputs of all steps, from noise (S, B, N) and keys (S, B)."""
    young = 1 + jnp.arange(len(noise)) % max(lookahead, 1)
    return Draws(noise, draw_moves(env, params, keys), young)


def draw_moves(env, params, keys: jax.Array) -> Moves:
    """Draws keys of the steps and the episodes that follow an end, as gymnax's `step` does from keys (S, B)."""
    key_step, key_reset = jnp.moveaxis(jax.vmap(jax.vmap(jax.random.split))(keys), 2, 0)
    return Moves(key_step, jax.vmap(jax.vmap(env.reset_env, (0, None)), (0, None))(key_reset, params))


def final_observations(obs: jax.Array, cut: jax.Array, slots: int) -> jax.Array:
    """Takes the observations at the time limits out of (S, B, D), in order, (J, B, D); unused slots are arbitrary."""
    number = jnp.cumsum(cut, axis=0) - 1
    steps = [jnp.argmax(cut & (number == slot), axis=0) for slot in range(slots)]
    return jnp.take_along_axis(obs, jnp.stack(steps)[..., None], axis=0)


def final_values(policy: Policy, variables: dict, carry: Any, obs: jax.Array) -> jax.Array:
    """Returns values (J, B) of the final observations (J, B, D), seen with a carry, leaves (J, B, H)."""
    _, output = jax.vmap(partial(act, policy, variables))(carry, obs)
    return output.value


def next_values(value: jax.Array, cut: jax.Array, ends: jax.Array) -> jax.Array:
    """Returns the value after each step, (S, B): of the next step, or of the final observation at a time limit.

    Args:
        value: (S + 1, B) before each step and after the last.
        cut: (S, B) bool, where a time limit ended an episode.
        ends: (J, B) values of the final observations, in order.
    """
    slot = jnp.cumsum(cut, axis=0) - 1  # number of the time limit in its environment
    final = jnp.take_along_axis(ends, jnp.clip(slot, 0, ends.shape[0] - 1), axis=0)
    return jnp.where(cut, final, value[1:])


def branches_of(bars: StepRecord, values: jax.Array, done: jax.Array) -> Branches:
    """Arranges the branches of a rollout by age.

    Args:
        bars: leaves (S, ...).
        values: (S + 1, B, K + 1) of the lanes before each step and after the last.
        done: (S, B) whether the path's episode ended with the step.
    """
    steps, ages = len(done), values.shape[2] - 1
    bar, age = jnp.arange(steps)[:, None], jnp.arange(ages)[None]
    lane = 1 + (bar - age) % max(ages, 1)  # (S, K)
    reward, ended, value = (x[bar, :, lane] for x in (bars.reward, bars.terminated, values[1:]))
    alive = [jnp.ones_like(ended[:, 0])] if ages else []
    for k in range(1, ages):
        goes_on = alive[-1] & ~ended[:, k - 1] & ~done
        alive.append(jnp.concatenate([jnp.zeros_like(done[:1]), goes_on[:-1]]))
    return Branches(reward, jnp.where(ended, 0, value), jnp.stack(alive, axis=1) if alive else ended)
