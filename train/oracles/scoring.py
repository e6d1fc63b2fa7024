"""Scores a policy against the known optimum: both on the same path, by the mean that the simulator knows."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.oracles.oracle import Oracle
from himari_jax.policies.policy import Policy, act, mean_action

BURN_IN = 100  # bars before the score counts


class Score(NamedTuple):
    """Scores of one policy, means over bars."""

    value: float  # utility per bar
    error: float  # standard error of it
    turnover: float  # sum |dw|
    best_turnover: float  # of the best policy
    weights: np.ndarray  # (N,)
    spread: float  # deviation of the multiplier over bars, mean over assets


class OraclePath(NamedTuple):
    """A policy beside the best one, time first."""

    seen: np.ndarray  # (S, D)
    weights: np.ndarray  # (S, N)
    best: np.ndarray  # (S, N) of the best policy on its own path
    instead: np.ndarray  # (S, N) that the best policy would take in the policy's place
    multiplier: np.ndarray  # (S, N)
    returns: np.ndarray  # (S, N) of the assets


class OracleState(NamedTuple):
    """The two on one path."""

    market: jax.Array  # (K,)
    weights: jax.Array  # (N,) the policy's
    best: jax.Array  # (N,) the best policy's
    carry: Any  # of the policy
    memory: Any  # of the best policy


def score_policies(env: Oracle, policy: Policy, variables: dict, key: jax.Array, paths: int, bars: int) -> list[Score]:
    """Scores K policies by their conditional means against the best policy's on the same paths.

    `value = optimum + mean(score - best score)`: the best policy's known value is a control variate.

    Args:
        env: the market.
        policy: the module.
        variables: leaves (K, ...).
        key: of the paths.
        paths: how many.
        bars: of each, after a burn-in of 100.
    """
    info = jax.device_get(play_all(env, policy, paths, bars, variables, key))
    scores = []
    for gap, turnover, best, weights, spread in zip(*info, strict=True):
        error = float(gap.std() / np.sqrt(len(gap)))
        value = env.optimum.value + float(gap.astype(np.float64).mean())
        scores.append(Score(value, error, float(turnover), float(best), weights, float(spread)))
    return scores


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def play_all(env: Oracle, policy: Policy, paths: int, bars: int, variables: dict, key: jax.Array) -> tuple:
    """Plays K policies: gap to the best by path (K, P), both turnovers (K,), mean weights (K, N), spread (K,)."""
    keys = jax.random.split(key, paths)

    def one(variables: dict) -> tuple:
        state = jax.vmap(partial(initial_state, env, policy))(keys)
        state = state._replace(carry=policy.initial_carry(paths))

        def step(state: OracleState, key: jax.Array):
            moves = jax.random.split(key, paths)
            return step_both(env, policy, variables, state, moves)

        burn, rest = jax.random.split(jax.random.fold_in(key, 1))
        state, _ = jax.lax.scan(step, state, jax.random.split(burn, BURN_IN))
        _, (gap, turnover, best, weights, multiplier, *_) = jax.lax.scan(step, state, jax.random.split(rest, bars))
        spread = multiplier.std((0, 1)).mean()
        return gap.mean(0), turnover.mean(), best.mean(), weights.mean((0, 1)), spread

    return jax.lax.map(one, variables)


def initial_state(env: Oracle, policy: Policy, key: jax.Array) -> OracleState:
    """Opens a path for both policies."""
    weights = env.position(jnp.full(env.num_assets, env.start))
    return OracleState(env.open(key), weights, weights, (), env.open_memory())


def step_both(env: Oracle, policy: Policy, variables: dict, state: OracleState, keys: jax.Array):
    """Steps the policy and the best policy by one bar on all paths."""
    market = state.market
    obs = jax.vmap(env.make_observation)(market, state.weights)
    carry, output = act(policy, variables, state.carry, obs)
    multiplier = mean_action(output)
    weights = jax.vmap(env.position)(multiplier)
    memory, best = jax.vmap(env.best)(state.memory, market, state.best)
    _, instead = jax.vmap(env.best)(state.memory, market, state.weights)
    gap = jax.vmap(env.expected)(market, state.weights, weights) - jax.vmap(env.expected)(market, state.best, best)
    after, returns = jax.vmap(env.advance)(keys, market)
    info = (
        gap,
        jnp.abs(weights - state.weights).sum(-1),
        jnp.abs(best - state.best).sum(-1),
        weights,
        multiplier,
        obs,
        best,
        instead,
        returns,
    )
    drift = jax.vmap(env.drift)
    return OracleState(after, drift(weights, returns), drift(best, returns), carry, memory), info


def simulate_path(env: Oracle, policy: Policy, variables: dict, key: jax.Array, bars: int) -> OraclePath:
    """Simulates one path of one policy, for a plot.

    Args:
        env: the market.
        policy: the module.
        variables: of one policy.
        key: of the path.
        bars: S, after the burn-in.
    """
    state = jax.vmap(partial(initial_state, env, policy))(key[None])._replace(carry=policy.initial_carry(1))
    info = play_one(env, policy, variables, state, jax.random.split(key, BURN_IN + bars))
    _, _, _, weights, multiplier, seen, best, instead, returns = (np.asarray(x)[BURN_IN:, 0] for x in info)
    return OraclePath(seen, weights, best, instead, multiplier, returns)


@partial(jax.jit, static_argnums=(0, 1))
def play_one(env: Oracle, policy: Policy, variables: dict, state: OracleState, keys: jax.Array) -> tuple:
    """Unrolls `step_both` on one path; its outputs, time first."""

    def step(state: OracleState, key: jax.Array):
        return step_both(env, policy, variables, state, key[None])

    info: tuple = jax.lax.scan(step, state, keys)[1]
    return info
