"""Laws of the simulation: one simulator, chained stretches, honest baselines."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import play_span

from envs.market import build_market, to_device
from envs.trading import TradingEnv, make_params
from himari_jax.account import Costs
from himari_jax.features.market import observation_width
from himari_jax.plugins import BASELINES
from himari_jax.policies.policy import Policy
from himari_jax.policies.registry import make_core
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.baselines import Setting, Window, constant, kelly, momentum, random
from himari_jax.positions.sizing import SizingRules
from himari_jax.splits import decision_rows
from train.simulation.baselines import all_orders, all_rules
from train.simulation.engine import make_tape
from train.simulation.given import run_weights
from train.simulation.history import histories
from train.simulation.returns import run_returns

SPAN = (range(400, 600), range(1000, 1199))
FEE = 0.002


@pytest.fixture(scope="module")
def history(candles):
    """Three assets in two segments, with bars that do not trade."""
    market = candles(3, 1200, seed=11)
    tradable = np.random.default_rng(1).random((1200, 3)) < 0.95
    tradable[400:430, 2] = False
    return replace(market, tradable=tradable, segment=(np.arange(1200) >= 601).astype(np.int32))


def play_weights(history, targets, orders=None, fee=FEE):
    """`run_weights` of (K, L, N) in float64, by account."""
    with jax.enable_x64(True):
        market = build_market(history, dtype=np.float64)
        orders = np.ones(targets.shape, bool) if orders is None else orders
        tape = make_tape(to_device(market), SPAN)
        rates = np.full(len(targets), fee)
        wanted, given = jnp.asarray(np.moveaxis(targets, 0, -1), jnp.float64), jnp.asarray(np.moveaxis(orders, 0, -1))
        inputs = wanted, given, tape, jnp.int32(0), Costs(jnp.asarray(rates), jnp.float64(0))
        paths = run_weights(*inputs)
        np.testing.assert_array_equal(paths.returns, run_returns(*inputs))
        return list(histories(paths, tape, np.zeros(len(targets), int), rates))


MEAN, TRADED = np.array([0.1, 0.05, 0.2]), 0.02  # what an agent held on average, and traded per bar


@pytest.fixture(scope="module")
def setting(history):
    """Inputs of rules, with a cap and a gross that bind."""
    return Setting(history, "vol-target", SizingRules(max_position_pct=0.07, max_gross=0.2))


@pytest.fixture(scope="module")
def window(history):
    """A window of the whole span, with an agent's mean weights."""
    return window_at(history, 0)


def window_at(history, delay):
    rows = decision_rows(SPAN)
    starts = np.repeat([each.start for each in SPAN], [len(each) for each in SPAN])
    segment = np.where(rows < 601, 0, 601)
    tradable = build_market(history).tradable[rows]
    return Window(np.maximum(rows - delay, segment), tradable, rows == starts, MEAN, TRADED)


@pytest.fixture(scope="module")
def histories_of(history, setting, window):
    """The history of each baseline, by name."""
    orders = all_orders(all_rules(setting), window)
    targets, trade = (np.stack(x) for x in zip(*orders.values(), strict=True))
    return dict(zip(BASELINES.names, play_weights(history, targets, trade), strict=True))


def random_weights(seed):
    """Targets (L, N) of a gross up to 1."""
    rng = np.random.default_rng(seed)
    rows = len(decision_rows(SPAN))
    return rng.dirichlet(np.ones(4), rows)[:, :3]


def test_evaluation_chains_the_equity_of_stretches_that_end_in_cash(history, ledger):
    targets = random_weights(0)
    path = play_weights(history, targets[None])[0]
    equity, expected, offset = 1.0, [], 0
    for stretch in SPAN:
        rows = np.asarray(stretch)
        wanted = targets[offset : offset + len(rows)]
        prices = history.open[rows + 1], history.close[rows + 1]
        pages = ledger(*prices, wanted, history.tradable[rows + 1], FEE, capital=equity)
        curve = pages["equity"].copy()
        curve[-1] *= 1 - FEE * pages["weights"][-1].sum()  # everything is sold at the last mark
        expected.extend(curve)
        equity, offset = curve[-1], offset + len(rows)
    np.testing.assert_allclose(path.equity, expected, rtol=1e-10)
    assert path.held[200].sum() == pytest.approx(path.delta[200].sum(), abs=1e-15)  # a new stretch starts from cash


