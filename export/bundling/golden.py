"""Golden numbers and probes of a bundle: observations of the run's candles with their outputs by Flax."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market, stack_decisions, to_device
from envs.state import EnvParams
from envs.trading import TradingEnv, make_params
from himari_jax.candles import COLUMNS
from himari_jax.errors import InputError
from himari_jax.features.observation import assemble
from himari_jax.policies.policy import Policy, act, mean_action
from himari_jax.splits import decision_rows
from train.data.evaluation_data import EvaluationData
from train.data.market import market_from
from train.data.members import Member
from train.simulation.trained import Agent

GOLDEN_STEPS = 256  # decisions of the golden rollout, where there are as many
FEWEST_GOLDEN = 16
PROBES = 2048  # further observations that graph and Flax must agree on; not shipped


class GoldenSource(NamedTuple):
    """The market that golden numbers and probes are taken from."""

    member: Member
    rows: range  # of the golden decisions, in the candles of the member
    market: Market


def golden_source(agent: Agent, data: EvaluationData, inputs: Sequence[tuple[np.ndarray, np.ndarray]]) -> GoldenSource:
    """Finds the newest decisions in one stretch, at most 256 of them, and builds the market of their member.

    Args:
        agent: of the run.
        data: candles of the run.
        inputs: `market_features` of each member.

    Raises:
        InputError: no stretch of the test span has 16 of them.
    """
    found = [
        (each, stretch[-GOLDEN_STEPS:], computed)
        for each, computed in zip(data.members, inputs, strict=True)
        for stretch in reversed(each.span)
    ]
    member, rows, computed = max(found, key=lambda choice: len(choice[1]))
    if len(rows) < FEWEST_GOLDEN:
        raise InputError(
            f"the run's test span has no {FEWEST_GOLDEN} decisions in a row for the golden numbers; use more candles"
        )
    market = market_from(member.candles, agent.config.market, 0, member.base, agent.features, computed)
    return GoldenSource(member, rows, market)


def make_golden(agent: Agent, variables: Any, source: GoldenSource) -> dict[str, np.ndarray]:
    """Rolls out the policy in the environment, by Flax; returns candles, observations and outputs."""
    config, candles, rows = agent.config.market, source.member.candles, source.rows
    market, span = stack_decisions([(source.market, (rows,))])
    params = make_params(
        to_device(market),
        span,
        episode_steps=len(rows),
        commission_rate=config.commission_rate,
        slippage_bps=config.slippage_bps,
        max_position_pct=config.max_position_pct,
        max_gross=config.max_gross,
        min_trade=config.min_trade,
        ruin=0.0,
    )
    carry, info = roll_out(agent.policy, variables, params, len(rows))
    names = ("observation", "multiplier", "value", "weights", "entry_ratio")
    lookback = agent.features.lookback(candles.bar_ms)
    window = slice(rows[0] - lookback + 1, rows[-1] + 1)
    return {
        **{name: np.asarray(x) for name, x in zip(names, info, strict=True)},
        **{f"carry_{i}": np.asarray(leaf[0]) for i, leaf in enumerate(jax.tree.leaves(carry))},
        **{name: getattr(candles, name)[window] for name in COLUMNS},
        "time": candles.time[window],
        "symbols": np.asarray(candles.symbols),
        "row": np.asarray(rows) - window.start,
    }


def roll_out(policy: Policy, variables: Any, params: EnvParams, steps: int) -> tuple[Any, Any]:
    """Plays the mean actions of a policy from row 0 on; returns the last recurrent state, and what was seen and done.

    Args:
        policy: of the run.
        variables: of one seed.
        params: of the market.
        steps: to play, S.

    Returns:
        Leaves (1, ...), and observation, multiplier, value, weights, entry ratios before each step, (S, ...).
    """
    env = TradingEnv(policy.num_assets)

    @jax.jit
    def rollout(variables: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            env_state, carry = state
            obs = env.get_obs(env_state, params)
            carry, output = act(policy, variables, carry, obs[None])
            multiplier = mean_action(output)[0]
            account = env_state.account
            _, env_state, *_ = env.step_env(jax.random.key(0), env_state, multiplier, params)
            info = obs, multiplier, output.value[0], account.weights, account.entry_ratio
            return (env_state, carry), info

        begin = env.state_at(jnp.int32(0)), policy.initial_carry(1)
        return jax.lax.scan(step, begin, length=steps)

    (_, carry), info = rollout(variables)
    return carry, info


def make_probe(agent: Agent, variables: Any, source: GoldenSource) -> dict[str, np.ndarray]:
    """Builds observations of the run's candles with random accounts and recurrent states, and their outputs by Flax."""
    rng, assets, market = np.random.default_rng(0), agent.policy.num_assets, source.market
    rows = rng.choice(decision_rows(source.member.span), PROBES)
    weights = rng.dirichlet(np.ones(assets + 1), PROBES)[:, :assets] * (rng.random((PROBES, assets)) < 0.8)
    ratio = np.exp(rng.normal(0, 0.1, (PROBES, assets)))
    obs = assemble(market.features[rows], market.corr[rows], weights, ratio).astype(np.float32)
    leaves, tree = jax.tree.flatten(agent.policy.initial_carry(PROBES))
    carry = [rng.uniform(-1, 1, leaf.shape).astype(np.float32) for leaf in leaves]
    after, output = jax.jit(act, static_argnums=0)(agent.policy, variables, jax.tree.unflatten(tree, carry), obs)
    return {
        "observation": obs,
        "multiplier": np.asarray(mean_action(output)),
        "value": np.asarray(output.value),
        **{f"carry_{i}": leaf for i, leaf in enumerate(carry)},
        **{f"next_carry_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(after))},
    }
