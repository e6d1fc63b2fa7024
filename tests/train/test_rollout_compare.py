"""The mean action beside every action, and the gradient through the account."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from worlds import World, hyper, noise_close

from envs.oracles.oracle import OracleParams
from envs.oracles.registry import make_oracle
from himari_jax.errors import InputError
from himari_jax.policies.policy import Output, act, mean_action, squash
from train.config.ppo import Config, PolicyConfig, PPOConfig
from train.learning import columns
from train.learning.losses import branch_td_errors, counterfactual_advantage
from train.learning.optimizer import anneal_log_std
from train.learning.pathwise import PathwiseLearner
from train.learning.ppo import Learner
from train.learning.rollout import draw, draw_moves
from train.learning.state import Sizes
from train.oracles.scoring import score_policies

SMALL = Sizes(
    num_envs=16, rollout_steps=24, update_epochs=2, num_minibatches=2, episode_steps=10, lookahead=3
)  # episodes end inside rollouts
KINDS = [("mlp", 1), ("mlp", 3), ("lstm", 1)]


def world(kind, log_std=-0.5, cost=0.001, learner=Learner, seed=0):
    return World(noise_close(700, kind[1]), kind[0], cost, SMALL, learner, log_std=log_std, seed=seed)


def played_by(one):
    runner = one.start()
    _, played = jax.jit(one.learner.collect_rollout)(one.params, runner.variables, runner.players)
    return jax.tree.map(np.asarray, played)


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_every_branch_is_the_path(kind):
    played = played_by(world(kind, log_std=-20.0))
    led = np.where(played.terminated, 0, played.next_value)
    for age in range(SMALL.lookahead):
        alive = played.branches.alive[:, age]
        assert alive.mean() > 0.5
        np.testing.assert_allclose(played.branches.reward[:, age][alive], played.reward[alive], atol=1e-7)
        np.testing.assert_allclose(played.branches.value[:, age][alive], led[alive], atol=1e-5)
    assert np.abs(played.reward).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_ends_with_the_episode_that_it_left(kind):
    played = played_by(world(kind))
    done = played.terminated | played.truncated
    assert done.any()
    assert played.branches.alive[:, 0].all()
    for age in range(1, SMALL.lookahead):
        assert not played.branches.alive[:age, age].any()  # nothing left before the rollout
        since = np.array([done[t - age : t].any(0) for t in range(age, len(done))])
        np.testing.assert_array_equal(played.branches.alive[age:, age], ~since)  # nobody is ruined here


@pytest.mark.parametrize("kind", KINDS)
def test_with_noise_the_branches_meet_the_prices_of_the_path(kind):
    played = played_by(world(kind, log_std=0.0, cost=0.0))
    for age in range(SMALL.lookahead):
        alive = played.branches.alive[:, age]
        reward, beside = played.reward[alive], played.branches.reward[:, age][alive]
        assert np.abs(reward - beside).max() > 1e-4
        assert np.corrcoef(reward, beside)[0, 1] > 0.7


def test_a_branch_follows_the_mean_action_from_where_it_left():
    # Replayed one by one: from the state before a step, by the mean action, on the keys of the path.
    one = world(("mlp", 1), log_std=0.0, cost=0.001)
    runner = one.start()
    _, played = jax.jit(one.learner.collect_rollout)(one.params, runner.variables, runner.players)
    env, policy, players = one.learner.env, one.learner.policy, runner.players
    _, noise, keys = draw(players.keys, SMALL.rollout_steps, 1)
    state, obs = players.env_state, players.obs
    branches = []
    for bar in range(8):
        branches = [(state, obs), *branches][: SMALL.lookahead]
        market_keys = jax.vmap(jax.random.split)(keys[bar])[:, 0]
        for age, (at, seen) in enumerate(branches):
            _, output = act(policy, runner.variables, (), seen)
            stepped = jax.vmap(env.step_env, (0, 0, 0, None))(market_keys, at, mean_action(output), one.params)
            branches[age] = (stepped[1], stepped[0])
            alive = np.asarray(played.branches.alive[bar, age])
            np.testing.assert_allclose(played.branches.reward[bar, age][alive], stepped[2][alive], atol=1e-7)
        _, output = act(policy, runner.variables, (), obs)
        action = squash(output.mean + jnp.exp(output.log_std) * noise[bar])
        obs, state, *_ = jax.vmap(env.step, (0, 0, 0, None))(keys[bar], state, action, one.params)
    assert len(branches) == SMALL.lookahead


def test_the_bars_of_the_comparison_follow_policy_and_baseline():
    lstm = PolicyConfig(policy="lstm")
    assert [Config().lookahead, Config(policy=lstm).lookahead] == [2, 1]
    assert Config(policy=lstm, ppo=PPOConfig(lookahead=4)).lookahead == 4
    assert Config(ppo=PPOConfig(baseline="value")).lookahead == 0
    for wrong in ({"lookahead": 0}, {"lookahead": 65}, {"lookahead": 2, "baseline": "value"}):
        with pytest.raises(InputError, match="--lookahead"):
            PPOConfig(**wrong)


def test_nothing_is_played_beside_unless_asked_for():
    played = played_by(World(noise_close(700, 1), "mlp", 0.001, SMALL.__class__(16, 24, 2, 2, 10)))
    assert played.branches.reward.shape == (24, 0, 16)


def test_the_compared_advantage_by_hand():
    delta = jnp.array([[1.0], [2.0], [3.0]])
    beside = jnp.array([[0.5, 9.0], [0.25, 4.0], [1.0, 8.0]])[..., None]  # age 1 at bar 0 left before the rollout
    alive = jnp.array([[True, False], [True, True], [True, False]])[..., None]
    found = counterfactual_advantage(delta, beside, alive, jnp.float32(0.5))
    # The episode ends at bar 1, so that nothing is compared later there, nor after the last bar.
    np.testing.assert_allclose(found[:, 0], [1 - 0.5 + 0.5 * (0.25 - 4.0), 2 - 0.25, 3 - 1.0])


def test_the_errors_of_branches_by_hand():
    reward, value = jnp.array([[1.0, 0.0], [2.0, 3.0]])[..., None], jnp.array([[4.0, 0.0], [6.0, 8.0]])[..., None]
    found = branch_td_errors(reward, value, jnp.array([[10.0], [20.0]]), jnp.float32(0.5))
    np.testing.assert_allclose(found[:, 0, 0], [1 + 2 - 10, 2 + 3 - 20])
    assert found[1, 1, 0] == 3 + 4 - 4  # it stood where the bar before had led


def test_with_as_many_bars_as_an_episode_has_the_value_is_not_asked():
    # The sum telescopes: A = what the branch after the action earns minus what the one before it earns.
    rng = np.random.default_rng(0)
    steps, gamma = 6, 0.9
    reward, own = rng.normal(size=(steps, steps, 1)), rng.normal(size=(steps, 1))
    alive = np.tril(np.ones((steps, steps), bool))[..., None]

    def advantages(value, start):
        led = value.copy()
        led[-1] = 0  # the episode ends in ruin
        after = np.concatenate([start[1:], np.zeros((1, 1))])
        delta = own + gamma * after - start
        beside = branch_td_errors(jnp.asarray(reward), jnp.asarray(led), jnp.asarray(start), gamma)
        return counterfactual_advantage(jnp.asarray(delta), beside, jnp.asarray(alive), gamma)[0, 0]

    found = [advantages(rng.normal(size=reward.shape), rng.normal(size=own.shape)) for _ in range(2)]
    after = sum(gamma**k * reward[k, k - 1, 0] for k in range(1, steps))
    before = sum(gamma**k * reward[k, k, 0] for k in range(steps))
    np.testing.assert_allclose(found, own[0, 0] + after - before, rtol=1e-5)


def test_the_mean_action_is_the_mean_of_the_actions():
    noise = jax.random.normal(jax.random.key(0), (200_000, 1))
    for mean in (-3.0, -0.7, 0.0, 1.5):
        for log_std in (-2.0, -0.5, 0.0):
            output = Output(jnp.full((1, 1), mean), jnp.full((1, 1), log_std), jnp.zeros(1))
            drawn = squash(output.mean + jnp.exp(output.log_std) * noise).mean()
            assert abs(mean_action(output)[0, 0] - drawn) < 0.012


def test_exploration_is_annealed_to_its_share_and_no_further():
    scalars = hyper(final_std=0.25, total_updates=8)
    variables = {"params": {"log_std": jnp.array([-0.5, 1.0])}}
    for update in range(16):  # twice the schedule: what is left stays
        variables = anneal_log_std(variables, scalars, jnp.int32(update))
        if update >= 7:
            np.testing.assert_allclose(variables["params"]["log_std"], np.array([-0.5, 1.0]) + np.log(0.25), rtol=1e-5)


def slope_and_loss(one):
    """The learner's gradient, and the loss of a rollout as a function of the weights, to be derived otherwise."""
    learner, runner = one.learner, one.start()
    keys = jax.random.split(jax.random.key(5), (SMALL.rollout_steps, SMALL.num_envs))
    moves = draw_moves(one.env, one.params, keys)
    variables, players, scale = runner.variables, runner.players, runner.reward_scale
    shapes = jax.eval_shape(learner.answer, variables, players.carry, players.obs)
    zeros = jax.tree.map(lambda x: jnp.zeros((SMALL.rollout_steps, *x.shape)), shapes)

    def loss(weights):
        now = {**variables, "params": weights}
        return learner.loss(one.params, now, players, moves, scale, zeros)[0]

    grads, *_ = jax.jit(learner.slope)(one.params, variables, players, moves, scale)
    return grads, loss, variables["params"]


