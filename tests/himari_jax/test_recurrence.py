"""Every form of the LSTM's recurrence computes the same, with its gradients; `test_policies` holds one to flax."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from himari_jax.errors import InputError
from himari_jax.policies.lstm import FORMS, VARIABLE, LSTMCore, available_forms
from himari_jax.policies.recurrence import kernel, stepwise, wavefront
from himari_jax.policies.registry import make_core

STEPS, BATCH, INPUTS, WIDTH = 9, 5, 3, 16  # 9 steps are no whole number of passes of an unrolled loop
# The kernel runs interpreted, its batch is filled up to a multiple of 16.
OTHERS = {"unrolled": wavefront.recur, "kernel": lambda *args: kernel.recur(*args, True)}


def test_every_form_is_tested():
    assert set(FORMS) == {"xla", *OTHERS}


def draw(layers: int, seed: int = 0, batch: int = BATCH):
    """Weights, carry, inputs and resets, some at the first and the last step."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(0.4 * rng.normal(size=shape), jnp.float32)

    widths = (INPUTS, *(WIDTH,) * (layers - 1))
    weights = tuple((normal(width + WIDTH, 4 * WIDTH), normal(1, 4 * WIDTH)) for width in widths)
    carry = tuple((normal(batch, WIDTH), normal(batch, WIDTH)) for _ in range(layers))
    reset = (rng.random((STEPS, batch)) < 0.2) | (np.arange(STEPS)[:, None] % (STEPS - 1) == np.arange(batch))
    return weights, carry, normal(STEPS, batch, INPUTS), jnp.asarray(reset)


def score(recur, weights, carry, x, reset):
    """A number that depends on every h and on the last carry, each with a weight of its own; and both."""
    found = recur(weights, carry, x, reset)
    weighed = jax.tree.map(lambda leaf: (leaf * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)).sum(), found)
    return sum(jax.tree.leaves(weighed)), found


def play(recur):
    """Values of a form, and their gradients by weights, carry and inputs."""
    return jax.grad(partial(score, recur), argnums=(0, 1, 2), has_aux=True)


def assert_close(found, wanted, atol: float) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=atol, atol=atol), found, wanted)


@pytest.mark.parametrize(
    ("form", "layers"),
    [
        ("unrolled", 1),
        ("unrolled", 3),
        ("kernel", 2),
        *(pytest.param("kernel", n, marks=pytest.mark.slow) for n in (1, 3)),
    ],
)
def test_every_form_has_the_values_and_gradients_of_the_plain_one(form, layers):
    args = draw(layers)
    gradients, found = jax.jit(play(OTHERS[form]))(*args)
    wanted_gradients, wanted = play(stepwise.recur)(*args)
    assert_close(found, wanted, 1e-6)
    assert_close(gradients, wanted_gradients, 1e-5)
    assert all(np.abs(leaf).max() > 0.01 for leaf in jax.tree.leaves(wanted_gradients))


@pytest.mark.parametrize("form", ["unrolled", pytest.param("kernel", marks=pytest.mark.slow)])
def test_a_form_batched_over_seeds_is_the_form_of_each(form):
    seeds = [draw(2, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    together = jax.jit(jax.vmap(play(OTHERS[form])))(*stacked)
    for n, args in enumerate(seeds):
        assert_close(jax.tree.map(lambda leaf, n=n: leaf[n], together), play(stepwise.recur)(*args), 1e-5)


SHARDED = """
from functools import partial
import jax, numpy as np
from test_recurrence import OTHERS, draw, play, stepwise
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((4,), ("environments",))
weights, carry, x, reset = draw(2, batch=8)
specs = (), ("environments",), (None, "environments")
whole, rows, columns = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in specs)
wanted = play(stepwise.recur)(weights, carry, x, reset)
for form, recur in OTHERS.items():
    found = jax.jit(play(recur), in_shardings=(whole, rows, columns, columns))(weights, carry, x, reset)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), found, wanted)
    print(form)
"""


@pytest.mark.slow
def test_every_form_computes_the_same_where_devices_share_the_environments():
    run = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split() == list(OTHERS), run.stderr[-2000:]


def loops(jaxpr) -> list:
    """Bodies of the scans in a traced function, in order."""
    found = []
    for equation in jaxpr.eqns:
        inner = [value.jaxpr for value in equation.params.values() if hasattr(value, "jaxpr")]
        found += inner if equation.primitive.name == "scan" else [body for each in inner for body in loops(each)]
    return found


@pytest.mark.parametrize("layers", [1, 4])
def test_all_layers_advance_and_go_back_by_one_product_a_step(layers):
    bodies = loops(jax.make_jaxpr(play(wavefront.recur))(*draw(layers)).jaxpr)
    products = [sum(equation.primitive.name == "dot_general" for equation in body.eqns) for body in bodies]
    assert products == [1, 1]


def test_the_environment_chooses_the_form(monkeypatch):
    sizes = {"hidden_dim": 8, "lstm_hidden_dim": 8, "lstm_num_layers": 2}
    monkeypatch.delenv(VARIABLE, raising=False)
    assert make_core("lstm", **sizes)[0] == LSTMCore(8, 2)
    monkeypatch.setenv(VARIABLE, "unrolled")
    assert make_core("lstm", **sizes)[0] == LSTMCore(8, 2, "unrolled")
    monkeypatch.setenv(VARIABLE, "cudnn")
    with pytest.raises(InputError, match="HIMARI_LSTM_FORM=cudnn in the environment: must be one of auto, xla"):
        make_core("lstm", **sizes)
    monkeypatch.setenv(VARIABLE, "kernel")
    with pytest.raises(InputError, match="it needs an NVIDIA GPU, not cpu; use unrolled"):
        make_core("lstm", **sizes)
    assert available_forms(8, 2) == ("xla", "unrolled")


@pytest.mark.parametrize(
    ("capability", "width", "layers", "reason"),
    [
        ("9.0", 64, 2, None),
        ("8.0", 16, 3, None),
        ("7.5", 64, 2, "compute capability 8.0, T4 has 7.5"),
        ("9.0", 96, 2, "--lstm-hidden-dim 16, 32, 64 and"),
        ("9.0", 64, 4, "up to 3 layers"),
    ],
)
def test_the_kernel_is_for_cards_and_sizes_that_it_fits(monkeypatch, capability, width, layers, reason):
    card = SimpleNamespace(platform="gpu", device_kind="T4", compute_capability=capability)
    monkeypatch.setattr(kernel.jax, "devices", lambda: [card])
    found = kernel.unsupported(width, layers)
    assert found is None if reason is None else reason in str(found)


def test_what_the_wide_kernels_multiply_is_what_each_layer_multiplies():
    weights, carry, _, _ = draw(3)
    _, h = wavefront.join_layers(carry)
    own, below = jnp.split(h @ wavefront.forward_kernel(weights), [3 * 4 * WIDTH], axis=-1)
    own, below = own.reshape(BATCH, 4, 3, WIDTH), below.reshape(BATCH, 4, 2, WIDTH)
    for n, (weight, _) in enumerate(weights):
        mine = own[:, :, n].reshape(BATCH, -1)
        np.testing.assert_allclose(mine, carry[n][1] @ weight[-WIDTH:], atol=1e-6)
        if n:
            from_below = below[:, :, n - 1].reshape(BATCH, -1)
            np.testing.assert_allclose(from_below, carry[n - 1][1] @ weight[:-WIDTH], atol=1e-6)