def test_pnl_by_asset_sums_to_the_simple_return_of_the_bar(histories_of, history):
    for path in (*histories_of.values(), play_weights(history, random_weights(1)[None], fee=0.03)[0]):
        np.testing.assert_allclose(path.pnl.sum(-1), path.returns, rtol=0, atol=1e-13)


def test_what_is_traded_is_what_costs_are_paid_for_and_in_the_end_all_is_sold(histories_of, history):
    paths = [*histories_of.values(), play_weights(history, random_weights(1)[None], fee=FEE)[0]]
    ends = np.cumsum([len(stretch) for stretch in SPAN]) - 1
    for path in paths:
        np.testing.assert_allclose(path.cost, FEE * path.traded, rtol=1e-12, atol=1e-18)
        assert (np.flatnonzero(path.sold) == ends[path.held[ends].sum(1) > 0]).all()
    # Bought once and held: what is bought is sold, at another price; what is sold is worth the weight at the mark.
    held = histories_of["buy_and_hold"]
    rows = decision_rows(SPAN)[ends]
    grown = history.close[rows + 1] / history.open[rows + 1]
    np.testing.assert_allclose(held.sold[ends], (held.held[ends] * grown).sum(1), rtol=1e-12)


def test_cash_does_nothing(histories_of):
    path = histories_of["cash"]
    for leaf in (path.held, path.delta, path.cost, path.returns):
        assert (leaf == 0).all()


def test_buy_and_hold_trades_once_per_asset_and_stretch_at_the_first_bar_that_trades(histories_of, window):
    traded, tradable = histories_of["buy_and_hold"].delta != 0, window.tradable
    for part in (slice(0, 200), slice(200, 399)):
        np.testing.assert_array_equal(traded[part].sum(0), 1)
        np.testing.assert_array_equal(traded[part].argmax(0), tradable[part].argmax(0))
    # a third each: the first fills take 1/3 of equity, and the third cannot be bought before row 429
    assert histories_of["buy_and_hold"].delta[0, 0] in (0.0, pytest.approx(1 / 3))
    assert traded[:200, 2].argmax() >= 29


def test_equal_weight_holds_a_third_of_each_after_every_fill(histories_of, window):
    path, tradable = histories_of["equal_weight"], window.tradable
    everything = tradable.all(1)
    held = path.held[everything]
    assert (held <= 1 / 3 + 1e-12).all()
    np.testing.assert_allclose(held, 1 / 3, atol=2 * FEE)  # what the fee leaves where all cash is spent
    assert (path.delta[~tradable] == 0).all()


def test_the_base_is_multiplier_one_with_the_caps(setting, window, history):
    rules = all_rules(setting)
    target = all_orders(rules, window)["base"].target
    assert (target <= 0.07 + 1e-15).all()
    assert (target.sum(-1) <= 0.2 + 1e-15).all()
    assert (target.sum(-1) > 0.1999).any()  # the gross cap binds
    late = all_orders(rules, window_at(history, 1))["base"].target
    np.testing.assert_array_equal(late[1:200], target[:199])


def test_vol_target_is_never_geared_and_long_only(setting):
    calm = replace(setting.candles, close=100 + 0.01 * setting.candles.close)
    target = all_rules(setting._replace(candles=calm, sizing=SizingRules(max_position_pct=1.0)))["vol_target"]
    assert (target >= 0).all()
    assert target.sum(-1).max() == pytest.approx(1.0)
    assert (target.sum(-1) <= 1 + 1e-12).all()


@pytest.fixture(scope="module")
def play_policy(history):
    """`play_policy(core, span)`: the path of random parameters over a span, and the environment's parameters."""
    market = to_device(build_market(history, "vol-target"))
    params = make_params(market, SPAN, episode_steps=100, commission_rate=FEE, ruin=0.0)

    def play(core, span):
        module, hidden = make_core(core, hidden_dim=8, num_layers=1, lstm_hidden_dim=8, lstm_num_layers=1)
        policy = Policy(module, 3, hidden)
        variables = policy.init(jax.random.key(0), policy.initial_carry(1), jnp.zeros((1, observation_width(3))))
        return play_span(policy, variables, market, span, params), params

    return play