@pytest.mark.parametrize(
    ("kind", "packed"),
    [(("mlp", 3), False), (("mlp", 1), True), pytest.param(("lstm", 1), True, marks=pytest.mark.slow)],
)
def test_the_pathwise_gradient_is_the_slope_of_the_reward(kind, packed, monkeypatch):
    monkeypatch.setattr(columns, "pays_to_pack", lambda: packed)
    grads, loss, weights = slope_and_loss(world(kind, learner=PathwiseLearner))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6), grads, jax.jit(jax.grad(loss))(weights)
    )
    bent = jax.tree.map(lambda w, g: w + 0.02 * g / optax.tree.norm(grads), weights, grads)
    gain = jax.jit(loss)(bent) - jax.jit(loss)(weights)
    np.testing.assert_allclose(gain, 0.02 * optax.tree.norm(grads), rtol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_pathwise_finds_a_leak(kind):
    sizes = Sizes(num_envs=64, rollout_steps=32, update_epochs=1, num_minibatches=4, episode_steps=100)
    one = World(noise_close(1500, kind[1]), kind[0], 0.0, sizes, PathwiseLearner, leak=True)
    before = one.play(one.start()).returns.mean()
    runner, info = one.train(40)
    assert one.play(runner).returns.mean() > before + 5e-4
    assert np.isfinite(info.terms.loss)
    assert info.grad_norm > 0


def constant(env, bias):
    one = make_policy(env)
    variables = one.init(jax.random.key(0), one.initial_carry(1), jnp.zeros((1, env.width)))
    zeros = jax.tree.map(jnp.zeros_like, variables)
    params = {**zeros["params"], "log_std": jnp.full(env.num_assets, -20.0)}
    actor = {"Dense_0": {**params["actor"]["Dense_0"], "bias": jnp.full(env.num_assets, bias)}}
    return one, {"params": {**params, "actor": actor}, "constants": variables["constants"]}


def make_policy(env):
    from himari_jax.policies.policy import Policy
    from himari_jax.policies.registry import make_core

    core, heads = make_core("mlp", hidden_dim=8, num_layers=1, lstm_hidden_dim=8, lstm_num_layers=1)
    return Policy(core, env.num_assets, heads, -20.0)


def test_the_score_of_a_constant_policy_is_its_growth():
    env = make_oracle("merton", {})
    policy, variables = constant(env, -1.0)
    pair = jax.tree.map(lambda x: jnp.stack([x, x]), variables)
    scores = score_policies(env, policy, pair, jax.random.key(0), 16, 50)
    weight = float(squash(jnp.float32(-1.0))) / 2
    assert len(scores) == 2
    assert abs(scores[0].value - env.growth(weight)) < 1e-9
    assert abs(scores[0].weights[0] - weight) < 1e-6
    assert scores[0].turnover < 1e-6


def test_the_score_pairs_a_policy_with_the_best_on_the_same_path():
    env = make_oracle("hidden-drift", {})
    policy, variables = constant(env, 0.0)
    one = jax.tree.map(lambda x: x[None], variables)
    score = score_policies(env, policy, one, jax.random.key(0), 512, 500)[0]
    assert abs(score.value) < 4 * score.error + 1e-6  # holding nothing earns nothing
    assert score.error < 0.05 * env.optimum.value


def test_a_group_of_players_takes_a_step_on_a_market_without_memory():
    env = make_oracle("merton", {})
    policy, variables = constant(env, -1.0)
    learner = PathwiseLearner(env, policy, Sizes(16, 8, 1, 4, 50))
    params = OracleParams(max_steps_in_episode=jnp.int32(50))
    runner = learner.init(jax.random.key(0), params, hyper(), variables)
    after, _ = jax.jit(learner.update)(runner, params)
    assert after.update == 1
