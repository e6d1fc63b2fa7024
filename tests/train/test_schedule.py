"""Policies one after the other: the account goes on, the carry does not, a change is charged as a trade."""

from functools import cache

import jax
import numpy as np
import pytest
from walks import BLOCKS, SYNTHETIC, TINY, prepared_for, same, walk_on

from himari_jax.candles import Candles
from train.simulation.play import Cell, play_policies
from train.simulation.schedule import play_schedule

CASES = {
    "mlp": [],
    "lstm": ["--policy", "lstm"],
    "three in one account": "--symbols SYN1 SYN2 SYN3 --max-position-pct 0.4 --min-trade 0.02".split(),
    "a pool, one bar late, every three hours": "--symbols SYN1 SYN2 --pool --delay 1 --decide-every 3h".split(),
}


@cache
def world(name):
    """Session, simulator and policy of a case."""
    args = [*SYNTHETIC, *TINY, *BLOCKS, *CASES[name]]
    walk = walk_on(prepared_for(*args), *args)
    return walk, walk.simulator, walk.sessions[0].learner.policy


def policy_of(name, seed, noise=0.5):
    """A policy that nobody trained, with inputs scaled as on the training rows and weights of its own seed."""
    walk = world(name)[0]
    session = walk.sessions[0]
    fresh = session.learner.init_policy(jax.random.key(seed), session.width)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: np.asarray(x) + rng.normal(0, noise, x.shape).astype(x.dtype), fresh["params"])
    return {**fresh, "params": params, "constants": jax.device_get(session.constants)}


def constant_policy(name, level, core=0):
    """A policy whose multiplier does not depend on observation and carry; its carry is that of a seed."""
    policy = policy_of(name, core)
    actor = jax.tree.map(np.zeros_like, policy["params"]["actor"])
    last = max(actor)
    actor[last]["bias"] = np.full_like(actor[last]["bias"], np.log(level / (2 - level)))  # of 2 sigmoid
    log_std = np.full_like(policy["params"]["log_std"], -20)
    return policy | {"params": policy["params"] | {"actor": actor, "log_std": log_std}}


def stacked(blocks):
    """Policies of blocks as one tree, leaves (B, E, ...)."""
    each = [jax.tree.map(lambda *x: np.stack(x), *block) for block in blocks]
    return jax.tree.map(lambda *x: np.stack(x), *each)


def play(name, blocks, borders=()):
    """The history of policies by block, which begin at given positions."""
    walk, simulator, policy = world(name)
    number = np.searchsorted(borders, np.arange(simulator.num_rows), side="right").astype(np.int32)
    played = play_schedule(simulator, policy, stacked(blocks), number, cells(walk), simulator.num_rows)
    ((_, found),) = played
    return [history for _, history in found]


def cells(walk):
    """On time and one bar late, at the costs of the flags."""
    return [Cell(0, walk.delay, walk.cost), Cell(0, walk.delay + 1, walk.cost)]


@pytest.mark.parametrize("name", CASES)
def test_one_block_of_one_policy_is_that_policy(name):
    walk, simulator, policy = world(name)
    own = policy_of(name, 1)
    alone = jax.tree.map(lambda x: np.asarray(x)[None], own)
    ((_, found),) = play_policies(simulator, policy, alone, 0, cells(walk), simulator.num_rows)
    for (_, wanted), history in zip(found, play(name, [[own]]), strict=True):
        assert np.ptp(wanted.multiplier[np.isfinite(wanted.multiplier)]) > 0.3
        # Not to the last bit: two programs, and the compiler rounds some multipliers to the other side.
        np.testing.assert_allclose(history.multiplier, wanted.multiplier, atol=1e-6)
        np.testing.assert_allclose(history.returns, wanted.returns, atol=1e-7)
        np.testing.assert_allclose(history.cost, wanted.cost, atol=2e-6)


@pytest.mark.parametrize("name", [name for name in CASES if name != "lstm"])
def test_a_policy_without_memory_cannot_tell_that_it_takes_over_from_itself(name):
    own = policy_of(name, 1)
    assert same(play(name, [[own], [own]], [301]), play(name, [[own]]))


