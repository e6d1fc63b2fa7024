"""Laws of the market's rows and spans: what a row shows and when, at which price it fills, where decisions lie."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episodes import EPISODE, ROWS, gapped

from envs.market import build_market, to_device
from envs.trading import TradingEnv, make_params
from himari_jax.errors import InputError
from himari_jax.splits import count_rows, decision_rows, split_rows

pytest_plugins = ["trading_worlds"]


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


def test_spans_keep_400_rows_of_embargo_after_every_cut_and_gap(candles):
    # 2400 rows: cuts at 1440 and 1920. Gaps at 700, 1150 and 1900 leave in training 400..698 and 1100..1148 of
    # segment 0..699 and 700..1149; segment 1150 has 290 rows before the cut. A decision needs the row after it.
    split = split_rows(gapped(candles, 1))
    assert split.cuts == tuple(gapped(candles, 1).time[[1440, 1920]])
    assert split.train == (range(400, 699), range(1100, 1149))
    assert split.val == (range(1840, 1899),)
    assert split.test == (range(2320, 2399),)
    assert count_rows(split.train) == len(decision_rows(split.train)) == 299 + 49
    whole = split_rows(candles(1, ROWS))
    assert (whole.train, whole.val, whole.test) == ((range(400, 1439),), (range(1840, 1919),), (range(2320, 2399),))


def test_too_few_bars_are_refused_with_both_numbers(candles, worlds):
    with pytest.raises(InputError, match=r"val span has at most 200 bars.*402"):
        split_rows(candles(1, 1000))
    market, train = worlds[1][2], worlds[1][1]
    with pytest.raises(InputError, match=r"5000.*1039 decisions"):
        make_params(market, train, episode_steps=5000)