def test_a_stretch_knows_nothing_of_the_one_before(play_policy):
    both, alone = (play_policy("lstm", span)[0] for span in (SPAN, SPAN[1:]))
    for name in ("multiplier", "held", "returns"):
        np.testing.assert_allclose(getattr(both, name)[200:], getattr(alone, name), rtol=0, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("core", ["mlp", "lstm"])
def test_evaluation_of_a_policy_equals_stepping_the_environment_with_its_actions(play_policy, core):
    path, params = play_policy(core, SPAN)
    env = TradingEnv(3)

    @jax.jit
    def stretch(start, actions):
        def step(state, action):
            _, state, _, _, info = env.step_env(jax.random.key(0), state, action, params)
            return state, (info["held"], info["log_return"], state.account.weights)

        return jax.lax.scan(step, env.state_at(start), actions)[1]

    for start, rows in ((400, slice(0, 199)), (1000, slice(200, 399))):
        held, log_return, weights = stretch(start, jnp.asarray(path.multiplier[rows]))
        np.testing.assert_allclose(held, path.held[rows], rtol=1e-4, atol=1e-6)
        last = rows.stop == 399
        np.testing.assert_allclose(
            log_return[: -1 if last else None], np.log1p(path.returns[rows])[: -1 if last else None], atol=1e-6
        )
        if last:  # the environment does not sell at the end
            sale = np.log1p(-FEE * float(weights[-1].sum()))
            assert np.log1p(path.returns[-1]) == pytest.approx(float(log_return[-1]) + sale, abs=1e-6)


def test_weights_are_traced_once_for_all_values(history):
    chex.clear_trace_counter()
    tape = make_tape(to_device(build_market(history)), SPAN)
    play = jax.jit(chex.assert_max_traces(run_weights.__wrapped__, n=1))
    orders = jnp.ones((399, 1, 1), bool)
    for k in range(3):
        targets = jnp.asarray(random_weights(k)[..., None], jnp.float32)
        play(targets, orders, tape, jnp.int32(0), Costs(jnp.full(1, 0.001 * k, jnp.float32), jnp.float32(0)))


def test_momentum_holds_what_rose_over_720_bars(history, setting):
    target = momentum(setting)
    rows = decision_rows(SPAN)
    first = np.where(history.segment[rows] == 0, 0, np.argmax(history.segment == 1))
    for k in range(0, len(rows), 37):
        t = rows[k]
        known = t - 720 >= first[k]
        rose = history.close[t] > history.close[t - 720] if known else np.zeros(3, bool)
        np.testing.assert_array_equal(target[t], rose / 3)


def test_kelly_is_its_position_at_most_fully_invested(history, setting):
    positions = base_positions("kelly", history, setting.sizing)
    np.testing.assert_allclose(kelly(setting), positions / np.maximum(positions.sum(1, keepdims=True), 1))


def test_random_has_the_turnover_and_mean_weights_of_the_agent(window):
    long = {"tradable": np.ones((200_000, 3), bool), "first": np.arange(200_000) == 0}
    orders = random(window._replace(**long))
    np.testing.assert_allclose(orders.target.mean(0), MEAN, rtol=0.02)
    held = orders.target[np.maximum.accumulate(np.where(orders.trade[:, 0], np.arange(len(orders.trade)), 0))]
    assert np.abs(np.diff(held, axis=0)).sum(1).mean() == pytest.approx(TRADED, rel=0.03)


def test_constant_holds_the_mean_weights_of_the_agent(window):
    np.testing.assert_array_equal(constant(window).target, np.tile(MEAN, (len(window.seen), 1)))


def test_constant_is_the_base_times_one_number_held_as_much_as_by_the_agent(window):
    rng = np.random.default_rng(3)
    base = rng.uniform(0, 0.3, window.tradable.shape)
    base[:, 2] = 0  # of which there is none: the mean weight itself
    target = constant(window._replace(base=base)).target
    np.testing.assert_allclose(target.mean(0), MEAN, rtol=0.02)
    ratio = target[:, :2] / base[:, :2]
    below = base[:, :2] * (MEAN[:2] / base[:, :2].mean(0))
    inside = below.sum(1) + MEAN[2] < 1  # where the cap on the sum does not bind
    np.testing.assert_allclose(ratio[inside], np.broadcast_to(ratio[inside][0], ratio[inside].shape), rtol=1e-9)
    np.testing.assert_allclose(target[:, 2][inside], MEAN[2])