def test_a_policy_with_memory_begins_its_block_without_any():
    own = policy_of("lstm", 1)
    before = [constant_policy("lstm", 0.6, core) for core in (2, 3)]
    first, second = (play("lstm", [[each], [own]], [301])[0] for each in before)
    assert same(first, second), "what the earlier policy remembers is its own"
    whole, cut = play("lstm", [[own]])[0], play("lstm", [[own], [own]], [301])[0]
    assert same(whole.cut(slice(None, 301)), cut.cut(slice(None, 301)))
    assert np.abs(whole.multiplier[301:310] - cut.multiplier[301:310]).max() > 1e-3


def test_a_change_of_policy_is_charged_as_the_difference_of_the_weights():
    walk, simulator, _ = world("mlp")
    low, high, border = constant_policy("mlp", 0.4), constant_policy("mlp", 1.6), 301
    history = play("mlp", [[low], [high]], [border])[0]
    base, tape, k = 0.5, simulator.host, border
    np.testing.assert_allclose(history.multiplier[[k - 1, k], 0], [0.4, 1.6], rtol=1e-5)
    # Held before, moved by the prices of the bar and of the way to the fill, as a share of what the account then is.
    held, f = float(history.held[k - 1, 0]), 1 + float(tape.to_fill[k, 0])
    worth = held * (1 + float(tape.to_mark[k - 1, 0]))
    share = worth / (1 - held + worth)
    share = share * f / (1 + share * (f - 1))
    wanted = min(1.6 * simulator.markets[0].base[tape.rows[k], 0], base)
    assert history.delta[k, 0] == pytest.approx(wanted - share, abs=2e-4), "the fee of the trade apart"
    assert history.cost[k] == pytest.approx(walk.cost * abs(history.delta[k, 0]), rel=1e-5)
    turnover = np.abs(history.delta).sum(1)
    assert turnover[k] > 20 * np.median(turnover)
    alone = [play("mlp", [[one]])[0] for one in (low, high)]
    assert history.returns[:k].tolist() == alone[0].returns[:k].tolist(), "nothing is sold at a border"
    np.testing.assert_allclose(history.held[k + 5 :], alone[1].held[k + 5 :], atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_the_mean_of_identical_policies_is_one_of_them(name):
    own = policy_of(name, 1)
    three, one = play(name, [[own] * 3])[0], play(name, [[own]])[0]
    np.testing.assert_allclose(three.multiplier, one.multiplier, atol=1e-5)
    np.testing.assert_allclose(three.returns, one.returns, atol=1e-7)


def test_what_is_evaluated_of_several_policies_is_the_mean_of_their_multipliers():
    both = play("mlp", [[constant_policy("mlp", 0.4), constant_policy("mlp", 1.0)]])[0]
    np.testing.assert_allclose(both.multiplier, 0.7, rtol=1e-5)


def test_every_block_is_played_by_its_own_policies():
    levels, borders = [0.3, 1.9, 0.9, 1.2], [100, 101, 650]  # a block of one decision among them
    history = play("mlp", [[constant_policy("mlp", level)] for level in levels], borders)[0]
    expected = np.repeat(levels, np.diff([0, *borders, len(history.returns)]))
    np.testing.assert_allclose(history.multiplier[:, 0], expected, rtol=1e-5)


def test_a_block_without_a_decision_changes_nothing():
    own, other = constant_policy("mlp", 0.4), constant_policy("mlp", 1.6)
    assert same(play("mlp", [[own], [other], [own]], [301, 301])[0], play("mlp", [[own]])[0])


def test_blocks_and_decisions_of_a_test_fit_each_other():
    walk, simulator, _ = world("mlp")
    assert isinstance(simulator.candles, Candles)
    assert walk.block.tolist() == sorted(walk.block)
    assert set(walk.block) == set(range(len(walk.blocks)))
    opens = simulator.times - simulator.candles.bar_ms
    for k, block in enumerate(walk.blocks):
        assert opens[walk.block == k][0] == block.test
