import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import hyper

from himari_jax.policies.policy import Output, entropy, log_prob
from train.learning.losses import Batch, gae, ppo_loss
from train.learning.minibatches import pick, shuffle
from train.learning.optimizer import learning_rate_at
from train.learning.rollout import next_values
from train.learning.state import BLOCKS, Sizes


def slow_gae(reward, value, next_value, terminated, truncated, gamma, lam):
    """O(T^2): the sum of all later deltas, each discounted, up to the end of its episode."""
    steps = len(reward)
    out = np.zeros(steps)
    for t in range(steps):
        weight = 1.0
        for k in range(t, steps):
            alive = 0.0 if terminated[k] else 1.0
            out[t] += weight * (reward[k] + gamma * alive * next_value[k] - value[k])
            if terminated[k] or truncated[k]:
                break
            weight *= gamma * lam
    return out


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_gae_is_the_discounted_sum_of_all_later_deltas_of_the_episode(seed, gamma, lam):
    rng = np.random.default_rng(seed)
    reward, value, following = rng.normal(size=(3, 23))
    terminated, truncated = rng.random((2, 23)) < 0.15
    fast = gae(*(jnp.asarray(x)[:, None] for x in (reward, value, following, terminated, truncated)), gamma, lam)
    slow = slow_gae(reward, value, following, terminated, truncated, gamma, lam)
    np.testing.assert_allclose(fast[:, 0], slow, rtol=1e-4, atol=1e-4)


def test_a_time_limit_bootstraps_and_ruin_does_not():
    # One step, r = 1, V = 2, V' = 10, gamma = .5: truncated 1 + 5 - 2 = 4, terminated 1 - 2 = -1.
    one = jnp.ones((1, 1))
    yes, no = one.astype(bool), ~one.astype(bool)
    assert gae(one, 2 * one, 10 * one, no, yes, 0.5, 0.9)[0, 0] == 4.0
    assert gae(one, 2 * one, 10 * one, yes, no, 0.5, 0.9)[0, 0] == -1.0


def test_the_value_after_a_time_limit_is_that_of_the_final_observation():
    # Two environments, three steps. The first is cut after step 0 and after step 2, the second is ruined after step 1.
    value = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    truncated = jnp.array([[True, False], [False, True], [True, False]])
    terminated = jnp.array([[False, False], [False, True], [False, False]])
    ends = jnp.array([[100.0, -1.0], [300.0, -1.0]])
    found = next_values(value, truncated & ~terminated, ends)
    # Ruin needs no value: what stands there (30) is multiplied by 0.
    np.testing.assert_array_equal(found, [[100.0, 20.0], [3.0, 30.0], [300.0, 40.0]])


def test_log_prob_and_entropy_are_those_of_independent_normals():
    from scipy.stats import norm

    output = Output(jnp.array([[0.3, -1.0]]), jnp.array([[-0.5, 0.2]]), jnp.zeros(1))
    u = np.array([[0.1, 0.7]])
    expected = norm.logpdf(u[0, 0], 0.3, np.exp(-0.5)) + norm.logpdf(u[0, 1], -1.0, np.exp(0.2))
    np.testing.assert_allclose(log_prob(output, jnp.asarray(u))[0], expected, rtol=1e-5)
    expected = norm.entropy(0, np.exp(-0.5)) + norm.entropy(0, np.exp(0.2))
    np.testing.assert_allclose(entropy(output)[0], expected, rtol=1e-5)


def one_batch(advantage, value, returns, old_value, log_ratio):
    """Three rows of one asset whose ratio to the rollout's policy is `exp(log_ratio)`."""
    rows = len(advantage)
    output = Output(jnp.zeros((1, rows, 1)), jnp.zeros((1, rows, 1)), jnp.asarray(value)[None])
    action = jnp.zeros((1, rows, 1))
    batch = Batch(
        obs=jnp.zeros((1, rows, 1)),
        reset=jnp.zeros((1, rows), bool),
        action=action,
        log_prob=log_prob(output, action) - jnp.asarray(log_ratio)[None],
        value=jnp.asarray(old_value)[None],
        advantage=jnp.asarray(advantage)[None],
        returns=jnp.asarray(returns)[None],
    )
    return output, batch


def test_the_clipped_loss_by_hand():
    # Advantages (-1, 1) are normalized already; ratios (2, 2), eps .2:
    # min(2 * -1, 1.2 * -1) = -2 and min(2 * 1, 1.2 * 1) = 1.2, mean -.4, loss +.4.
    output, batch = one_batch([-1.0, 1.0], [0.0, 0.0], [1.0, 3.0], [0.0, 0.0], np.log([2.0, 2.0]))
    terms = ppo_loss(output, batch, 0.2, 0.0, 0.5, clip_value=False)
    np.testing.assert_allclose(terms.policy_loss, 0.4, rtol=1e-5)
    # Value errors 1 and 9: half their mean is 2.5.
    np.testing.assert_allclose(terms.value_loss, 2.5, rtol=1e-6)
    np.testing.assert_allclose(terms.loss, 0.4 + 0.5 * 2.5, rtol=1e-5)
    assert terms.clip_fraction == 1.0


def test_a_clipped_value_loss_takes_the_larger_error():
    # Old value 0, new value 1, return 1: unclipped error 0, clipped to .2 the error is .64; half of it .32.
    output, batch = one_batch([-1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0])
    terms = ppo_loss(output, batch, jnp.float32(0.2), 0.0, 0.5, clip_value=True)
    np.testing.assert_allclose(terms.value_loss, 0.32, rtol=1e-5)


@pytest.mark.parametrize(("envs", "parts"), [(512, 4), (64, 4), (8, 8), (48, 4), (30, 5)])
def test_every_minibatch_takes_as_many_environments_from_every_block(envs, parts):
    sizes = Sizes(envs, 1, 1, parts, 10)
    index = shuffle(jax.random.key(1), sizes)
    assert index.shape == (parts, sizes.blocks, envs // parts // sizes.blocks)
    picked = np.stack([pick(jnp.arange(envs), one, axis=0) for one in index])
    assert sorted(picked.ravel()) == list(range(envs))
    per_block = envs // sizes.blocks
    counts = np.stack([np.bincount(row // per_block, minlength=sizes.blocks) for row in picked])
    assert (counts == envs // parts // sizes.blocks).all()
    assert sizes.blocks <= BLOCKS
    rollout = jnp.arange(3 * envs * 2).reshape(3, envs, 2)
    np.testing.assert_array_equal(pick(rollout, index[0], axis=1), rollout[:, picked[0]])


def test_the_learning_rate_falls_linearly_to_its_final_share_and_stays():
    h = hyper(learning_rate=1.0, final_learning_rate=0.02, total_updates=100)
    rates = [float(learning_rate_at(h, jnp.float32(n))) for n in (0, 50, 100, 200)]
    np.testing.assert_allclose(rates, [1.0, 0.51, 0.02, 0.02], rtol=1e-5)
