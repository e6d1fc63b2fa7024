"""The rollout of path and branches side by side is the plain one, step by step, in every number."""

import jax
import jax.numpy as jnp
import numpy as np
import plain_rollout
import pytest
from worlds import World, noise_close

from envs.oracles.registry import make_oracle
from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Policy
from himari_jax.policies.registry import make_core
from train.learning import columns, rollout
from train.learning.state import Sizes

STEPS, ENVS, EPISODE = 24, 16, 10  # episodes end inside rollouts, several in some environments
SLOTS = 3
KINDS = [
    ("mlp", 1, 0, False),
    ("mlp", 3, 3, False),
    ("mlp", 1, 2, True),
    pytest.param(("lstm", 1, 2, False), marks=pytest.mark.slow),
    pytest.param(("lstm", 2, 1, True), marks=pytest.mark.slow),
]


def trading(policy, assets):
    """A wild market in which a loss of a twentieth is ruin."""
    sizes = Sizes(num_envs=ENVS, rollout_steps=STEPS, update_epochs=1, num_minibatches=2, episode_steps=EPISODE)
    world = World(noise_close(700, assets, sigma=0.05), policy, 0.001, sizes, width=16)
    return world.env, world.params.replace(ruin=jnp.float32(0.95)), world.policy, world.variables()


def oracle(policy):
    """A market that draws its own returns at every step."""
    env = make_oracle("mean-reversion", {})
    core, heads = make_core(policy, hidden_dim=16, num_layers=2, lstm_hidden_dim=16, lstm_num_layers=2)
    policy = Policy(core, env.num_assets, heads)
    variables = policy.init(jax.random.key(0), policy.initial_carry(1), jnp.zeros((1, env.width)))
    return env, env.default_params.replace(max_steps_in_episode=jnp.int32(EPISODE)), policy, variables


def play_twice(module, world, lookahead):
    """Two rollouts, the second from where the first ended: players and records."""
    env, params, policy, variables = world
    players = rollout.reset_rollout(env, params, policy, jax.random.split(jax.random.key(1), ENVS))

    @jax.jit
    def play(players):
        return module.collect_rollout(env, params, policy, variables, players, STEPS, SLOTS, lookahead)

    players, first = play(players)
    players, second = play(players)
    return players, first, second


def seen(played):
    """A rollout without the numbers of dead branches, which nobody reads."""
    alive = played.branches.alive
    reward, value = (jnp.where(alive, x, 0) for x in (played.branches.reward, played.branches.value))
    return played._replace(branches=played.branches._replace(reward=reward, value=value))


def assert_alike(found, wanted):
    """Players and records are equal, numbers to 1e-6."""
    (players, *records), (plain, *wanted) = found, wanted
    carries = [reset_carry(each.carry, each.reset) for each in (players, plain)]
    for a, b in zip(map(seen, records), map(seen, wanted), strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), a, b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), *carries)
    for name in ("env_state", "obs", "reset"):
        pair = getattr(players, name), getattr(plain, name)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), *pair)
    np.testing.assert_array_equal(*(jax.random.key_data(each.keys) for each in (players, plain)))


@pytest.mark.parametrize("kind", KINDS)
def test_side_by_side_is_step_by_step(kind, monkeypatch):
    policy, assets, lookahead, packed = kind
    monkeypatch.setattr(columns, "pays_to_pack", lambda: packed)
    world = trading(policy, assets)
    wanted = play_twice(plain_rollout, world, lookahead)
    assert_alike(play_twice(rollout, world, lookahead), wanted)
    for played in wanted[1:]:
        assert played.truncated.sum() > ENVS  # several time limits in some environments
        assert played.terminated.any()  # and ruin in some
        assert played.branches.alive.shape == (STEPS, lookahead, ENVS)


def test_a_market_that_draws_its_returns_gives_them_to_the_branches_too():
    world = oracle("mlp")
    assert_alike(play_twice(rollout, world, 2), play_twice(plain_rollout, world, 2))


def test_packing_keeps_every_bit():
    numbers = np.array([0.0, -0.0, 1e-42, np.inf, np.nan, 1 / 3], np.float32)
    tree = {
        "float": jnp.asarray(numbers),
        "int": jnp.array([[0, 1], [-1, 2**31 - 1]], jnp.int32),
        "uint": jnp.array(2**32 - 1, jnp.uint32),
        "bool": jnp.array([True, False]),
        "none": jnp.zeros((0, 3)),
    }
    back = columns.unpack(columns.pack(tree), jax.eval_shape(lambda: tree))
    for name, leaf in tree.items():
        assert (back[name].shape, back[name].dtype) == (leaf.shape, leaf.dtype)
        assert np.asarray(back[name]).tobytes() == np.asarray(leaf).tobytes()


def test_what_has_no_32_bits_is_not_packed():
    assert columns.can_pack((jnp.zeros(2), jnp.int32(1), jnp.zeros(1, bool)))
    for odd in (jax.random.key(0), jnp.int8(1), jnp.zeros(1, jnp.bfloat16)):
        assert not columns.can_pack((jnp.zeros(2), odd))
