import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import World, hyper, noise_close

from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import act, squash, unroll
from train.artifacts.checkpoint import Checkpoints
from train.diagnosis.laws import differing
from train.learning.ppo import Learner, train_chunk
from train.learning.state import Sizes

SMALL = Sizes(num_envs=16, rollout_steps=24, update_epochs=2, num_minibatches=2, episode_steps=10)
KINDS = [("mlp", 1), ("mlp", 3), ("lstm", 1), ("lstm", 3)]


@pytest.fixture(scope="module")
def worlds():
    """One small world for each policy and N; episodes end inside rollouts."""
    return {kind: World(noise_close(700, kind[1]), kind[0], 0.001, SMALL) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_ratio_is_one_in_the_first_minibatch_of_every_update(worlds, kind):
    runner = worlds[kind].start()
    for _ in range(3):
        runner, printed = worlds[kind].train(1, runner)
        assert printed.first_ratio_error < 2e-5
        assert printed.terms.ratio_error > 1e-3  # later minibatches do move


@pytest.mark.parametrize("kind", KINDS)
def test_replay_over_time_equals_step_by_step_across_resets(worlds, kind):
    world = worlds[kind]
    runner = world.start()
    rng = np.random.default_rng(0)
    width = runner.players.obs.shape[-1]
    obs = jnp.asarray(rng.normal(size=(30, 5, width)), jnp.float32)
    reset = jnp.asarray(rng.random((30, 5)) < 0.2)
    carry = jax.tree.map(lambda x: x + 0.3, world.policy.initial_carry(5))
    after, replayed = unroll(world.policy, runner.variables, carry, obs, reset)
    for t in range(30):
        carry, output = act(world.policy, runner.variables, reset_carry(carry, reset[t]), obs[t])
        np.testing.assert_allclose(output.mean, replayed.mean[t], atol=2e-6)
        np.testing.assert_allclose(output.value, replayed.value[t], atol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), carry, after)


@pytest.mark.parametrize("kind", [("lstm", 1), ("mlp", 3)])
def test_next_value_is_the_value_of_what_followed_by_a_plain_loop(worlds, kind):
    world = worlds[kind]
    runner = world.start()
    _, played = jax.jit(world.learner.collect_rollout)(world.params, runner.variables, runner.players)
    state, obs, carry, reset = runner.players.env_state, runner.players.obs, runner.players.carry, runner.players.reset
    cut = 0
    step = jax.jit(jax.vmap(world.env.step, (0, 0, 0, None)))
    for t in range(SMALL.rollout_steps):
        np.testing.assert_allclose(obs, played.obs[t], atol=1e-6)
        carry, _ = act(world.policy, runner.variables, reset_carry(carry, reset), obs)
        keys = jax.random.split(jax.random.key(t), SMALL.num_envs)
        _, state, _, terminated, truncated, info = step(keys, state, squash(played.action[t]), world.params)
        _, following = act(world.policy, runner.variables, carry, info["final_observation"])
        np.testing.assert_allclose(following.value, played.next_value[t], atol=1e-5)
        np.testing.assert_array_equal(truncated, played.truncated[t])
        cut += int(truncated.sum())
        # Where an episode ended the rollout drew a new start: take its state from the record.
        reset = terminated | truncated
        if t + 1 < SMALL.rollout_steps:
            obs = played.obs[t + 1]
            rows = jnp.where(reset, row_of(world, obs), state.t)
            fresh = jax.vmap(world.env.state_at)(rows)
            state = jax.tree.map(partial(choose, reset), fresh, state)
    assert cut >= SMALL.num_envs  # the law was tested at ends, several in some environments


def choose(where, new, old):
    """Takes `new` in the environments where it is set."""
    return jnp.where(where.reshape(-1, *(1,) * (old.ndim - 1)), new, old)


def row_of(world, obs):
    """The market row of fresh observations, by their features."""
    features = np.asarray(world.market.features)[:, 0]
    distance = np.abs(features[None] - np.asarray(obs)[:, None, :12]).sum(-1)
    return jnp.asarray(distance.argmin(1), jnp.int32)


