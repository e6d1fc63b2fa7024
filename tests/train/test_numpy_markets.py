"""The markets in numpy, which the peers train on, are the markets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accounts import make_candles

from envs.market import build_market, to_device
from envs.oracles.oracle import OracleParams
from envs.oracles.registry import make_oracle
from envs.trading import TradingEnv, make_params
from himari_jax.policies.policy import Output
from train.benchmarks.peers.numpy_markets import AccountTwin, OracleState, make_twin, score_twin
from train.oracles.scoring import score_policies

PARAMETERS = {
    "hidden-drift": ("sigma", "risk_aversion", "mu", "p"),
    "garleanu-pedersen": ("sigma", "risk_aversion", "phi", "signal", "cost"),
}


def twin_of(env, name):
    printed = {x: getattr(env, x) for x in PARAMETERS[name]} | {"optimum": env.optimum.value}
    if name == "garleanu-pedersen":
        printed["gain"] = tuple(float(x) for x in env.riccati[1])
    return make_twin({"kind": name, "parameters": printed})


@pytest.mark.parametrize("min_trade", [0.0, 0.01])
def test_numpy_account_equals_trading_env_over_500_random_steps(min_trade):
    market = build_market(make_candles(rows=1200, seed=3))
    market = market._replace(tradable=market.tradable & (np.arange(1200)[:, None] % 17 != 0))
    params = make_params(to_device(market), (range(400, 1100),), episode_steps=600, min_trade=min_trade)
    columns = {name: getattr(market, name)[:, 0] for name in ("to_fill", "to_mark", "features", "base", "tradable")}
    twin = AccountTwin(
        **columns,
        starts=np.asarray(params.starts),
        last=np.asarray(params.last),
        rate=0.001,
        min_trade=min_trade,
        max_position_pct=0.5,
        max_gross=1.0,
        ruin=0.5,
    )
    env, rng = TradingEnv(1), np.random.default_rng(0)
    step = jax.jit(env.step_env)
    state, mine = env.state_at(450), twin.state_at(np.array([450]))
    for _ in range(500):
        multiplier = rng.uniform(-0.2, 2.2, 1).astype(np.float32)
        obs, state, reward, terminated, _ = step(jax.random.key(0), state, jnp.asarray(multiplier), params)
        mine, gained, ruined, ends = twin.step(None, mine, multiplier)
        np.testing.assert_allclose(twin.observe(mine)[0], obs, atol=1e-6)
        np.testing.assert_allclose(gained[0], reward, atol=1e-6)
        assert ruined[0] == bool(terminated)
        assert ends[0] == bool(env.is_truncated(state, params))
    np.testing.assert_allclose(mine.log_equity[0], state.account.log_equity, atol=1e-6)


def shocks_of(name, env, key):
    first, second = jax.random.split(key)
    if name == "hidden-drift":
        return np.asarray(jax.random.bernoulli(first, env.p))[None], np.asarray(jax.random.normal(second))[None]
    return np.asarray(jax.random.normal(first, (1,))), np.asarray(jax.random.normal(second, (1,)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_numpy_oracle_equals_the_market_on_the_same_shocks(name):
    env = make_oracle(name, {})
    twin, params, rng = twin_of(env, name), OracleParams(max_steps_in_episode=jnp.int32(1000)), np.random.default_rng(1)
    _, state = env.reset_env(jax.random.key(5), params)
    mine = OracleState(np.asarray(state.market, np.float64)[None], np.asarray(state.weights, np.float64))
    memory, remembered = env.open_memory(), np.zeros(1)
    step, best = jax.jit(env.step_env), jax.jit(env.best)
    for bar in range(300):
        key, multiplier = jax.random.key(bar), rng.uniform(-0.2, 2.2, 1).astype(np.float32)
        memory, chosen = best(memory, state.market, state.weights)
        remembered, choice = twin.best(remembered, mine.market, mine.weights)
        np.testing.assert_allclose(choice, chosen, atol=1e-5)
        weights = twin.position(multiplier)
        expected = twin.expected(mine.market, mine.weights, weights)
        obs, state, reward, _, info = step(key, state, jnp.asarray(multiplier), params)
        market, returns = twin.advance(mine.market, shocks_of(name, env, key))
        np.testing.assert_allclose(weights * returns - twin.charges(mine.weights, weights), [reward], atol=1e-6)
        np.testing.assert_allclose(expected, [info["expected"]], atol=1e-7)
        mine = OracleState(market, weights)
        np.testing.assert_allclose(twin.observe(mine)[0], obs, atol=1e-5)


class Half:
    """A policy for both scores: half of what the first observed number says."""

    def initial_carry(self, batch):
        return ()

    def apply(self, variables, carry, obs):
        mean = 0.5 * obs[:, :1]
        return carry, Output(mean, jnp.full_like(mean, -jnp.inf), jnp.zeros(obs.shape[0]))


def half(obs, carry):
    return 2 / (1 + np.exp(-0.5 * obs[:, 0])), carry


@pytest.mark.parametrize("name", PARAMETERS)
def test_both_scores_of_a_policy_agree_within_their_errors(name):
    env = make_oracle(name, {})
    value, error = score_twin(twin_of(env, name), half, 400, 300, 1)
    score = score_policies(env, Half(), {"none": jnp.zeros((1, 1))}, jax.random.key(2), 400, 300)[0]
    assert abs(value - score.value) < 4 * np.hypot(error, score.error)


def test_the_best_policy_scores_the_optimum_exactly():
    env = make_oracle("garleanu-pedersen", {})
    twin = twin_of(env, "garleanu-pedersen")

    def best(obs, carry):
        weights = obs[:, 1].astype(np.float64)
        return 1 + (weights - twin.gain[0] * weights - twin.gain[1] * obs[:, 0]) / 5, carry

    value, _ = score_twin(twin, best, 20, 50, 0)
    assert value == pytest.approx(env.optimum.value, rel=1e-5)
