"""Markets with a known optimum: what is computed is what the best policy earns, and nobody earns more."""

import dataclasses
import itertools
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.oracles.numerics import maximize, normal_nodes, spread, stationary, trade
from envs.oracles.registry import make_oracle
from envs.plugins import MARKETS
from himari_jax.errors import InputError

OTHERS = {
    "merton": {"sigma": 0.03, "mu": 3e-4},
    "three-assets": {"gross": 0.5, "mu": (8e-4, 2e-4, 6e-4)},
    "hidden-drift": {"p": 0.05, "mu": 0.003},
    "garleanu-pedersen": {"phi": 0.8, "cost": 20.0},
    "no-trade-band": {"fee_bps": 40.0, "sigma": 0.03, "mu": 4e-4},
    "mean-reversion": {"phi": 0.9, "sigma": 0.02},
    "leak": {"sigma": 0.03},
    "nothing-to-find": {"sigma": 0.03},
}
CASES = [(name, {}) for name in OTHERS] + list(OTHERS.items()) + [("hidden-drift", {"fee_bps": 5.0})]
PATHS, BURN_IN = 256, 200


def market(name, options=None):
    return make_oracle(name, options or {})


@partial(jax.jit, static_argnums=(0, 1, 2))
def simulate(env, bars, bend, key):
    """Realized and expected utility of each path, (2, P), of the best policy with its weights bent."""

    def one(key):
        key_open, key_moves = jax.random.split(key)
        state = (env.open(key_open), env.position(jnp.full(env.num_assets, env.start)), env.open_memory())

        def step(state, key):
            seen, before, memory = state
            memory, weights = env.best(memory, seen, before)
            weights = bend(weights)
            after, returns = env.advance(key, seen)
            printed = jnp.stack([env.utility(before, weights, returns), env.expected(seen, before, weights)])
            return (after, env.drift(weights, returns), memory), printed

        _, printed = jax.lax.scan(step, state, jax.random.split(key_moves, BURN_IN + bars))
        return printed[BURN_IN:].mean(0)

    return jax.vmap(one)(jax.random.split(key, PATHS)).T


def as_they_are(weights):
    return weights


def shrunk(weights):
    return 0.8 * weights


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_best_policy_earns_the_optimum_in_a_long_simulation(name, options):
    env = market(name, options)
    expected = np.asarray(simulate(env, 2000, as_they_are, jax.random.key(3))[1], np.float64)
    error = expected.std() / np.sqrt(PATHS)
    assert abs(expected.mean() - env.optimum.value) < 4 * error + 2e-3 * abs(env.optimum.value) + 1e-9


@pytest.mark.parametrize(("name", "options"), CASES)
def test_what_is_expected_is_the_mean_of_what_is_realized(name, options):
    env = market(name, options)
    realized, expected = np.asarray(simulate(env, 500, as_they_are, jax.random.key(4)), np.float64)
    gap = realized - expected
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(PATHS) + 1e-9


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case[0] != "nothing-to-find"])
def test_other_weights_than_the_best_earn_less(name, options):
    env = market(name, options)
    best, bent = (
        np.asarray(simulate(env, 1000, bend, jax.random.key(5))[1], np.float64) for bend in (as_they_are, shrunk)
    )
    gap = best - bent
    assert gap.mean() > 3 * gap.std() / np.sqrt(PATHS)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_naive_policy_lies_below_the_optimum(name, options):
    best = market(name, options).optimum
    assert best.naive < best.value


def test_merton_is_mu_over_variance_where_bars_are_short():
    env = market("merton", {"sigma": 0.005, "mu": 1e-5})
    assert abs(env.best_weight - 0.4) < 1e-3
    assert abs(env.optimum.value - 1e-10 / 5e-5) < 1e-3 * env.optimum.value


def test_weights_of_three_assets_satisfy_the_conditions_of_kuhn_and_tucker():
    for gross, multiplier in ((1.0, 0.0), (0.5, None)):
        env = market("three-assets", {"gross": gross})
        w = env.best_weights
        slope = np.array(env.mu) - env.risk_aversion * env.covariance @ w
        price = slope[w > 1e-6].mean() if multiplier is None else multiplier
        assert price >= 0
        assert np.abs(slope[w > 1e-6] - price).max() < 1e-7
        assert (slope[w <= 1e-6] <= price + 1e-7).all()
        assert w.sum() <= gross + 1e-9


def test_garleanu_and_pedersen_trade_their_closed_form():
    # a = (sqrt(A^2 + 4 A L) - A) / 2 = (sqrt(2100) - 10) / 2; rate a / L; aim A / (A + a (1 - phi)).
    env = market("garleanu-pedersen")
    a = (np.sqrt(2100) - 10) / 2
    assert abs(env.rate - a / 50) < 1e-9
    assert abs(env.aim - 10 / (10 + 0.05 * a)) < 1e-9