@pytest.mark.parametrize("kind", KINDS)
def test_updates_do_not_depend_on_how_they_are_cut_into_chunks(worlds, kind):
    whole, _ = worlds[kind].train(4)
    part, _ = worlds[kind].train(1)
    part, _ = worlds[kind].train(3, part)
    assert not differing(whole, part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_runner_goes_on_bit_for_bit(worlds, kind, tmp_path):
    world = worlds[kind]
    whole, _ = world.train(4)
    half, _ = world.train(2)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(2, half, {})
    like = jax.eval_shape(world.start)
    step, restored, _ = Checkpoints(tmp_path / "checkpoints").restore(like)
    assert step == 2
    assert not differing(half, restored)
    resumed, _ = world.train(2, restored)
    assert not differing(whole, resumed)


def test_any_number_of_updates_is_one_trace():
    traces = []

    class Counting(Learner):
        def update(self, runner, params):
            traces.append(1)
            return super().update(runner, params)

    world = World(noise_close(700, 1), "mlp", 0.001, SMALL, learner=Counting)
    runner, _ = world.train(1)
    once = len(traces)
    for count in (2, 3, 5):
        runner, _ = world.train(count, runner)
    assert len(traces) == once


def test_seeds_side_by_side_learn_what_each_learns_alone():
    world = World(noise_close(700, 1), "mlp", 0.001, SMALL)
    keys = jnp.stack([jax.random.key(3), jax.random.key(4)])

    policies = []
    for world.seed in (3, 4):
        policies.append(world.variables())
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *policies)
    both = jax.jit(jax.vmap(world.learner.init, (0, None, None, 0)))(keys, world.params, hyper(), stacked)
    both, _ = jax.jit(jax.vmap(lambda r, p: world.learner.update(r, p), (0, None)))(both, world.params)
    for k in (3, 4):
        world.seed = k
        alone, _ = world.train(1)
        for a, b in zip(jax.tree.leaves(alone.variables), jax.tree.leaves(both.variables), strict=True):
            np.testing.assert_allclose(a, b[k - 3], atol=2e-5)


# What a policy must learn, and that it is the advantages that teach it.


class Untaught(Learner):
    """The same learner with every advantage set to 0."""

    def compute_advantages(self, played, runner):
        batch = super().compute_advantages(played, runner)
        return batch._replace(advantage=jnp.zeros_like(batch.advantage))


DRIFT = 0.002


def drifting(sign):
    return noise_close(1500, 1, drift=sign * DRIFT, sigma=0.002)


def up(learner):
    """Mean weight where prices rise all the time; the cap is .5."""
    world = World(drifting(+1), learner=learner)
    return world.play(world.train(80)[0]).held[50:].mean() > 0.45


def down(learner):
    """Mean weight where prices fall all the time."""
    world = World(drifting(-1), learner=learner)
    return world.play(world.train(80)[0]).held[50:].mean() < 0.05


def leak(learner):
    """Share of what the next return, seen in the observation, could earn: sum(.5 max(r, 0))."""
    world = World(noise_close(1500, 1), learner=learner, leak=True)
    path = world.play(world.train(60, world.start(gamma=0.0))[0])
    r = np.asarray(world.market.to_mark[400:-1, 0], np.float64)
    return (path.held[:, 0] * r).sum() > 0.9 * (0.5 * np.maximum(r, 0)).sum()


def fee(learner):
    """A policy that trades on the leak for nothing stops when the fee (5 %) exceeds the edge (1 %)."""
    world = World(noise_close(1500, 1), leak=True)
    trader, _ = world.train(40, world.start(gamma=0.0))
    before = np.abs(world.play(trader).delta).sum()
    dear = world.params_at(0.05)
    # Only the advantages may teach it: without the value loss nothing else moves the shared core.
    trader = trader._replace(hyper=trader.hyper._replace(vf_coef=jnp.float32(0), learning_rate=jnp.float32(5e-3)))
    calm, _ = jax.jit(partial(train_chunk, learner(world.env, world.policy, world.learner.sizes)))(
        trader, dear, np.int32(200)
    )
    after = np.abs(world.play(calm, dear).delta).sum()
    return after < 0.2 * before


LESSONS = [up, down, leak, fee]


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_policy_learns(lesson):
    assert lesson(Learner)


@pytest.mark.parametrize("lesson", LESSONS)
def test_without_advantages_the_policy_learns_nothing(lesson):
    assert not lesson(Untaught)


def test_sizes_know_how_many_time_limits_fit_a_rollout():
    assert SMALL.slots == 3  # 24 bars, episodes of 10
    assert dataclasses.replace(SMALL, episode_steps=24).slots == 1
    assert dataclasses.replace(SMALL, episode_steps=500).slots == 1
