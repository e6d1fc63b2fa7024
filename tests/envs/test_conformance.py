"""Every environment keeps gymnax's contract: with and without parameters, jitted, batched, through its wrappers."""

from functools import partial

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.experimental.rollout import RolloutWrapper
from gymnax.wrappers.gym import GymnaxToGymWrapper
from gymnax.wrappers.purerl import FlattenObservationWrapper, LogWrapper

import envs
from envs.oracles.registry import make_oracle
from envs.plugins import MARKETS
from himari_jax.features.market import observation_width

STEPS = 5  # of an episode
NAMES = ["trading-1", "trading-3", *MARKETS.names]


@pytest.fixture(scope="module")
def made(candles):
    """`made(name, **changes)`: an environment and its parameters, episodes of `STEPS` bars."""
    histories = {n: candles(n, 600, seed=n) for n in (1, 3)}

    def make(name, **changes):
        kind, _, assets = name.partition("-")
        if kind == "trading":
            return envs.make(histories[int(assets)], episode_steps=STEPS, **changes)
        env = make_oracle(name, {})
        return env, env.default_params.replace(max_steps_in_episode=jnp.int32(STEPS))

    return make


def described(tree):
    """Shape and type of every leaf."""
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("name", NAMES)
def test_spaces_say_shape_and_type_of_what_is_seen_and_done(made, name):
    env, params = made(name)
    obs, state = env.reset(jax.random.key(0), params)
    action = env.action_space(params).sample(jax.random.key(1))
    following, after, reward, terminated, truncated, info = env.step(jax.random.key(2), state, action, params)
    seen, done = env.observation_space(params), env.action_space(params)
    for shown in (obs, following, info["final_observation"]):
        assert (shown.shape, shown.dtype) == (seen.shape, seen.dtype)
        assert bool(seen.contains(shown))
    assert (action.shape, action.dtype) == (done.shape, done.dtype) == ((env.num_actions,), jnp.float32)
    assert bool(done.contains(action))
    assert bool(done.contains(jnp.full(done.shape, 2.0)))
    assert not bool(done.contains(jnp.full(done.shape, 2.1)))
    assert described((reward, terminated, truncated)) == (((), jnp.float32), ((), bool), ((), bool))
    assert described(after) == described(state)
    assert (info["terminated"], info["truncated"]) == (terminated, truncated)
    chex.assert_tree_all_finite((obs, following, reward))
    for space in (env.action_space(), env.observation_space()):
        assert space.shape in (done.shape, seen.shape)


@pytest.mark.parametrize("name", NAMES)
def test_without_parameters_reset_and_step_take_the_default_ones(made, name):
    env, _ = made(name)
    key, action = jax.random.key(3), jnp.full(env.num_assets, 0.7)
    bare = env.reset(key)
    chex.assert_trees_all_equal(bare, env.reset(key, env.default_params))
    chex.assert_trees_all_equal(
        env.step(key, bare[1], action), env.step(key, bare[1], action, params=env.default_params)
    )