@pytest.mark.parametrize("fee", [10.0, 30.0])
def test_the_band_is_as_wide_as_the_cube_root_of_the_fee(fee):
    # In continuous time (3/2 fee w^2 (1-w)^2)^(1/3) for small fees (Rogers, 2004); a walk that is looked at once a
    # bar leaves a band narrower by .5826 of its step (Broadie, Glasserman and Kou, 1997), here sigma w (1 - w).
    _, low, high = market("no-trade-band", {"fee_bps": fee}).solution
    continuous = (1.5 * fee / 1e4 / 16) ** (1 / 3)
    assert abs((high - low) / 2 - (continuous - 0.5826 * 0.02 / 4)) < 1e-3


def test_a_small_fee_changes_the_value_of_the_filter_little_and_a_larger_one_more():
    free, small, large = (market("hidden-drift", {"fee_bps": fee}).optimum.value for fee in (0.0, 0.01, 5.0))
    assert large < small < free
    assert small > 0.998 * free


def test_the_filter_is_the_conditional_mean_of_the_sign():
    env = market("hidden-drift")

    def step(state, key):
        seen, memory = state
        memory, _ = env.best(memory, seen, jnp.zeros(1))
        after, _ = env.advance(key, seen)
        return (after, memory), (memory, after[0])

    start = (env.open(jax.random.key(0)), env.open_memory())
    _, (belief, sign) = jax.lax.scan(step, start, jax.random.split(jax.random.key(1), 400_000))
    belief, sign = np.asarray(belief)[100:], np.asarray(sign)[100:]
    edges = np.quantile(belief, np.linspace(0, 1, 9))
    for low, high in itertools.pairwise(edges):
        inside = (belief >= low) & (belief < high)
        # A sign lasts some 25 bars, so that neighbors count as one.
        assert abs(sign[inside].mean() - belief[inside].mean()) < 5 / np.sqrt(inside.sum() / 25)


@pytest.mark.parametrize("name", MARKETS.names)
def test_equal_parameters_share_a_trace_and_others_do_not(name):
    assert market(name) == market(name)
    assert hash(market(name)) == hash(market(name))
    assert market(name) != market(name, OTHERS[name])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_multiplier_asks_for_the_weights_that_it_was_made_from(name, options):
    env = market(name, options)
    weights = np.full(env.num_assets, 0.1, np.float32)
    assert np.allclose(env.position(jnp.asarray(env.multiplier(weights))), weights, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nowhere", {}, "--env nowhere: must be one of"),
        ("merton", {"p": 0.1}, "--oracle.p: merton has no such parameter; it has sigma, mu"),
        ("merton", {"sigma": (0.1, 0.2)}, "--oracle.sigma: merton takes 1 numbers there, not 2"),
        ("three-assets", {"mu": (0.1,)}, "--oracle.mu: three-assets takes 3 numbers there, not 1"),
        ("three-assets", {"corr": (0.9, 0.9, -0.9)}, "three correlations that go together"),
        ("hidden-drift", {"p": 0.5}, "--oracle.p 0.5: must be between 0 and 0.5"),
        ("hidden-drift", {"p": float("nan")}, "--oracle.p nan"),
        ("garleanu-pedersen", {"signal": 1.0}, "--oracle.signal 1.0"),
        ("mean-reversion", {"phi": 1.0}, "--oracle.phi 1.0"),
        ("no-trade-band", {"fee_bps": 0.0}, "--oracle.fee-bps 0.0"),
    ],
)
def test_a_parameter_that_a_market_does_not_take_is_refused_by_name(name, options, words):
    with pytest.raises(InputError, match=re.escape(words)):
        make_oracle(name, options)


def test_numbers_of_one_come_as_lists_from_the_command_line():
    assert market("leak", {"sigma": (0.02,)}) == market("leak", {"sigma": 0.02})


def test_the_parabola_finds_the_top_between_grid_points_and_at_an_end():
    grid = np.linspace(-1, 1, 11)
    place, value = maximize(-((grid - np.array([[0.13], [3.0]])) ** 2), grid)
    assert np.allclose(place, [0.13, 1.0])
    assert np.allclose(value, [0, -4])


def test_quadrature_knows_the_moments_of_the_normal_law():
    nodes, chances = normal_nodes(20)
    assert np.allclose([chances @ nodes**k for k in (0, 2, 4, 6)], [1, 1, 3, 15])


def test_a_spread_law_keeps_mass_and_mean():
    grid = np.linspace(0, 1, 5)
    matrix = spread(np.array([[0.3, 0.9]] * 5), np.array([0.5, 0.5]), grid)
    assert np.allclose(matrix.sum(1), 1)
    assert np.allclose(matrix @ grid, 0.6)
    assert np.allclose(stationary(matrix), matrix[0])


def test_trading_by_running_maxima_is_the_best_of_all_trades():
    rng = np.random.default_rng(0)
    values, grid, fee = rng.normal(size=(4, 30)), np.linspace(0, 1, 30), 1.5
    every = values[:, None, :] - fee * np.abs(grid[:, None] - grid[None, :])
    value, index = trade(values, grid, fee)
    assert np.allclose(value, every.max(-1))
    assert np.allclose(np.take_along_axis(every, index[..., None], -1)[..., 0], every.max(-1))


def test_the_parameters_of_a_market_are_its_fields():
    assert [field.name for field in dataclasses.fields(market("hidden-drift"))] == [
        "mu",
        "sigma",
        "p",
        "risk_aversion",
        "fee_bps",
    ]
