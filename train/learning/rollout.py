"""Playing: the policy acts in B environments for S steps. Knows no PPO."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Output, Policy, act, log_prob, mean_action, squash
from himari_jax.trees import select_tree


class Branches(NamedTuple):
    """What the mean action does beside the action, on the prices that the action meets.

    At every step a branch leaves the path and follows the mean action for K bars: at a bar there are K of them, that
    of age i left i bars before.
    """

    reward: jax.Array  # (S, K, B) of the bar
    value: jax.Array  # (S, K, B) of where the bar led; 0 after ruin
    alive: jax.Array  # (S, K, B) bool, whether neither the path's episode nor the branch's ended since it left


class BranchState(NamedTuple):
    """Branches that go on into the next bar, leaves (K - 1, B, ...), the youngest first."""

    env_state: Any
    carry: Any  # of the policy
    output: Output  # of the policy at the state
    alive: jax.Array  # bool


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
    """B environments in the middle of their episodes, and what the policy remembers of them."""

    env_state: Any  # leaves (B, ...)
    obs: jax.Array  # (B, D)
    reset: jax.Array  # (B,) bool, whether `obs` starts an episode
    carry: Any  # leaves (B, H), or ()
    keys: jax.Array  # (B,) a key for each environment


class FinalObservations(NamedTuple):
    """Final observations of the episodes that a time limit cut in this rollout, in J slots for each environment.

    Their values are wanted, and they are few: kept aside, they cost one small batch instead of a second
    forward pass at every step.
    """

    obs: jax.Array  # (J, B, D)
    carry: Any  # leaves (J, B, H): what the policy remembered when it would have seen `obs`
    used: jax.Array  # (B,) int32, slots in use


def reset_rollout(env, params, policy: Policy, keys: jax.Array) -> RolloutState:
    """Fresh environments; episodes are staggered where the environment knows how.

    Args:
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
    """Plays S steps.

    Args:
        env: a gymnax environment (`step` returns six values).
        params: its parameters, shared by the B environments.
        policy: the module.
        variables: its parameters and constants.
        players: where the environments stand.
        steps: S.
        slots: J, the most time limits that an environment can meet in S steps.
        lookahead: K, bars that the mean action is played beside every action: K more steps of the environment, and
            of the policy for the value of where they lead.
    """
    keys, noise, step_keys = draw(players.keys, steps, env.action_space(params).shape[0])
    ends = no_final_observations(players, slots)

    twins = empty_branches(policy, variables, players, max(lookahead - 1, 0))

    def step(state: tuple[RolloutState, FinalObservations, BranchState], inputs: tuple[jax.Array, jax.Array]):
        players, ends, twins = state
        noise, key = inputs
        left = players.env_state
        players, ends, record, output = step_environments(env, params, policy, variables, players, ends, noise, key)
        if lookahead:
            youngest = BranchState(left, players.carry, output, jnp.ones_like(players.reset))
            twins = jax.tree.map(lambda new, old: jnp.concatenate([new[None], old]), youngest, twins)
            play = partial(step_branches, env, params, policy, variables)
            twins, record["branches"] = jax.vmap(play, (0, None, None))(twins, players.reset, key)
            twins = jax.tree.map(lambda x: x[:-1], twins)
        else:
            nothing = jnp.zeros((0, *record["reward"].shape))
            record["branches"] = Branches(nothing, nothing, nothing.astype(bool))
        return (players, ends, twins), record

    (players, ends, _), records = jax.lax.scan(step, (players, ends, twins), (noise, step_keys))
    _, bootstrap = act(policy, variables, reset_carry(players.carry, players.reset), players.obs)
    next_value = next_values(records, bootstrap.value, final_values(policy, variables, ends))
    return players._replace(keys=keys), Transition(next_value=next_value, **records)


def draw(keys: jax.Array, steps: int, num_assets: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """All randomness of a rollout at once: next keys (B,), action noise (S, B, N), environment keys (S, B)."""
    keys, key_noise, key_step = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(keys), 1, 0)
    noise = jax.vmap(lambda k: jax.random.normal(k, (steps, num_assets)), out_axes=1)(key_noise)
    return keys, noise, jax.vmap(lambda k: jax.random.split(k, steps), out_axes=1)(key_step)


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
    env, params, policy, variables, twins: BranchState, done: jax.Array, key: jax.Array
) -> tuple[BranchState, Branches]:
    """One bar of the branches of one age, by their mean action, on the prices that the path meets.

    Args:
        env, params, policy, variables: as `collect_rollout` has them.
        twins: leaves (B, ...).
        done: (B,) whether the path's episode ends with this bar.
        key: (B,) of the path's step.

    Returns:
        twins in front of the next bar; the bar, leaves (B,).
    """
    keys = jax.vmap(jax.random.split)(key)[:, 0]  # as gymnax's `step` draws it
    obs, env_state, reward, terminated, _ = jax.vmap(env.step_env, (0, 0, 0, None))(
        keys, twins.env_state, mean_action(twins.output), params
    )
    carry, output = act(policy, variables, twins.carry, obs)
    bar = Branches(reward, jnp.where(terminated, 0, output.value), twins.alive)
    return BranchState(env_state, carry, output, twins.alive & ~terminated & ~done), bar


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
