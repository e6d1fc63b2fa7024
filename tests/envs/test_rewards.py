"""Laws of the reward terms, and of what is made of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from episodes import EPISODE, rollout

from envs import rewards
from envs.market import to_device
from envs.plugins import REWARD_TERMS
from envs.state import EnvState, update_moments
from envs.trading import TradingEnv, make_params
from himari_jax.account import Trade, open_account
from himari_jax.errors import InputError

pytest_plugins = ["trading_worlds"]


def outcome(log_return=0.0, delta=(0.0,), held=(0.0,), log_equity=0.0, peak=0.0, moments=(0.0, 0.0), neutral=0.0):
    """Inputs of a reward term, of which each test sets those that matter."""
    zero = jnp.zeros((), jnp.int32)
    account = open_account(jnp.zeros(len(held)))._replace(log_equity=jnp.float32(log_equity))
    state = EnvState(zero, zero, account, jnp.float32(peak), jnp.asarray(moments))
    gain = jnp.float32(np.expm1(log_return))
    delta, held = jnp.asarray(delta), jnp.asarray(held)
    trade = Trade(delta, held, jnp.float32(0), held, gain, jnp.float32(log_return))
    return rewards.StepOutcome(state, state, trade, jnp.float32(neutral))


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        ("log_return", {"log_return": 0.013}, 0.013),
        # equity .9 after a peak of 1.2 lies a quarter below it
        ("drawdown", {"log_equity": np.log(0.9), "peak": np.log(1.2)}, -0.25),
        ("drawdown", {"log_equity": 0.2, "peak": 0.2}, 0.0),
        ("volatility", {"log_return": -0.02}, -0.0004),
        ("turnover", {"delta": (0.3, -0.2, 0.0)}, -0.5),
        # .3 and .1 are three quarters and one quarter: 9/16 + 1/16
        ("concentration", {"held": (0.3, 0.1)}, -0.625),
        ("concentration", {"held": (0.0, 0.0)}, 0.0),
        ("diversity", {"held": (0.3, 0.1)}, 0.375),
        ("diversity", {"held": (0.3, 0.0)}, 0.0),
        ("diversity", {"held": (0.0, 0.0)}, 0.0),
        # A = .01, B = .0005: variance .0004, its power 1.5 is 8e-6. R = .03: dA = .02, dB = .0009 - .0005 = .0004.
        # (.0005 * .02 - .01 * .0004 / 2) / 8e-6 = (1e-5 - 2e-6) / 8e-6 = 1
        ("differential_sharpe", {"log_return": 0.03, "moments": (0.01, 0.0005)}, 1.0),
        ("differential_sharpe", {"log_return": 0.03, "moments": (0.0, 0.0)}, 0.0),
        ("relative", {"neutral": 0.004}, -0.004),
    ],
)
def test_reward_terms_by_hand(name, seen, expected):
    assert float(REWARD_TERMS.load(name)(outcome(**seen), None)) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_moments_move_a_hundredth_of_the_way():
    moments = update_moments(jnp.array([0.01, 0.0005]), jnp.float32(0.03))
    np.testing.assert_allclose(moments, [0.0102, 0.000504], rtol=1e-5)


def test_the_reward_is_the_weighted_sum_of_its_terms_and_a_weight_of_zero_is_off(worlds):
    _, train, market, _ = worlds[3]
    actions = jnp.asarray(np.random.default_rng(1).uniform(0, 2, (40, 3)), jnp.float32)
    env, weights = TradingEnv(3, REWARD_TERMS.names), np.arange(1.0, 1 + len(REWARD_TERMS.names))

    def total(weights):
        params = make_params(to_device(market), train, episode_steps=EPISODE, reward_weights=tuple(weights))
        return rollout(env, params, actions, 600)[1]

    mixed, log_returns = total(weights)
    single = [total(row)[0] for row in np.diag(weights)]
    np.testing.assert_allclose(mixed, sum(single), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(single[0], log_returns, rtol=1e-6)


def test_relative_is_free_of_the_action_and_of_costs_by_hand(worlds):
    # Base .25 each of three: sum(.25 * (close[t+1] / close[t] - 1)), whatever is held and paid.
    history, train, market, _ = worlds[3]
    env = TradingEnv(3, ("relative",))
    params = make_params(to_device(market), train, episode_steps=EPISODE, commission_rate=0.01)
    for scale in (0.0, 2.0):
        _, (reward, _) = rollout(env, params, jnp.full((20, 3), scale), 600)
        growth = history.close[601:621] / history.close[600:620] - 1
        np.testing.assert_allclose(reward, -np.log1p(0.25 * growth.sum(1)), rtol=1e-4, atol=1e-7)


def losses_double(outcome, params):
    """Log return, losses twice."""
    return jnp.minimum(outcome.trade.log_return, 0) + outcome.trade.log_return


def test_a_function_is_a_term_beside_named_ones(worlds):
    _, train, market, _ = worlds[3]
    actions = jnp.asarray(np.random.default_rng(2).uniform(0, 2, (40, 3)), jnp.float32)

    def rewarded(terms, weights):
        params = make_params(to_device(market), train, episode_steps=EPISODE, reward_weights=weights)
        return rollout(TradingEnv(3, terms), params, actions, 600)[1][0]

    log_returns, turnovers = rewarded(("log_return",), (1.0,)), rewarded(("turnover",), (1.0,))
    expected = np.minimum(log_returns, 0) + log_returns + 0.1 * turnovers
    np.testing.assert_allclose(rewarded((losses_double, "turnover"), (1.0, 0.1)), expected, rtol=1e-4, atol=1e-7)
    assert TradingEnv(3, (losses_double,)) == TradingEnv(3, (losses_double,))
    assert TradingEnv(3, (losses_double,)) != TradingEnv(3, ("log_return",))
    assert TradingEnv(3, (rewards.turnover,)) == TradingEnv(3, ("turnover",))


class Unhashable:
    """A function that jit cannot tell from others."""

    __hash__ = None

    def __call__(self, outcome, params):
        return outcome.trade.log_return


@pytest.mark.parametrize(
    ("term", "said"),
    [("profit", "--reward profit: must be one of log_return"), (Unhashable(), "hashable")],
)
def test_a_term_that_is_none_is_refused_by_name(term, said):
    with pytest.raises(InputError, match=said):
        TradingEnv(1, (term,))
