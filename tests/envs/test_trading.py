"""Laws of TradingEnv: the contract, where episodes end, what a row shows, what is rewarded."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import rewards
from envs.market import build_market, to_device
from envs.plugins import REWARD_TERMS
from envs.state import EnvState, update_moments
from envs.trading import TradingEnv, make_params
from himari_jax.account import Account, Trade, open_account
from himari_jax.errors import InputError
from himari_jax.features import observation_width
from himari_jax.splits import count_rows, decision_rows, split_rows

ROWS = 2400
EPISODE = 50


def gapped(candles, num_assets, at=(700, 1150, 1900), seed=0):
    """Candles of several segments."""
    market = candles(num_assets, ROWS, seed)
    return replace(market, segment=np.searchsorted(np.array(at), np.arange(ROWS), side="right").astype(np.int32))


@pytest.fixture(scope="module")
def worlds(candles):
    """For one and three assets: candles, training stretches, host market, parameters on the device."""

    def world(num_assets):
        history = candles(num_assets, ROWS, seed=num_assets)
        train = split_rows(history).train
        market = build_market(history)
        return history, train, market, make_params(to_device(market), train, episode_steps=EPISODE)

    return {n: world(n) for n in (1, 3)}


@pytest.mark.parametrize("assets", [1, 3])
def test_gymnax_contract_six_values_shapes_and_a_final_observation(worlds, assets):
    env, params = TradingEnv(assets), worlds[assets][3]
    obs, state = env.reset(jax.random.key(0), params)
    chex.assert_shape(obs, (observation_width(assets),))
    chex.assert_shape(obs, env.observation_space(params).shape)
    action = env.action_space(params).sample(jax.random.key(1))
    chex.assert_shape(action, (assets,))
    following, state, reward, terminated, truncated, info = env.step(jax.random.key(2), state, action, params)
    chex.assert_shape((reward, terminated, truncated), ())
    chex.assert_tree_all_finite((following, reward))
    assert terminated.dtype == truncated.dtype == bool
    np.testing.assert_array_equal(info["final_observation"], following)  # the same where nothing ended
    np.testing.assert_allclose(env.get_obs(state, params), following, rtol=1e-5, atol=1e-6)


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
    last = train[0][1] - 1
    for row, cut in ((last - 1, False), (last, True)):
        truncated = env.step(jax.random.key(0), env.state_at(row), jnp.ones(1), params)[4]
        assert bool(truncated) == cut


def test_ruin_terminates_and_a_time_limit_does_not(candles):
    history = candles(1, ROWS)
    crash = 500
    for name in ("open", "high", "low", "close"):
        getattr(history, name)[crash:] *= 0.4  # 60 % down from the close of row 499 to the open of row 500
    params = make_params(to_device(build_market(history)), ((400, 600),), episode_steps=50, max_position_pct=1.0)
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
    assert (t + 1 < split.cuts[0]).all()  # the bar of the fill and the mark
    assert (history.segment[t] == history.segment[t + 1]).all()
    assert (time < steps).all()
    going = ~done[:, :-1]
    assert (t[:, 1:] == t[:, :-1] + 1)[going].all()
    assert (history.segment[t[:, 1:]] == history.segment[t[:, :-1]])[going].all()
    assert (done.sum(1) >= 3).all()
    starts = np.asarray(params.starts)
    for first, stop in split.train:  # every episode that may start has room to its time limit
        inside = starts[(starts >= first) & (starts < stop)]
        assert (inside.min(), inside.max()) == (first, stop - steps)
    assert np.isin(t[:, 1:][~going], np.asarray(params.starts)).all()


def test_spans_keep_400_rows_of_embargo_after_every_cut_and_gap(candles):
    # 2400 rows: cuts at 1440 and 1920. Gaps at 700, 1150 and 1900 leave in training 400..698 and 1100..1148 of
    # segment 0..699 and 700..1149; segment 1150 has 290 rows before the cut. A decision needs the row after it.
    split = split_rows(gapped(candles, 1))
    assert split.cuts == (1440, 1920)
    assert split.train == ((400, 699), (1100, 1149))
    assert split.val == ((1840, 1899),)
    assert split.test == ((2320, 2399),)
    assert count_rows(split.train) == len(decision_rows(split.train)) == 299 + 49
    whole = split_rows(candles(1, ROWS))
    assert (whole.train, whole.val, whole.test) == (((400, 1439),), ((1840, 1919),), ((2320, 2399),))


def test_too_few_bars_are_refused_with_both_numbers(candles, worlds):
    with pytest.raises(InputError, match=r"val span has at most 200 bars.*402"):
        split_rows(candles(1, 1000))
    market, train = worlds[1][2], worlds[1][1]
    with pytest.raises(InputError, match=r"5000.*1039 decision bars"):
        make_params(market, train, episode_steps=5000)


def rollout(env, params, actions, start):
    """Rewards and final account of actions (L, N) from a row."""

    def step(state, action):
        _, after, reward, _, info = env.step_env(jax.random.key(0), state, action, params)
        return after, (reward, info["log_return"])

    return jax.jit(lambda actions: jax.lax.scan(step, env.state_at(start), actions))(actions)


TERMS = tuple(name for name in REWARD_TERMS.names if name != "relative")  # it looks at what could be held


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


def outcome(log_return=0.0, delta=(0.0,), held=(0.0,), log_equity=0.0, peak=0.0, moments=(0.0, 0.0), neutral=0.0):
    """What a reward term looks at, of which each test sets what counts."""
    zero = jnp.zeros((), jnp.int32)
    account = open_account(jnp.zeros(len(held)))._replace(log_equity=jnp.float32(log_equity))
    state = EnvState(zero, zero, account, jnp.float32(peak), jnp.asarray(moments))
    gain = jnp.float32(np.expm1(log_return))
    delta, held = jnp.asarray(delta), jnp.asarray(held)
    trade = Trade(delta, held, jnp.float32(0), held, gain, jnp.float32(log_return))
    return rewards.StepOutcome(state, state, trade, jnp.float32(neutral))


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        ("log_return", {"log_return": 0.013}, 0.013),
        # equity .9 after a peak of 1.2 lies a quarter below it
        ("drawdown", {"log_equity": np.log(0.9), "peak": np.log(1.2)}, -0.25),
        ("drawdown", {"log_equity": 0.2, "peak": 0.2}, 0.0),
        ("volatility", {"log_return": -0.02}, -0.0004),
        ("turnover", {"delta": (0.3, -0.2, 0.0)}, -0.5),
        # .3 and .1 are three quarters and one quarter: 9/16 + 1/16
        ("concentration", {"held": (0.3, 0.1)}, -0.625),
        ("concentration", {"held": (0.0, 0.0)}, 0.0),
        ("diversity", {"held": (0.3, 0.1)}, 0.375),
        ("diversity", {"held": (0.3, 0.0)}, 0.0),
        ("diversity", {"held": (0.0, 0.0)}, 0.0),
        # A = .01, B = .0005: variance .0004, its power 1.5 is 8e-6. R = .03: dA = .02, dB = .0009 - .0005 = .0004.
        # (.0005 * .02 - .01 * .0004 / 2) / 8e-6 = (1e-5 - 2e-6) / 8e-6 = 1
        ("differential_sharpe", {"log_return": 0.03, "moments": (0.01, 0.0005)}, 1.0),
        ("differential_sharpe", {"log_return": 0.03, "moments": (0.0, 0.0)}, 0.0),
        ("relative", {"neutral": 0.004}, -0.004),
    ],
)
def test_reward_terms_by_hand(name, seen, expected):
    assert float(REWARD_TERMS.load(name)(outcome(**seen), None)) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_moments_move_a_hundredth_of_the_way():
    moments = update_moments(jnp.array([0.01, 0.0005]), jnp.float32(0.03))
    np.testing.assert_allclose(moments, [0.0102, 0.000504], rtol=1e-5)


def test_the_reward_is_the_weighted_sum_of_its_terms_and_a_weight_of_zero_is_off(worlds):
    _, train, market, _ = worlds[3]
    actions = jnp.asarray(np.random.default_rng(1).uniform(0, 2, (40, 3)), jnp.float32)
    env, weights = TradingEnv(3, REWARD_TERMS.names), np.arange(1.0, 1 + len(REWARD_TERMS.names))

    def total(weights):
        params = make_params(to_device(market), train, episode_steps=EPISODE, reward_weights=tuple(weights))
        return rollout(env, params, actions, 600)[1]

    mixed, log_returns = total(weights)
    single = [total(row)[0] for row in np.diag(weights)]
    np.testing.assert_allclose(mixed, sum(single), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(single[0], log_returns, rtol=1e-6)


def test_relative_is_free_of_the_action_and_of_costs_by_hand(worlds):
    # Base .25 each of three: sum(.25 * (close[t+1] / close[t] - 1)), whatever is held and paid.
    history, train, market, _ = worlds[3]
    env = TradingEnv(3, ("relative",))
    params = make_params(to_device(market), train, episode_steps=EPISODE, commission_rate=0.01)
    for scale in (0.0, 2.0):
        _, (reward, _) = rollout(env, params, jnp.full((20, 3), scale), 600)
        growth = history.close[601:621] / history.close[600:620] - 1
        np.testing.assert_allclose(reward, -np.log1p(0.25 * growth.sum(1)), rtol=1e-4, atol=1e-7)


def test_the_action_is_clipped_to_what_the_account_takes(worlds):
    env, params = TradingEnv(1), worlds[1][3]
    for wild, tame in ((-3.0, 0.0), (7.0, 2.0)):
        ours, theirs = (env.step(jax.random.key(0), env.state_at(500), jnp.full(1, x), params) for x in (wild, tame))
        chex.assert_trees_all_equal(ours, theirs)


def test_delay_is_late_with_what_is_seen_and_on_time_with_prices(candles):
    history = gapped(candles, 2)
    now, late = (build_market(history, "vol-target", delay=d) for d in (0, 2))
    rows = np.array([420, 698, 702, 1149, 2399])
    for name in ("features", "corr", "base"):
        np.testing.assert_array_equal(getattr(late, name)[rows], getattr(now, name)[rows - 2])
        np.testing.assert_array_equal(getattr(late, name)[700:703], getattr(now, name)[[700, 700, 700]])
    for name in ("to_fill", "to_mark", "tradable"):
        np.testing.assert_array_equal(getattr(late, name), getattr(now, name))


def test_delay_shows_the_account_as_of_now(worlds):
    history, train, _, _ = worlds[1]
    env = TradingEnv(1)
    params = make_params(to_device(build_market(history, delay=1)), train, episode_steps=EPISODE)
    obs, state, *_ = env.step(jax.random.key(0), env.state_at(500), jnp.ones(1), params)
    undelayed = worlds[1][2]
    np.testing.assert_array_equal(obs[:12], undelayed.features[500, 0])
    assert obs[12] == state.account.weights[0] > 0


def test_fill_modes_by_hand(candles):
    # closes 100, 110, 99; opens of bars 1 and 2 are 105 and 110; bar 2 does not trade.
    history = candles(1, 3)
    history = replace(
        history,
        open=np.array([[100.0], [105.0], [110.0]]),
        high=np.array([[100.0], [110.0], [110.0]]),
        low=np.array([[100.0], [105.0], [99.0]]),
        close=np.array([[100.0], [110.0], [99.0]]),
        tradable=np.array([[True], [True], [False]]),
    )
    expected = {
        "next-open": ([0.05, 0.0, 0], [110 / 105 - 1, -0.1, 0], [True, False, False]),
        "same-close": ([0, 0, 0], [0.1, -0.1, 0], [True, True, False]),
    }
    for fill, values in expected.items():
        market = build_market(history, fill=fill, dtype=np.float64)
        for name, value in zip(("to_fill", "to_mark", "tradable"), values, strict=True):
            np.testing.assert_allclose(getattr(market, name)[:, 0], value, rtol=0, atol=1e-15)
    with pytest.raises(InputError, match="next-open, same-close"):
        build_market(history, fill="yesterday")
    with pytest.raises(InputError, match="--delay -1"):
        build_market(history, delay=-1)


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
