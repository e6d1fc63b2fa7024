"""Laws of spans: embargo, look-back, decision interval and phase, dates as cuts."""

from dataclasses import replace

import numpy as np
import pytest

from himari_jax.errors import InputError
from himari_jax.splits import (
    SPANS,
    SplitRules,
    as_stretches,
    count_rows,
    decision_rows,
    default_embargo,
    from_row,
    group_rows,
    possible_split,
    split_rows,
)
from himari_jax.times import HOUR_MS

ROWS = 3000


@pytest.fixture(scope="module")
def history(candles):
    """Hours with two gaps."""
    segment = np.zeros(ROWS, np.int32)
    segment[900:] += 1
    segment[2300:] += 1
    whole = candles(1, ROWS)
    time = whole.time + segment.astype(np.int64) * 50 * HOUR_MS
    return replace(whole, segment=segment, time=time)


def some_rules(seed):
    rng = np.random.default_rng(seed)
    step = int(rng.choice([1, 2, 6, 24, 25]))
    low, high = np.sort(rng.uniform(0.3, 0.9, 2))
    embargo = None if rng.random() < 0.2 else int(rng.integers(0, 200))
    phase = int(rng.integers(0, step)) * HOUR_MS
    return SplitRules((low, high), embargo, step, phase, int(rng.integers(0, 300)))


@pytest.mark.parametrize("seed", range(40))
def test_no_return_lies_in_two_spans_and_no_decision_sees_less_than_its_look_back(history, seed):
    rules = some_rules(seed)
    split = possible_split(history, rules)
    first = np.array([np.argmax(history.segment == history.segment[t]) for t in range(ROWS)])
    cuts = np.searchsorted(history.time, split.cuts)
    edges = dict(zip(SPANS, [(0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], ROWS)], strict=True))
    for name, span in split.spans.items():
        rows, (start, stop) = decision_rows(span), edges[name]
        assert ((rows >= start) & (rows + rules.step < stop)).all()
        assert (history.segment[rows] == history.segment[rows + rules.step]).all()
        assert (rows - first[rows] >= rules.warm_up).all()
        assert (((history.time[rows] + HOUR_MS - rules.phase_ms) // HOUR_MS) % rules.step == 0).all()
        if name != "train":
            away = rules.warm_up if rules.embargo is None else rules.embargo
            assert (rows - start >= away).all()


@pytest.mark.parametrize("seed", range(20))
def test_every_row_that_may_be_a_decision_is_one(history, seed):
    rules = replace(some_rules(seed), step=1, phase_ms=0, embargo=30)
    split = possible_split(history, rules)
    cuts = [0, *np.searchsorted(history.time, split.cuts), ROWS]
    for name, start, stop in zip(SPANS, cuts[:-1], cuts[1:], strict=True):
        expected = []
        for row in range(start + (30 if name != "train" else 0), stop - 1):
            known = row - rules.warm_up
            if known >= 0 and history.segment[known] == history.segment[row] == history.segment[row + 1]:
                expected.append(row)
        assert decision_rows(split.spans[name]).tolist() == expected


def test_dates_cut_where_the_shares_of_the_same_rows_do(history):
    shares = split_rows(history, SplitRules((0.5, 0.75), 24))
    dates = split_rows(history, SplitRules(tuple(int(history.time[int(x * ROWS)]) for x in (0.5, 0.75)), 24))
    assert shares == dates


def test_without_an_embargo_the_look_back_lies_inside_the_span(history):
    inside = split_rows(history, SplitRules((0.5, 0.75), None, warm_up=100))
    apart = split_rows(history, SplitRules((0.5, 0.75), 0, warm_up=100))
    assert inside.val[0][0] == 1500 + 100
    assert apart.val[0][0] == 1500
    assert inside.train == apart.train


def test_a_wider_interval_keeps_some_of_the_narrower_ones_decisions(history):
    every, seldom = (split_rows(history, SplitRules((0.5, 0.75), 48, step, warm_up=100)) for step in (1, 24))
    for name in SPANS:
        rows = decision_rows(seldom.spans[name])
        assert np.isin(rows, decision_rows(every.spans[name])).all()
        assert 0 < len(rows) <= count_rows(every.spans[name]) / 24 + 2


def test_the_default_embargo_is_a_day_or_the_reach_of_a_return():
    assert default_embargo(HOUR_MS) == 24
    assert default_embargo(24 * HOUR_MS) == 2
    assert default_embargo(HOUR_MS, step=168, delay=3) == 172
    assert default_embargo(7 * HOUR_MS) == 4


def test_stretches_are_found_again_in_their_rows():
    span = as_stretches(((0, 5), range(9, 40, 3), [50, 51]))
    assert span == (range(0, 5), range(9, 40, 3), range(50, 51))
    assert decision_rows(span).tolist() == [0, 1, 2, 3, 4, *range(9, 40, 3), 50]
    assert group_rows(np.array([3, 6, 9, 20, 23]), 3) == (range(3, 10, 3), range(20, 24, 3))
    for row in range(60):
        later = from_row(span, row)
        assert decision_rows(later).tolist() == [r for r in decision_rows(span).tolist() if r >= row]
    assert count_rows(from_row(span, 51)) == 0


def test_a_span_without_decisions_is_refused_with_embargo_and_look_back(history):
    with pytest.raises(InputError, match=r"val span has at most 3 bars.*embargo of 24 bars.*look-back of 400"):
        split_rows(history, SplitRules((0.5, 0.501), 24))


def test_a_span_that_gaps_made_too_short_is_refused_with_the_calendar_of_a_market_that_closes(history):
    nights = replace(history, segment=(np.arange(len(history.time)) // 120).astype(np.int32))
    for name, hint in ((nights, True), (replace(nights, calendar="sessions"), False)):
        with pytest.raises(InputError, match=r"at most 120 bars without a longer gap") as refused:
            split_rows(name)
        assert ("--calendar sessions" in str(refused.value)) == hint
    few = replace(history, **{name: getattr(history, name)[:300] for name in ("time", "close", "segment")})
    with pytest.raises(InputError) as refused:
        split_rows(few)
    assert "--calendar" not in str(refused.value)
