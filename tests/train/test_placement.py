"""Laws of the device and form of simulations: few accounts on the host, the same numbers everywhere."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers
from worlds import candles_of, noise_close

from envs.market import build_market, to_device
from himari_jax.account import Costs
from himari_jax.features.market import observation_width
from himari_jax.policies.policy import Policy
from himari_jax.policies.registry import make_core
from train.simulation import walk
from train.simulation.engine import Limits, make_lanes, make_tape, run_policy
from train.simulation.given import run_weights
from train.simulation.placement import CARD, HOST, Work, place
from train.simulation.returns import run_returns, time_parts
from train.simulation.walk import kernel_fault, walk_lanes

GPU, CPU = SimpleNamespace(platform="gpu"), SimpleNamespace(platform="cpu")
BASE = 18_000  # parameters of the base model
YEARS = 17_520  # bars of two years of hours
SPAN = (range(400, 460), range(470, 530))
SMALL = CARD._replace(account_bars=2, policy_bars=3, shortest_part=32)  # compiles sooner


def test_the_default_device_plays_everything_where_it_is_the_host_or_alone():
    for work in (Work(YEARS, 1), Work(YEARS, 10_000), Work(YEARS, 1, 1, BASE), Work(YEARS, 10_000, 10, BASE)):
        assert place(work, [CPU]) == place(work, [CPU, CPU]) == (None, HOST)
        assert place(work, [GPU]) == (None, CARD)


def test_the_lone_track_of_a_null_market_is_the_hosts_and_a_grid_the_cards():
    assert place(Work(YEARS, 1, 1, BASE), [GPU, CPU]) == (CPU, HOST)
    assert place(Work(YEARS, 12, 1, BASE), [GPU, CPU]) == (CPU, HOST)
    assert place(Work(YEARS, 1000, 1, BASE), [GPU, CPU]) == (None, CARD)
    assert place(Work(YEARS, 12, 20, BASE), [GPU, CPU]) == (None, CARD)


def test_a_column_of_weights_is_the_hosts_and_a_thousand_are_the_cards():
    for lots, wanted in ((1, (CPU, HOST)), (1000, (None, CARD)), (10_000, (None, CARD))):
        assert place(Work(YEARS, lots, parts=time_parts(YEARS, lots, CARD)), [GPU, CPU]) == wanted


@given(
    bars=integers(1, 10**5), accounts=integers(1, 10**4), policies=integers(0, 30), parameters=integers(1, 10**6),
    more=integers(0, 10**4),
)  # fmt: skip
def test_more_accounts_or_policies_never_bring_work_back_to_the_host(bars, accounts, policies, parameters, more):
    work = Work(bars, accounts, policies, parameters)
    if place(work, [GPU, CPU]).device is None:
        assert place(work._replace(accounts=accounts + more), [GPU, CPU]).device is None
        assert not policies or place(work._replace(policies=policies + more), [GPU, CPU]).device is None


@pytest.mark.parametrize(
    ("platform", "capability", "runs"),
    [("cpu", "9.0", 0), ("gpu", "7.5", 0), ("gpu", "gfx90a", 0), ("gpu", "8.0", 1), ("gpu", "10.0", 1)],
)
def test_the_kernel_is_for_cards_that_its_compiler_knows(platform, capability, runs):
    device = SimpleNamespace(platform=platform, compute_capability=capability, device_kind="this one")
    fault = kernel_fault(device)
    assert (fault == "") == runs
    assert runs or fault.startswith("this one ")


def market_of(assets):
    """A market on the device, and its tape of two stretches in which a few fills are missing, late by 0 and 2 bars."""
    candles = candles_of(noise_close(540, assets, seed=assets))
    tradable = np.random.default_rng(1).random((540, assets)) < 0.9
    market = to_device(build_market(candles)._replace(tradable=tradable))
    return market, make_tape(market, SPAN, candles, (0, 2))


def orders_of(assets, lots, min_trade):
    """Inputs of `run_returns` over all but the first bars of the span: many weights, orders and costs."""
    rng = np.random.default_rng(0)
    steps = sum(map(len, SPAN)) - 5
    targets = np.moveaxis(rng.dirichlet(np.ones(assets + 1), (steps, lots))[..., :assets], 1, -1)
    orders = rng.random((steps, 1, lots)) < 0.8
    costs = Costs(jnp.asarray(rng.uniform(0, 0.01, lots), jnp.float32), jnp.float32(min_trade))
    return jnp.asarray(targets, jnp.float32), jnp.asarray(orders), market_of(assets)[1], jnp.int32(5), costs


@pytest.mark.parametrize(
    ("assets", "lots", "min_trade"), [(1, 1, 0.0), pytest.param(3, 70, 0.2, marks=pytest.mark.slow)]
)
def test_returns_are_the_same_in_every_form(monkeypatch, assets, lots, min_trade):
    monkeypatch.setattr(walk, "AHEAD", 2)
    inputs = orders_of(assets, lots, min_trade)
    host = run_returns(*inputs, form=HOST)
    assert np.abs(host).max() > 1e-3
    np.testing.assert_allclose(run_returns(*inputs, form=SMALL), host, rtol=0, atol=1e-6)
    np.testing.assert_allclose(run_weights(*inputs, form=SMALL).returns, host, rtol=0, atol=1e-6)
    np.testing.assert_allclose(walk_lanes(*inputs, interpret=True), host, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("core", "assets"), [pytest.param("lstm", 3, marks=pytest.mark.slow), ("mlp", 1)])
def test_policies_play_the_same_in_every_form_and_no_cost_or_delay_compiles_anew(core, assets):
    module, heads = make_core(core, hidden_dim=8, num_layers=1, lstm_hidden_dim=8, lstm_num_layers=1)
    policy = Policy(module, assets, heads)
    blank = jnp.zeros((1, observation_width(assets)))
    init = jax.vmap(lambda key: policy.init(key, policy.initial_carry(1), blank))
    variables = jax.jit(init)(jax.random.split(jax.random.key(0), 2))
    variables["params"]["actor"] = jax.tree.map(lambda x: 30 * x, variables["params"]["actor"])  # multipliers move
    tape, limits = market_of(assets)[1], Limits(*map(np.float32, (0.6, 0.9, 0.01)))
    lanes = make_lanes([0, 0, 7, 20], [0, 1, 0, 1], [0.0, 0.001, 0.01, 0.002])
    inputs = policy, 100, variables, tape
    host, card = (run_policy(*inputs, lanes, limits, form=form) for form in (HOST, SMALL))
    assert np.ptp(host.multiplier) > 0.05
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6), card, host)  # 30 roundings
    compiled = run_policy._cache_size()
    other = run_policy(*inputs, make_lanes([3, 1, 7, 9], [1, 1, 1, 0], [0.005] * 4), limits, form=SMALL)
    assert run_policy._cache_size() == compiled
    assert not np.allclose(other.returns, card.returns)