@pytest.mark.parametrize("name", NAMES)
def test_gymnax_asks_for_the_observation_of_a_state_by_its_own_names(made, name):
    env, params = made(name)
    key, action = jax.random.key(4), jnp.full(env.num_assets, 0.7)
    obs, state = env.reset(key, params)
    np.testing.assert_array_equal(env.observe(key, state, None, params), obs)
    following, after, *_ = env.step(key, state, action, params)
    for shown in (env.observe(key, after, action, params), env.get_obs(after, params=params, key=key)):
        np.testing.assert_allclose(shown, following, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_cut_at_its_limit_and_the_next_one_begins_as_a_reset(made, name):
    env, params = made(name)
    _, state = env.reset(jax.random.key(5), params)
    action = jnp.full(env.num_assets, 1.3)
    for count in range(1, 2 * STEPS + 1):
        key = jax.random.key(count)
        key_step, key_reset = jax.random.split(key)
        stepped = env.step_env(key_step, state, action, params)
        obs, state, reward, terminated, truncated, info = env.step(key, state, action, params)
        ended = count % STEPS == 0
        assert (bool(terminated), bool(truncated)) == (False, ended)
        np.testing.assert_allclose(info["final_observation"], stepped[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(reward, stepped[2], rtol=1e-4, atol=1e-7)
        expected = env.reset_env(key_reset, params) if ended else stepped[:2]
        chex.assert_trees_all_close((obs, state), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["trading-1", "trading-3"])
def test_ruin_terminates_is_no_truncation_and_begins_anew(made, name):
    env, params = made(name, ruin=0.5)
    doomed = params.replace(ruin=jnp.float32(1.5))  # equity is below that from the start
    _, state = env.reset(jax.random.key(6), doomed)
    obs, after, _, terminated, truncated, info = env.step(jax.random.key(7), state, jnp.ones(env.num_assets), doomed)
    assert (bool(terminated), bool(truncated)) == (True, False)
    assert int(after.time) == 0
    assert float(info["final_observation"][12]) > 0  # the position that ruined
    assert float(obs[12]) == 0
    ruined = state.replace(account=state.account._replace(log_equity=jnp.log(jnp.float32(0.49))))
    assert (float(env.discount(ruined, params)), float(env.discount(state, params))) == (0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_side_by_side_and_jitted_is_one_by_one(made, name):
    env, params = made(name)
    keys = jax.random.split(jax.random.key(8), 3)

    def play(key):
        key_reset, key_play = jax.random.split(key)
        _, state = env.reset(key_reset, params)

        def step(state, key):
            key_action, key_step = jax.random.split(key)
            action = env.action_space(params).sample(key_action)
            obs, state, reward, terminated, truncated, _ = env.step(key_step, state, action, params)
            return state, (obs, reward, terminated, truncated)

        return jax.lax.scan(step, state, jax.random.split(key_play, 2 * STEPS))

    together = jax.jit(jax.vmap(play))(keys)
    for k, key in enumerate(keys):
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[k], together), play(key), rtol=1e-4, atol=1e-5)  # noqa: B023


@pytest.mark.parametrize("name", NAMES)
def test_other_parameters_of_the_same_shape_are_no_new_trace(made, name):
    env, params = made(name)
    chex.clear_trace_counter()

    @partial(jax.jit, static_argnums=0)
    @partial(chex.assert_max_traces, n=1)
    def step(env, key, state, action, params):
        return env.step(key, state, action, params)

    _, state = env.reset(jax.random.key(9), params)
    for k in range(3):
        varied = params.replace(max_steps_in_episode=jnp.int32(STEPS + k))
        step(env, jax.random.key(k), state, jnp.full(env.num_assets, 0.5 * k), varied)


def test_environments_of_one_shape_share_the_traces_of_reset_and_step(made):
    traced = []

    def noted(outcome, params):
        traced.append(1)
        return outcome.trade.log_return

    first, _ = made("trading-1", reward=noted)
    _, state = first.reset(jax.random.key(0))
    first.step(jax.random.key(0), state, jnp.ones(1))
    before = len(traced)
    for cost in (0.0, 0.01):
        env, params = made("trading-1", reward=noted, commission_rate=cost)
        traced_by_make = len(traced) - before
        _, state = env.reset(jax.random.key(0))
        env.step(jax.random.key(0), state, jnp.ones(1))
        env.step(jax.random.key(0), state, jnp.ones(1), params)
        assert len(traced) - before == traced_by_make
        before = len(traced)


def test_an_environment_never_answers_with_the_candles_of_another(made, candles):
    # A trace that closes over the default parameters holds them: it must belong to that environment alone.
    @partial(jax.jit, static_argnums=0)
    def first_price(env):
        return env.default_params.market.features[450, 0, 0]

    pair = [envs.make(candles(1, 600, seed=seed), episode_steps=STEPS) for seed in (1, 2)]
    assert pair[0][0] != pair[1][0]
    for env, params in pair:
        assert float(first_price(env)) == float(params.market.features[450, 0, 0])
    assert hash(pair[0][0]) == hash(pair[1][0])
    assert pair[0][0].shared == pair[1][0].shared


@pytest.mark.parametrize("name", NAMES)
def test_wrappers_of_gymnax_take_it(made, name):
    env, params = made(name)
    key, action = jax.random.key(10), jnp.ones(env.num_assets)
    logged = LogWrapper(FlattenObservationWrapper(env))
    for given in ((), (params,)):
        _, state = logged.reset(key, *given)
        _, state, reward, _, _, info = logged.step(key, state, action, *given)
        assert float(state.episode_returns) == float(reward)
        assert not bool(info["returned_episode"])
    obs, actions, rewards, _, done, total = RolloutWrapper(env=env, env_params=params).batch_rollout(
        jax.random.split(key, 2), None
    )
    assert obs.shape == (2, STEPS, *env.observation_space(params).shape)
    assert actions.shape == (2, STEPS, env.num_assets)
    np.testing.assert_array_equal(np.asarray(done).sum(1), 1)
    np.testing.assert_allclose(total[:, 0], rewards.sum(1), rtol=1e-4, atol=1e-6)
    gym = GymnaxToGymWrapper(env, params, seed=0)
    shown, _ = gym.reset(seed=1)
    assert gym.observation_space.contains(np.asarray(shown))
    shown, _, terminated, truncated, _ = gym.step(gym.action_space.sample())
    assert gym.observation_space.contains(np.asarray(shown))
    assert (bool(terminated), bool(truncated)) == (False, False)


def test_gymnax_can_register_it(candles):
    history = candles(1, 600)
    gymnax.register("Sizing-test-v0", lambda **settings: envs.make(history, **settings)[0])
    env, params = gymnax.make("Sizing-test-v0", episode_steps=STEPS)
    assert params is env.default_params
    assert env.reset(jax.random.key(0), params)[0].shape == (observation_width(1),)
