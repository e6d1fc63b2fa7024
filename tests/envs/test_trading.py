"""Laws of TradingEnv: where episodes begin and end, what is traded, when it is traced."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episodes import EPISODE, ROWS, gapped, rollout

from envs.market import build_market, to_device
from envs.plugins import REWARD_TERMS
from envs.trading import TradingEnv, make_params
from himari_jax.account import Account
from himari_jax.errors import InputError
from himari_jax.splits import decision_rows, split_rows

pytest_plugins = ["trading_worlds"]

TERMS = tuple(name for name in REWARD_TERMS.names if name != "relative")  # it looks at what could be held


def test_truncation_at_the_time_limit_resets_and_keeps_the_final_observation(worlds):
    env, params = TradingEnv(1), worlds[1][3].replace(max_steps_in_episode=jnp.int32(3))
    obs, state = env.reset(jax.random.key(0), params)
    start = int(state.t)
    for step in range(1, 4):
        obs, state, _, terminated, truncated, info = env.step(jax.random.key(step), state, jnp.ones(1), params)
        assert not terminated
        assert bool(truncated) == (step == 3)
    # what the next episode shows: cash at a new start; what was cut off: row start + 3 with its position of a quarter
    assert int(state.time) == 0
    assert int(state.t) in np.asarray(params.starts)
    np.testing.assert_array_equal(obs[12:], 0)
    np.testing.assert_array_equal(state.account.weights, 0)
    np.testing.assert_array_equal(info["final_observation"][:12], params.market.features[start + 3, 0])
    assert info["final_observation"][12] == pytest.approx(0.25, abs=0.02)


def test_truncation_at_the_end_of_the_stretch(worlds):
    env = TradingEnv(1)
    _, train, _, params = worlds[1]
    last = train[0][-1]
    for row, cut in ((last - 1, False), (last, True)):
        truncated = env.step(jax.random.key(0), env.state_at(row), jnp.ones(1), params)[4]
        assert bool(truncated) == cut


def test_ruin_terminates_and_a_time_limit_does_not(candles):
    history = candles(1, ROWS)
    crash = 500
    for name in ("open", "high", "low", "close"):
        getattr(history, name)[crash:] *= 0.4  # 60 % down from the close of row 499 to the open of row 500
    params = make_params(to_device(build_market(history)), (range(400, 600),), episode_steps=50, max_position_pct=1.0)
    env = TradingEnv(1)
    invested = env.state_at(crash - 1)
    invested = invested.replace(account=invested.account._replace(weights=jnp.array([0.95])))
    *_, terminated, truncated, _ = env.step(jax.random.key(0), invested, jnp.full(1, 2.0), params)
    assert (bool(terminated), bool(truncated)) == (True, False)
    halved = env.step(jax.random.key(0), invested, jnp.full(1, 2.0), params.replace(ruin=jnp.float32(0.3)))
    assert (bool(halved[3]), bool(halved[4])) == (False, False)


def test_no_episode_spans_a_gap_or_leaves_the_training_span(candles):
    history = gapped(candles, 1)
    split, steps = split_rows(history), 40
    assert len(split.train) == 2
    params = make_params(to_device(build_market(history)), split.train, episode_steps=steps)
    env = TradingEnv(1)

    @jax.jit
    def play(key):
        key_reset, key_age, key_play = jax.random.split(key, 3)
        _, state = env.reset(key_reset, params)
        state = env.stagger(key_age, state, params)

        def step(state, key):
            key_step, key_action = jax.random.split(key)
            action = env.action_space(params).sample(key_action)
            _, after, _, terminated, truncated, _ = env.step(key_step, state, action, params)
            return after, (state.t, state.time, terminated | truncated)

        return jax.lax.scan(step, state, jax.random.split(key_play, 4 * steps))[1]

    t, time, done = (np.asarray(x) for x in jax.vmap(play)(jax.random.split(jax.random.key(0), 200)))
    assert np.isin(t, decision_rows(split.train)).all()
    assert (history.time[t + 1] < split.cuts[0]).all()  # the bar of the fill and the mark
    assert (history.segment[t] == history.segment[t + 1]).all()
    assert (time < steps).all()
    going = ~done[:, :-1]
    assert (t[:, 1:] == t[:, :-1] + 1)[going].all()
    assert (history.segment[t[:, 1:]] == history.segment[t[:, :-1]])[going].all()
    assert (done.sum(1) >= 3).all()
    starts = np.asarray(params.starts)
    for each in split.train:  # every episode that may start has room to its time limit
        inside = starts[np.isin(starts, each)]
        assert (inside.min(), inside.max()) == (each.start, each.stop - steps)
    assert np.isin(t[:, 1:][~going], np.asarray(params.starts)).all()


def test_one_asset_equals_three_of_which_two_cannot_be_held(worlds):
    market = worlds[3][2]
    market = market._replace(tradable=market.tradable & np.array([False, True, False]), base=market.base * 0 + 0.25)
    alone = market._replace(
        **{name: getattr(market, name)[:, 1:2] for name in ("to_fill", "to_mark", "base", "tradable")}
    )
    alone = alone._replace(features=market.features[:, 1:2], corr=market.corr[:, :0])
    actions = jnp.asarray(np.random.default_rng(0).uniform(0, 2, (300, 3)), jnp.float32)
    settings = {"episode_steps": EPISODE, "max_gross": 3.0, "reward_weights": (0.3,) * len(TERMS)}
    played = [
        rollout(TradingEnv(n, TERMS), make_params(to_device(m), worlds[3][1], **settings), a, 500)
        for n, m, a in ((3, market, actions), (1, alone, actions[:, 1:2]))
    ]
    (three, (reward_three, _)), (one, (reward_one, _)) = played
    np.testing.assert_allclose(three.account.weights, [0, one.account.weights[0], 0], rtol=1e-5)
    np.testing.assert_allclose(three.account.entry_ratio, [1, one.account.entry_ratio[0], 1], rtol=1e-5)
    np.testing.assert_allclose(three.account.log_equity, one.account.log_equity, atol=1e-5)
    np.testing.assert_allclose(reward_three, reward_one, rtol=1e-3, atol=1e-4)


def test_the_action_is_clipped_to_what_the_account_takes(worlds):
    env, params = TradingEnv(1), worlds[1][3]
    for wild, tame in ((-3.0, 0.0), (7.0, 2.0)):
        ours, theirs = (env.step(jax.random.key(0), env.state_at(500), jnp.full(1, x), params) for x in (wild, tame))
        chex.assert_trees_all_equal(ours, theirs)


def test_slippage_is_a_commission(worlds):
    _, train, market, _ = worlds[1]
    sets = ({"commission_rate": 0.001, "slippage_bps": 5.0}, {"commission_rate": 0.0015})
    costs = [make_params(to_device(market), train, episode_steps=EPISODE, **x).costs.rate for x in sets]
    assert float(costs[0]) == pytest.approx(float(costs[1]), rel=1e-6) == 0.0015


@pytest.mark.parametrize("assets", [1, 3])
def test_a_step_is_the_same_with_and_without_jit(worlds, assets):
    env, params = TradingEnv(assets, REWARD_TERMS.names), worlds[assets][3]
    params = params.replace(reward_weights=jnp.ones(len(REWARD_TERMS.names)))
    state = env.state_at(500).replace(
        account=Account(jnp.full(assets, 0.2), jnp.full(assets, 1.1), jnp.float32(0.05)),
        return_moments=jnp.array([1e-4, 1e-3]),
    )
    call = (jax.random.key(0), state, jnp.linspace(0.3, 1.9, assets), params)
    fast = jax.jit(env.step_env)(*call)
    with jax.disable_jit():
        slow = env.step_env(*call)
    chex.assert_trees_all_close(fast, slow, rtol=1e-4, atol=1e-6)


def test_a_step_is_traced_once_for_all_values_and_equal_environments(worlds):
    chex.clear_trace_counter()
    params = worlds[1][3]

    def one(env, key, state, action, params):
        return env.step(key, state, action, params)

    step = jax.jit(chex.assert_max_traces(one, n=1), static_argnums=0)
    state = TradingEnv(1).state_at(500)
    for k in range(3):
        varied = params.replace(commission_rate=jnp.float32(0.001 * k), max_steps_in_episode=jnp.int32(5 + k))
        _, state, *_ = step(TradingEnv(1), jax.random.key(k), state, jnp.full(1, 0.5 * k), varied)
    assert TradingEnv(1) != TradingEnv(2)
    assert TradingEnv(1) != TradingEnv(1, ("turnover",))


def test_without_parameters_of_its_own_it_asks_for_them_in_one_line():
    for call in (lambda: TradingEnv(1).default_params, lambda: TradingEnv(1).reset(jax.random.key(0))):
        with pytest.raises(InputError, match="made without params"):
            call()


def test_an_action_may_be_a_list_and_one_of_another_shape_is_refused_by_name(worlds):
    env, params, key = TradingEnv(3), worlds[3][3], jax.random.key(0)
    _, state = env.reset(key, params)
    expected = env.step(key, state, jnp.ones(3), params)
    for action in ([1.0, 1.0, 1.0], [1, 1, 1], np.ones(3)):
        chex.assert_trees_all_equal(env.step(key, state, action, params), expected)
    for action in (jnp.ones(2), [1.0, 1.0], 1.0, jnp.ones((1, 3))):
        with pytest.raises(InputError, match=r"action of shape \(.*\): must be \(3,\), a multiplier of each asset"):
            env.step(key, state, action, params)


def test_an_action_with_a_nan_trades_nothing(worlds):
    env, params, key = TradingEnv(3), worlds[3][3], jax.random.key(0)
    _, state = env.reset(key, params)
    state = env.step(key, state, jnp.ones(3), params)[1]
    for action in (jnp.full(3, jnp.nan), jnp.array([2.0, jnp.nan, 0.0])):
        obs, after, reward, *_, info = env.step(key, state, action, params)
        np.testing.assert_array_equal(info["delta"], 0)
        assert info["cost"] == 0
        assert np.isfinite(reward)
        assert np.isfinite(obs).all()
        assert (after.account.weights > 0).all()
