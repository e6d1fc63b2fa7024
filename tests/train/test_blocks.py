"""Blocks of a walk-forward test: skfolio's splits, by the calendar, each decision in one of them."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from accounts import make_candles
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.model_selection import WalkForward as Oracle

from himari_jax.errors import InputError
from himari_jax.splits import SplitRules, count_rows, decision_rows, possible_split
from train.config.walk_forward import WalkForwardConfig
from train.data.blocks import Block, block_of, later, plan_blocks, split_block, with_decisions

DAY = 86_400_000


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def daily(rows, symbol="A", skip=0, first="2001-01-01", weekdays=False):
    """Daily candles; those of weekdays alone have the calendar of sessions."""
    time = at(first) + DAY * np.arange(3 * rows)
    time = time[np.isin((time // DAY + 3) % 7, range(5))] if weekdays else time  # 1970-01-01 was a Thursday
    candles = make_candles(1, rows, bar_ms=DAY)
    names = ("open", "high", "low", "close", "volume", "tradable", "segment")
    cut = {name: getattr(candles, name)[skip:] for name in names}
    calendar = "sessions" if weekdays else "continuous"
    return replace(candles, symbols=(symbol,), calendar=calendar, time=time[:rows][skip:], **cut)


def rules_of(embargo=0, step=1, warm_up=0):
    return SplitRules((0.6, 0.8), embargo, step, warm_up=warm_up)


def blocks_of(walk, parts, rules):
    """Blocks, and the split of each part in each of them."""
    blocks = with_decisions(plan_blocks(walk, parts, rules.embargo), parts, rules)
    return blocks, [split_block(block, parts, rules) for block in blocks]


def possible(rows, candles, step, stop):
    """Rows at which something may be decided: inputs look back 12 bars, `--decide-every` counts from 1970, and the
    decision is marked a step later, before a row."""
    close = candles.time[rows] // candles.bar_ms + 1
    return rows[(rows >= 12) & (close % step == 0) & (rows + step < stop)]


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("embargo", [0, 2, 9])
@pytest.mark.parametrize("window", ["expanding", "80d"])
@pytest.mark.parametrize("skip", [0, 150])  # rows before a later symbol of a pool
def test_splits_are_those_of_skfolio(window, embargo, step, skip):
    rows, first, expanding = 500, 200 if window == "expanding" else 120, window == "expanding"
    parts = (daily(rows), daily(rows, "B", skip)) if skip else (daily(rows),)
    day = str(np.datetime64(int(parts[0].time[first]), "ms"))[:10]
    _, splits = blocks_of(WalkForwardConfig(day, "60d", window, "40d"), parts, rules_of(embargo, step, 12))
    oracle = Oracle(60, first - embargo, expand_train=expanding, purged_size=embargo, reduce_test=True)
    for (known, test), own in zip(oracle.split(np.zeros((rows, 1))), splits, strict=True):
        for candles, split, before in zip(parts, own, (0, skip), strict=False):
            expected = possible(test - before, candles, step, len(candles.time))
            assert (decision_rows(split.test).tolist() if split else []) == expected.tolist()
            # Our validation span belongs to skfolio's training rows; before it lies an embargo as well.
            usable, val = possible(known - before, candles, step, known[-1] + 1 - before), test[0] - 40 - before
            ours = np.concatenate([decision_rows(split.train), decision_rows(split.val)]) if split else []
            left_out = np.setdiff1d(usable, ours)
            assert set(ours) <= set(usable)
            assert ((left_out >= val - embargo - step) & (left_out < val)).all()


@pytest.mark.parametrize("embargo", [0, 3])
def test_splits_of_sessions_are_those_of_skfolio(embargo):
    candles = daily(300, weekdays=True)
    walk = WalkForwardConfig("2001-06-04", "28d", "expanding", "28d")  # Mondays: 20 sessions each
    first = int(np.searchsorted(candles.time, at("2001-06-04")))
    _, splits = blocks_of(walk, (candles,), rules_of(embargo))
    oracle = Oracle(20, first - embargo, expand_train=True, purged_size=embargo, reduce_test=True)
    for (known, test), (split,) in zip(oracle.split(np.zeros((300, 1))), splits, strict=True):
        assert decision_rows(split.test).tolist() == test[test < 299].tolist()
        assert decision_rows(split.val)[-1] + 1 == known[-1]
        assert split.val[0][0] == test[0] - 20


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_test_blocks_tile_the_time_after_the_first_one(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    test = data.draw(st.sampled_from(["1mo", "45d", "36h", "1y", "2w"]))
    step, embargo, delay = data.draw(st.sampled_from([1, 3, 24])), data.draw(st.integers(0, 30)), 30
    segment = np.cumsum(rng.random(3000) < data.draw(st.sampled_from([0, 0.002]))).astype(np.int32)
    whole = make_candles(1, 3000)
    whole = replace(whole, segment=segment, time=whole.time + segment * 12 * 3_600_000)
    parts = (whole, *([listed_later(whole, 900)] if data.draw(st.booleans()) else []))
    walk = WalkForwardConfig("2020-03-15", test, "expanding", "20d")
    rules = rules_of(embargo, step, warm_up=delay)
    blocks = with_decisions(plan_blocks(walk, parts, embargo), parts, rules)
    tests = [split_block(block, parts, rules) for block in blocks]
    every = split_block(blocks[0], parts, rules, whole=True)
    for n, candles in enumerate(parts):
        own = [decision_rows(splits[n].test) if splits[n] else np.zeros(0, int) for splits in tests]
        rows = decision_rows(every[n].test)
        assert (candles.time[rows] >= at("2020-03-15")).all()
        number = block_of(blocks, candles.time[rows] + candles.bar_ms, candles.bar_ms)
        for k, block in enumerate(blocks):
            inside = candles.time[rows[number == k]]
            assert ((inside >= block.test) & (inside < block.end)).all()
        # Each block cuts with an embargo of its own rows: a symbol with gaps may begin a little later there.
        assert set(np.concatenate(own)) <= set(rows)
        if len(parts) == 1 and step == 1:
            assert np.concatenate(own).tolist() == rows.tolist()


def listed_later(candles, skip):
    """A symbol that begins later."""
    names = ("time", "open", "high", "low", "close", "volume", "tradable", "segment")
    return replace(candles, symbols=("B",), **{name: getattr(candles, name)[skip:] for name in names})


def test_blocks_follow_the_calendar():
    assert later(at("2016-02-29"), "1y", 1) == at("2017-02-28")
    assert later(at("2016-02-29"), "1y", 4) == at("2020-02-29"), "counted from the first day: no drift"
    assert later(at("2018-01-31"), "1mo", 1) == at("2018-02-28")
    assert later(at("2018-01-31"), "3mo", 2) == at("2018-07-31")
    assert later(at("2018-01-01"), "90d", 1) == at("2018-04-01")
    assert later(at("2018-01-01"), "2w", -1) == at("2017-12-18")
    assert later(at("2020-03-01"), "1y", -1) == at("2019-03-01")
    assert later(at("2018-01-01"), "36h", 1) == at("2018-01-02T12:00")
    candles = daily(2000, first="2015-06-01")
    blocks = plan_blocks(WalkForwardConfig("2018-01-01", "1y", "2y", "6mo"), (candles,), 0)
    assert [block.test for block in blocks] == [at(f"{year}-01-01") for year in (2018, 2019, 2020)]
    assert [block.end for block in blocks] == [at(f"{year}-01-01") for year in (2019, 2020, 2021)]
    assert [block.val for block in blocks] == [at(f"{year}-07-01") for year in (2017, 2018, 2019)]
    assert [block.train for block in blocks] == [at(f"{year}-07-01") for year in (2015, 2016, 2017)]


def test_without_a_first_day_tests_begin_in_the_middle_of_the_candles():
    (first, *_) = plan_blocks(WalkForwardConfig(validation="3mo"), (daily(731),), 1)
    assert first.test == at("2002-01-01")


def test_a_rolling_window_begins_where_it_says_and_its_first_inputs_may_look_back_before_it():
    candles, rules = daily(400), rules_of(2, warm_up=20)
    (block, *_), ((split,), *_) = blocks_of(WalkForwardConfig("2001-09-01", "60d", "60d", "30d"), (candles,), rules)
    assert candles.time[split.train[0][0]] == block.train == at("2001-06-03")
    assert split.train[0][-1] + 1 == split.val[0][0] - 2 - 1
    assert split.val[0][-1] + 1 == split.test[0][0] - 2 - 1


def test_an_expanding_block_has_the_spans_of_train_ppo_with_its_cuts():
    candles, rules = daily(500), rules_of(3, 2, 10)
    blocks, splits = blocks_of(WalkForwardConfig("2001-09-01", "60d", "expanding", "40d"), (candles,), rules)
    for block, (split,) in zip(blocks, splits, strict=True):
        run = possible_split(candles, replace(rules, cuts=block.cuts))
        assert (split.train, split.val, split.cuts) == (run.train, run.val, run.cuts)


def test_a_block_in_which_nothing_is_decided_is_left_out():
    walk = WalkForwardConfig("2001-03-02", "1mo", validation="20d")
    blocks, splits = blocks_of(walk, (daily(120 + 1),), rules_of(1))  # the last bar is of 2001-05-01
    assert (len(blocks), count_rows(splits[-1][0].test)) == (2, 29)
    blocks, splits = blocks_of(replace(walk, first_test="2001-04-01"), (daily(122),), rules_of(1))
    assert (len(blocks), count_rows(splits[-1][0].test)) == (2, 1)
    gap = daily(200)
    gap = replace(
        gap, time=gap.time + np.where(np.arange(200) >= 100, 100 * DAY, 0), segment=(np.arange(200) >= 100) * 1
    )
    blocks = with_decisions(plan_blocks(walk, (gap,), 1), (gap,), rules_of(1))
    dates = [str(np.datetime64(block.test, "ms"))[:10] for block in blocks]
    assert dates == ["2001-03-02", "2001-04-02", "2001-07-02", "2001-08-02", "2001-09-02", "2001-10-02"]


@pytest.mark.parametrize(
    ("walk", "says"),
    [
        (WalkForwardConfig("2030-01-01"), "--first-test 2030-01-01: the candles go from 2001-01-01T00:00Z to 2002-"),
        (WalkForwardConfig("2001-01-01"), "--first-test 2001-01-01: the candles go from"),
        (WalkForwardConfig("2001-06-01"), "nothing is left to train on before the validation span from 2000-06-01"),
        (WalkForwardConfig("2001-06-01", validation="9999y"), "validate for less than 9999y"),
        (WalkForwardConfig("2001-02-15", validation="30d"), "no decision lies in its train span; a look-back of 40"),
        (WalkForwardConfig("2001-06-01", validation="1d"), "no decision lies in its val span"),
        (WalkForwardConfig("2001-06-01", window="1d", validation="30d"), "no decision lies in its train span"),
        (WalkForwardConfig("2002-02-04", validation="30d"), "nothing is decided from then on"),
    ],
)
def test_what_leaves_a_span_empty_is_refused_in_one_line(walk, says):
    with pytest.raises(InputError) as error:
        blocks_of(walk, (daily(400),), rules_of(2, warm_up=40))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["test", "window", "validation", "placebo"])
@pytest.mark.parametrize("bad", ["0y", "1", "y", "1.5y", "-1y", "1 y", "1m", "10000y", ""])
def test_periods_are_a_number_and_a_unit(name, bad):
    with pytest.raises(InputError, match=rf"--{name} .*such as 1y, 3mo, 90d"):
        WalkForwardConfig(**{name: (bad,) if name == "placebo" else bad})


def test_decisions_are_numbered_by_the_bar_that_they_follow():
    blocks = [Block(None, 0, start, start + 10, (0, 0)) for start in (10, 20, 30)]
    assert block_of(blocks, np.array([12, 21, 22, 31, 32, 99]), 2).tolist() == [0, 0, 1, 1, 2, 2]
