"""The rollout written out step by step: path and branches apart, two passes of the policy a bar. A plain reference."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Output, Policy, act, log_prob, mean_action, squash
from himari_jax.trees import select_tree
from train.learning.rollout import Branches, RolloutState, Transition, draw


class BranchState(NamedTuple):
    """Branches that go on into the next bar, leaves (K - 1, B, ...), the youngest first."""

    env_state: Any
    carry: Any  # of the policy
    output: Output  # of the policy at the state
    alive: jax.Array  # bool


class FinalObservations(NamedTuple):
    """Final observations of the episodes that a time limit cut in this rollout, in J slots for each environment.

    Their values are wanted, and they are few: kept aside, they cost one small batch instead of a second
    forward pass at every step.
    """

    obs: jax.Array  # (J, B, D)
    carry: Any  # leaves (J, B, H): what the policy remembered when it would have seen `obs`
    used: jax.Array  # (B,) int32, slots in use


def collect_rollout(
    env, params, policy: Policy, variables: dict, players: RolloutState, steps: int, slots: int = 1, lookahead: int = 0
) -> tuple[RolloutState, Transition]:
    """Plays S steps; arguments and results are those of `train.learning.rollout.collect_rollout`."""
    keys, noise, step_keys = draw(players.keys, steps, env.action_space(params).shape[0])
    ends = no_final_observations(players, slots)

    branches = empty_branches(policy, variables, players, max(lookahead - 1, 0))

    def step(state: tuple[RolloutState, FinalObservations, BranchState], inputs: tuple[jax.Array, jax.Array]):
        players, ends, branches = state
        noise, key = inputs
        left = players.env_state
        players, ends, record, output = step_environments(env, params, policy, variables, players, ends, noise, key)
        if lookahead:
            youngest = BranchState(left, players.carry, output, jnp.ones_like(players.reset))
            branches = jax.tree.map(lambda new, old: jnp.concatenate([new[None], old]), youngest, branches)
            play = partial(step_branches, env, params, policy, variables)
            branches, record["branches"] = jax.vmap(play, (0, None, None))(branches, players.reset, key)
            branches = jax.tree.map(lambda x: x[:-1], branches)
        else:
            nothing = jnp.zeros((0, *record["reward"].shape))
            record["branches"] = Branches(nothing, nothing, nothing.astype(bool))
        return (players, ends, branches), record

    (players, ends, _), records = jax.lax.scan(step, (players, ends, branches), (noise, step_keys))
    _, bootstrap = act(policy, variables, reset_carry(players.carry, players.reset), players.obs)
    next_value = next_values(records, bootstrap.value, final_values(policy, variables, ends))
    return players._replace(keys=keys), Transition(next_value=next_value, **records)


def step_environments(
    env, params, policy, variables, players: RolloutState, ends: FinalObservations, noise: jax.Array, key: jax.Array
):
    """One step of all environments: act, trade, note what a time limit cut off."""
    carry = reset_carry(players.carry, players.reset)
    carry, output = act(policy, variables, carry, players.obs)
    u = output.mean + jnp.exp(output.log_std) * noise
    obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
        key, players.env_state, squash(u), params
    )
    record = {
        "obs": players.obs,
        "reset": players.reset,
        "action": u,
        "log_prob": log_prob(output, u),
        "value": output.value,
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
    }
    ends = keep_final_observation(ends, truncated & ~terminated, info["final_observation"], carry)
    return RolloutState(env_state, obs, terminated | truncated, carry, players.keys), ends, record, output


def empty_branches(policy: Policy, variables: dict, players: RolloutState, count: int) -> BranchState:
    """As many branches as there may be, none of them alive."""
    _, output = act(policy, variables, players.carry, players.obs)
    dead = BranchState(players.env_state, players.carry, output, jnp.zeros_like(players.reset))
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), dead)


def step_branches(
    env, params, policy, variables, branches: BranchState, done: jax.Array, key: jax.Array
) -> tuple[BranchState, Branches]:
    """One bar of the branches of one age, by their mean action, on the prices that the path meets.

    Args:
        env, params, policy, variables: as `collect_rollout` has them.
        branches: leaves (B, ...).
        done: (B,) whether the path's episode ends with this bar.
        key: (B,) of the path's step.

    Returns:
        branches before the next bar; the bar, leaves (B,).
    """
    keys = jax.vmap(jax.random.split)(key)[:, 0]  # as gymnax's `step` draws it
    obs, env_state, reward, terminated, _ = jax.vmap(env.step_env, (0, 0, 0, None))(
        keys, branches.env_state, mean_action(branches.output), params
    )
    carry, output = act(policy, variables, branches.carry, obs)
    bar = Branches(reward, jnp.where(terminated, 0, output.value), branches.alive)
    return BranchState(env_state, carry, output, branches.alive & ~terminated & ~done), bar


def no_final_observations(players: RolloutState, slots: int) -> FinalObservations:
    """No time limit met yet."""

    def blank(leaf: jax.Array) -> jax.Array:
        return jnp.zeros((slots, *leaf.shape), leaf.dtype)

    carry = jax.tree.map(blank, players.carry)
    return FinalObservations(blank(players.obs), carry, jnp.zeros(players.obs.shape[0], jnp.int32))


def keep_final_observation(ends: FinalObservations, cut: jax.Array, obs: jax.Array, carry: Any) -> FinalObservations:
    """Keeps the final observation and the carry of the environments where `cut` (B,) is set."""
    slot = jnp.arange(ends.obs.shape[0])[:, None]
    write = cut[None] & (slot == ends.used[None])  # (J, B)
    final = jax.tree.map(lambda x: x[None], (obs, carry))
    kept = select_tree(write, final, (ends.obs, ends.carry))
    return FinalObservations(kept[0], kept[1], ends.used + cut)


def final_values(policy: Policy, variables: dict, ends: FinalObservations) -> jax.Array:
    """Values of the noted final observations, (J, B)."""
    _, output = jax.vmap(lambda carry, obs: act(policy, variables, carry, obs))(ends.carry, ends.obs)
    return output.value


def next_values(records: dict, bootstrap: jax.Array, ends: jax.Array) -> jax.Array:
    """The value of what followed each step, (S, B): the next step's, or the final observation's where one was cut.

    Args:
        records: value, terminated, truncated (S, B).
        bootstrap: (B,) value of the observation after the last step.
        ends: (J, B) values of the final observations, in order.
    """
    following = jnp.concatenate([records["value"][1:], bootstrap[None]])
    cut = records["truncated"] & ~records["terminated"]
    slot = jnp.cumsum(cut, axis=0) - 1  # which of the environment's ends this is
    final = jnp.take_along_axis(ends, jnp.clip(slot, 0, ends.shape[0] - 1), axis=0)
    return jnp.where(cut, final, following)
