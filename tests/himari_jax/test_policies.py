from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from himari_jax.errors import InputError
from himari_jax.plugins import POLICIES
from himari_jax.policies.core import reset_carry
from himari_jax.policies.lstm import FusedLSTMCell, LSTMCore
from himari_jax.policies.policy import Policy, act, fit_scaling, squash, with_scaling
from himari_jax.policies.registry import make_core

SIZES = {"hidden_dim": 16, "num_layers": 2, "lstm_hidden_dim": 8, "lstm_num_layers": 2}


def test_the_fused_cell_equals_flax_lstm_cell():
    rng = np.random.default_rng(0)
    x, c, h = (jnp.asarray(rng.normal(size=(5, n)), jnp.float32) for n in (3, 8, 8))
    fused = FusedLSTMCell(8)
    params = fused.init(jax.random.key(0), (c, h), x)["params"]
    kernel = params["kernel"]
    bias = jnp.asarray(rng.normal(size=(1, 32)), jnp.float32)
    theirs = {}
    for n, gate in enumerate("ifgo"):
        part = slice(8 * n, 8 * n + 8)
        theirs["i" + gate] = {"kernel": kernel[:3, part]}
        theirs["h" + gate] = {"kernel": kernel[3:, part], "bias": bias[0, part]}
    ours = fused.apply({"params": {"kernel": kernel, "bias": bias}}, (c, h), x)
    flax = nn.LSTMCell(8).apply({"params": theirs}, (c, h), x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, flax)


def test_the_gradients_of_cell_and_replay_equal_those_of_flax_lstm_cells_with_resets_in_between():
    rng = np.random.default_rng(0)
    steps, batch, width = 4, 3, 4
    core = LSTMCore(width, 2)
    x = jnp.asarray(rng.normal(size=(steps, batch, 5)), jnp.float32)
    reset = jnp.asarray(rng.random((steps, batch)) < 0.3).at[2, 1].set(True)
    carry = jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype("f"), core.initial_carry(batch))
    params = core.init(jax.random.key(0), carry, x[0])["params"]
    weight = jnp.asarray(rng.normal(size=(steps, batch, width)), jnp.float32)

    def flax_step(params, carry, x, reset):
        after = []
        for n, memory in enumerate(reset_carry(carry, reset)):
            cell = params[f"cells_{n}"]
            parts = jnp.split(cell["kernel"], 4, axis=-1), jnp.split(cell["bias"][0], 4)
            theirs = {}
            for gate, kernel, bias in zip("ifgo", *parts, strict=True):
                theirs["i" + gate] = {"kernel": kernel[: x.shape[-1]]}
                theirs["h" + gate] = {"kernel": kernel[x.shape[-1] :], "bias": bias}
            memory, x = nn.LSTMCell(width).apply({"params": theirs}, memory, x)
            after.append(memory)
        return tuple(after), x

    def ours_step(params, carry, x, reset):
        return core.apply({"params": params}, reset_carry(carry, reset), x)

    def by_steps(step, params, carry, x):
        shown = []
        for t in range(steps):
            carry, h = step(params, carry, x[t], reset[t])
            shown.append(h)
        return carry, jnp.stack(shown)

    def replayed(params, carry, x):
        return core.apply({"params": params}, carry, x, reset, method="unroll")

    def loss(play, *args):
        carry, h = play(*args)
        return (h * weight).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(carry))

    wanted, *found = (
        jax.value_and_grad(partial(loss, play), argnums=(0, 1, 2))(params, carry, x)
        for play in (partial(by_steps, flax_step), partial(by_steps, ours_step), replayed)
    )
    for ours in found:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), ours, wanted)
    assert all(np.abs(leaf).max() > 0.01 for leaf in jax.tree.leaves(wanted))


def test_the_memory_kernels_start_orthogonal():
    kernel = FusedLSTMCell(8).init(jax.random.key(1), (jnp.zeros((1, 8)),) * 2, jnp.zeros((1, 3)))["params"]["kernel"]
    for n in range(4):
        memory = kernel[3:, 8 * n : 8 * n + 8]
        np.testing.assert_allclose(memory @ memory.T, np.eye(8), atol=1e-5)


def make_policy(name, assets):
    core, heads = make_core(name, **SIZES)
    return Policy(core, assets, heads, -2.0)


@pytest.mark.parametrize("name", POLICIES.names)
@pytest.mark.parametrize("assets", [1, 3])
def test_actions_lie_between_0_and_2_and_start_near_1(name, assets):
    policy = make_policy(name, assets)
    obs = jax.random.normal(jax.random.key(0), (64, 5))
    variables = policy.init(jax.random.key(1), policy.initial_carry(64), obs)
    _, output = act(policy, variables, policy.initial_carry(64), obs)
    assert output.mean.shape == (64, assets)
    assert output.value.shape == (64,)
    action = squash(output.mean)
    assert (np.abs(action - 1) < 0.1).all()
    extremes = squash(jnp.array([-1e9, 1e9]))
    assert extremes.tolist() == [0.0, 2.0]


def test_a_reset_forgets_and_only_where_it_is_set():
    carry = ((jnp.ones((3, 2)), 2 * jnp.ones((3, 2))),)
    (c, h), *_ = reset_carry(carry, jnp.array([True, False, True]))
    assert c[:, 0].tolist() == [0, 1, 0]
    assert h[:, 0].tolist() == [0, 2, 0]
    assert reset_carry((), jnp.array([True])) == ()


def test_market_inputs_are_standardized_and_cut_and_account_inputs_pass():
    # Feature k of row t is t for every k: mean 4.5, deviation sqrt(8.25) over rows 0..9.
    features = np.broadcast_to(np.arange(100.0)[:, None, None], (100, 1, 12)).copy()
    features[..., 3] = 7.0  # constant: its deviation becomes 1
    scaling = fit_scaling(features, np.zeros((100, 0)), np.arange(10))
    policy = make_policy("mlp", 1)
    obs = jnp.concatenate([jnp.asarray(features[99, 0], jnp.float32), jnp.array([50.0, -60.0, 70.0, 80.0])])[None]
    variables = with_scaling(policy.init(jax.random.key(0), (), obs), scaling)
    seen = policy.apply(variables, obs, method=lambda module, x: module.normaliser(x))[0]
    assert seen[0] == 10.0  # (99 - 4.5) / 2.87 = 32.9 is cut at 10
    assert seen[3] == 0.0
    np.testing.assert_allclose(seen[12:], [50.0, -60.0, 70.0, 80.0])
    assert float(variables["constants"]["normaliser"]["std"][0]) == pytest.approx(np.sqrt(8.25))


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(InputError, match="gru: must be one of lstm, mlp"):
        make_core("gru", **SIZES)
