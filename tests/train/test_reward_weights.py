"""Laws of the parts of a reward that training rows decide: volatility=auto, moments of differential_sharpe."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import TINY, command

from envs.market import base_returns, build_market, risk_aversion
from himari_jax.command import parse
from himari_jax.positions.sizing import SizingRules, cap_targets
from train.config.ppo import Config
from train.training.reward import decided_terms, initial_moments
from train.training.session import build_session


@pytest.mark.parametrize("seed", range(5))
def test_multiplier_one_is_the_best_constant_of_log_return_with_the_weight_that_is_found(seed):
    rng = np.random.default_rng(seed)
    g = rng.normal(0.0006 * (1 + seed), 0.012, 200_000)
    weight = risk_aversion(g)
    assert weight > 0.25
    multiples = np.linspace(0.2, 2, 181)
    r = np.log1p(multiples[:, None] * g)
    value = (r - weight * r**2).mean(1)
    assert multiples[value.argmax()] == pytest.approx(1, abs=0.05)
    assert multiples[r.mean(1).argmax()] > 1.5  # log return alone buys leverage


def test_the_weight_is_at_least_a_quarter_and_needs_something_to_move():
    assert risk_aversion(np.random.default_rng(0).normal(-0.001, 0.01, 1000)) == 0.25
    assert risk_aversion(np.zeros(10)) == 0.25


def test_the_own_return_of_the_base_is_that_of_multiplier_one_without_costs(candles):
    history, rows = candles(3, 900), np.arange(400, 800)
    rules = SizingRules(max_gross=0.6)
    market = build_market(history, "vol-target", rules, step=6, dtype=np.float64)
    found = base_returns(market, rows, 0.5, 0.6)
    for k in (0, 77, 399):
        t = rows[k]
        held = cap_targets(np.ones(3), market.base[t], 0.5, 0.6)
        expected = (held * (history.close[t + 6] / history.close[t] - 1)).sum()
        assert found[k] == pytest.approx(expected, rel=1e-9)


def test_auto_is_printed_stored_and_a_weight_of_the_reward(tmp_path, capfd):
    assert command(tmp_path / "run", "--reward", "log_return", "volatility=auto") == 0
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    weight = stored["data"]["risk_aversion"]
    assert stored["flags"]["market"]["reward"] == ["log_return", "volatility=auto"]
    assert f"reward: volatility={weight:.4g}, by which multiplier 1 is the best constant" in capfd.readouterr().out
    session = build_session(parse(Config, [*TINY, "--reward", "log_return", "volatility=auto"], "train.ppo"))
    np.testing.assert_allclose(session.params.reward_weights, [1, weight], rtol=1e-6)
    plain = build_session(parse(Config, [*TINY, "--reward", "log_return", "volatility=2"], "train.ppo"))
    assert plain.risk_aversion is None
    np.testing.assert_array_equal(plain.params.reward_weights, [1, 2])
    assert decided_terms(plain.config.market, np.ones(3))[0] == {"log_return": 1, "volatility": 2}


def test_differential_sharpe_is_as_large_at_the_first_bar_of_an_episode_as_later():
    session = build_session(parse(Config, [*TINY, "--reward", "differential_sharpe"], "train.ppo"))
    env, params = session.learner.env, session.params

    def episode(key, params):
        _, state = env.reset(key, params)

        def step(state, key):
            _, state, reward, *_ = env.step_env(key, state, jnp.ones(1), params)
            return state, reward

        return jax.lax.scan(step, state, jax.random.split(key, 49))[1]

    play = jax.jit(jax.vmap(episode, (0, None)))
    keys = jax.random.split(jax.random.key(0), 512)
    first, *_, last = np.sqrt((np.asarray(play(keys, params)) ** 2).mean(0))
    assert 0.3 < first / last < 3
    cold = np.sqrt((np.asarray(play(keys, params.replace(initial_moments=jnp.zeros(2)))) ** 2).mean(0))
    assert cold[1:4].max() / last > 5  # what it was: nothing known, then a variance of one return


def test_other_rewards_begin_with_nothing_known():
    assert initial_moments({"log_return": 1.0}, np.ones(5)) == (0.0, 0.0)
    mean, square = initial_moments({"differential_sharpe": 1.0}, np.array([0.1, -0.1]))
    assert (mean, square) == (pytest.approx(np.log(0.99) / 2), pytest.approx((np.log(1.1) ** 2 + np.log(0.9) ** 2) / 2))
