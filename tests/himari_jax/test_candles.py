"""Laws of `check_candles`: the table of faults at the boundary, row by row, and that no repair looks ahead."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from raw_candles import HOUR, START, changed, check, kinds, make

from himari_jax.candles import COLUMNS
from himari_jax.errors import InputError


def test_clean_candles_pass_unchanged_and_unreported():
    raw = make(range(10))
    candles, report = check(raw)
    assert report.entries == []
    assert candles.bar_ms == HOUR
    assert candles.symbols == ("A",)
    assert candles.tradable.all()
    assert (candles.segment == 0).all()
    assert candles.segment.dtype == np.int32
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(candles, name)[:, 0], getattr(raw, name))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [(name, value, "finite and > 0") for name in COLUMNS[:4] for value in (np.nan, np.inf, 0.0, -1.0)]
    + [
        ("high", 101.9, "high >= max"),
        ("low", 102.1, "low <= min"),
        ("volume", -1.0, ">= 0"),
        ("volume", np.nan, ">="),
        ("low", 1e-19, "1e-18 to 1e+18"),
        ("high", 1e19, "1e-18 to 1e+18"),
        ("volume", 1e31, "up to 1e+30"),
    ],
)
def test_a_bad_price_or_volume_is_rejected_with_file_row_time_and_value(name, value, allowed):
    raw = changed(make(range(10)), name, 2, value)
    with pytest.raises(InputError) as error:
        check(raw)
    text = str(error.value)
    assert "A.csv: row 4, 2020-01-01T02:00Z" in text
    assert f"{name} = {value:.12g}" in text
    assert allowed in text
    assert "\n" not in text


def test_a_time_off_the_bar_grid_is_rejected():
    with pytest.raises(InputError, match=r"row 5, 2020-01-01T03:00:00.007Z: off the grid of 1 h"):
        check(changed(make(range(10)), "time", 3, START + 3 * HOUR + 7))
    with pytest.raises(InputError, match="off the grid"):  # closing times instead of opening times
        check(replace(make(range(10)), time=START + np.arange(10) * HOUR + HOUR - 1))


def test_bars_of_days_and_weeks_may_have_a_common_phase_but_only_one():
    check(make(range(10), bar=7 * 24 * HOUR))  # 2020-01-01 is a Wednesday
    check(replace(make(range(10), bar=4 * HOUR), time=START + HOUR + np.arange(10) * 4 * HOUR))
    shifted = replace(make(range(10), symbol="B", bar=4 * HOUR), time=START + HOUR + np.arange(10) * 4 * HOUR)
    with pytest.raises(InputError, match=r"B.csv: row 2, .* off the grid of 4 h bars"):
        check(make(range(12), bar=4 * HOUR), shifted)


def test_rows_out_of_time_order_are_rejected_unless_repaired_by_sort():
    raw = make([0, 1, 3, 2, 4, 5])
    with pytest.raises(InputError, match=r"row 5, 2020-01-01T02:00Z: follows 2020-01-01T03:00Z.*--repair sort"):
        check(raw)
    candles, report = check(raw, repair=("sort",))
    assert kinds(report) == {("sorted", "A"): 1}
    np.testing.assert_array_equal(candles.close[:, 0], raw.close[[0, 1, 3, 2, 4, 5]])


@pytest.mark.parametrize("repair", [(), ("sort",)])
def test_the_same_time_with_other_values_is_rejected_always(repair):
    raw = make([0, 1, 1, 2, 3], close=[100, 101, 102, 103, 104])
    with pytest.raises(InputError, match=r"row 4, 2020-01-01T01:00Z: open = 102, but 101 .* in row 3"):
        check(raw, repair=repair)


def test_exact_duplicate_rows_are_dropped_and_reported():
    candles, report = check(make([0, 1, 1, 1, 2, 3], close=[100, 101, 101, 101, 102, 103]))
    assert kinds(report) == {("duplicate", "A"): 2}
    assert "2020-01-01T01:00Z" in report.entries[0]["detail"]
    np.testing.assert_array_equal(candles.close[:, 0], [100, 101, 102, 103])


def test_a_gap_of_up_to_three_bars_carries_the_price_forward_untradable_and_reported():
    candles, report = check(make([0, 1, 2, 6, 7, 8, 9]))
    np.testing.assert_array_equal(candles.time, START + np.arange(10) * HOUR)
    for name in COLUMNS[:4]:
        np.testing.assert_array_equal(getattr(candles, name)[3:6, 0], [102] * 3)
    assert (candles.volume[3:6] == 0).all()
    assert not candles.tradable[3:6].any()
    assert candles.tradable.sum() == 7
    assert (candles.segment == 0).all()
    assert kinds(report) == {("gap", "A"): 3}


def test_a_gap_of_four_bars_splits_all_assets_and_drops_its_rows():
    candles, report = check(make([0, 1, 2, 7, 8, 9]), make(range(10), symbol="B"))
    np.testing.assert_array_equal(candles.time, START + np.array([0, 1, 2, 7, 8, 9]) * HOUR)
    np.testing.assert_array_equal(candles.segment, [0, 0, 0, 1, 1, 1])
    assert candles.tradable.all()
    assert kinds(report) == {("split", "A"): 1, ("split_loss", "B"): 4}
    assert "2020-01-01T02:00Z to 2020-01-01T07:00Z (4 bars)" in report.entries[0]["detail"]


def test_assets_are_cut_to_the_common_span_and_each_loss_is_reported():
    candles, report = check(make(range(0, 8)), make(range(3, 12), symbol="B"))
    np.testing.assert_array_equal(candles.time, START + np.arange(3, 8) * HOUR)
    assert kinds(report) == {("common_span", "A"): 3, ("common_span", "B"): 4}
    with pytest.raises(InputError, match="no bar in common"):
        check(make(range(0, 8)), make(range(20, 30), symbol="B"))


def test_a_gap_at_the_cut_is_filled_from_the_candle_before_the_cut():
    candles, _ = check(make([0, 1, 4, 5, 6]), make(range(2, 8), symbol="B"))
    np.testing.assert_array_equal(candles.close[:2, 0], [101, 101])
    np.testing.assert_array_equal(candles.tradable[:, 0], [False, False, True, True, True])


def test_a_jump_of_more_than_half_is_listed_as_a_warning():
    # 100 -> 151 is +51 %; 151 -> 74 is -51 %; 74 -> 100 is +35 %; the candles reach 1 % further than their close
    candles, report = check(make(range(5), close=[100, 151, 74, 100, 100]))
    assert kinds(report) == {("jump", "A"): 2}
    assert candles.tradable.all()
    assert "2020-01-01T01:00Z, 2020-01-01T02:00Z" in report.entries[0]["detail"]


def test_the_sixth_equal_flat_bar_without_volume_and_those_after_it_are_untradable():
    close = np.array([100, 101, *[102] * 8, 103, 104.0])
    raw = make(range(12), close=close, high=close, low=close, volume=[5, 5, *[0] * 8, 5, 5])
    candles, report = check(raw)
    np.testing.assert_array_equal(np.flatnonzero(~candles.tradable[:, 0]), [7, 8, 9])
    assert kinds(report) == {("flat", "A"): 3}
    trading = changed(raw, "volume", 5, 1.0)  # a trade in the run: 3 and 4 flat bars are left
    assert check(trading)[0].tradable.all()


def test_a_last_candle_that_ends_after_now_is_dropped_and_found_by_time():
    raw = make([9, 8, 7, 6, 5, 4])
    candles, report = check(raw, now_ms=START + 10 * HOUR - 1, repair=("sort",))
    assert candles.time[-1] == START + 8 * HOUR
    assert kinds(report)["unfinished", "A"] == 1
    assert len(check(raw, now_ms=START + 10 * HOUR, repair=("sort",))[0].time) == 6
    with pytest.raises(InputError, match="row 2, 2020-01-01T09:00Z: opens after now"):
        check(replace(raw, row=raw.row), now_ms=START + 9 * HOUR - 1, repair=("sort",))


def test_the_bar_is_the_most_common_difference_and_must_be_the_given_one():
    assert check(make([0, 1, 2, 4, 5, 9, 10]))[0].bar_ms == HOUR
    assert check(make(range(5)), bar_ms=HOUR)[0].bar_ms == HOUR
    with pytest.raises(InputError, match="mostly 1 h apart; allowed: candles of 5 min"):
        check(make(range(5)), bar_ms=HOUR // 12)
    with pytest.raises(InputError, match="B are mostly 4 h apart"):
        check(make(range(12)), make(range(5), symbol="B", bar=4 * HOUR))
    with pytest.raises(InputError, match="no bar can be inferred"):
        check(make([0]))


def test_sessions_have_no_gaps_where_no_asset_trades_but_split_where_one_misses_four_rows():
    week = np.concatenate([np.arange(5), np.arange(7, 12), np.arange(14, 19)])
    day = 24 * HOUR
    candles, report = check(make(week, bar=day), make(week, symbol="B", bar=day), calendar="sessions")
    assert len(candles.time) == 15
    assert (candles.segment == 0).all()
    assert report.entries == []
    late = make(np.delete(week, [3, 4, 5]), symbol="B", bar=day)
    assert kinds(check(make(week, bar=day), late, calendar="sessions")[1]) == {("gap", "B"): 3}
    gone = make(np.delete(week, [3, 4, 5, 6]), symbol="B", bar=day)
    candles, report = check(make(week, bar=day), gone, calendar="sessions")
    assert kinds(report) == {("split", "B"): 1, ("split_loss", "A"): 4}
    np.testing.assert_array_equal(candles.segment, [0] * 3 + [1] * 8)


def test_sessions_put_days_on_a_grid_of_hours_so_that_summer_time_passes():
    shift = np.where(np.arange(10) < 5, 5, 4) * HOUR  # midnight in New York before and after the change
    summer = replace(make(range(10), bar=24 * HOUR), time=START + np.arange(10) * 24 * HOUR + shift)
    assert len(check(summer, calendar="sessions")[0].time) == 10
    with pytest.raises(InputError, match="off the grid"):
        check(summer)
    with pytest.raises(InputError, match="off the grid"):
        check(changed(summer, "time", 3, summer.time[3] + 60_000), calendar="sessions")


def test_a_stray_date_a_century_away_does_not_ask_for_memory():
    minute = make([0, 1, 2, 3, 70 * 365 * 24 * 60], bar=60_000)
    candles, _ = check(minute, now_ms=4 * 10**12)
    assert len(candles.time) == 5
    assert candles.segment[-1] == 1


@pytest.mark.parametrize(
    ("raws", "options", "words"),
    [
        ([], {}, "no candles"),
        ([make([])], {}, "A.csv: no candles of A"),
        ([make(range(5)), make(range(5))], {}, "A is given twice"),
        ([make(range(5))], {"calendar": "lunar"}, "continuous or sessions"),
        ([make(range(5))], {"repair": ("magic",)}, "must be sort"),
        ([make(range(5))], {"bar_ms": 0}, "allowed: > 0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(raws, options, words):
    with pytest.raises(InputError, match=words):
        check(*raws, **options)


def test_what_a_reader_noted_is_in_the_report_and_synthetic_stays_marked():
    candles, report = check(replace(make(range(5)), notes=("byte order mark skipped",), synthetic=True))
    assert candles.synthetic
    assert report.entries[0]["kind"] == "note"
    assert report.entries[0]["detail"] == "A.csv: byte order mark skipped"


@st.composite
def holey(draw):
    """Two assets with holes, flat stretches and jumps, and a time to cut at."""
    raws = []
    for symbol in "AB":
        hours = np.flatnonzero([True] * 4 + draw(st.lists(st.booleans() | st.just(True), min_size=26, max_size=56)))
        close = np.array(draw(st.lists(st.sampled_from([100.0, 101.0, 240.0]), min_size=60, max_size=60)))
        close, volume = np.repeat(close, 8)[hours], np.repeat(close != 100, 8)[hours]
        raws.append((hours, {"close": close, "high": close, "low": close, "volume": volume}, symbol))
    return [make(hours, symbol=symbol, **columns) for hours, columns, symbol in raws], draw(st.integers(8, 50))


@settings(max_examples=150, deadline=None)
@given(holey())
def test_repairs_never_use_later_bars(case):
    raws, cut = case
    limit = START + cut * HOUR
    past = [replace(raw, **{n: getattr(raw, n)[raw.time < limit] for n in ("row", "time", *COLUMNS)}) for raw in raws]
    try:
        whole, known = check(*raws, bar_ms=HOUR)[0], check(*past, bar_ms=HOUR)[0]
    except InputError:
        reject()  # the holes make 2 h the most common difference, or leave no common span
    rows = len(known.time)
    for name in ("time", *COLUMNS, "tradable", "segment"):
        np.testing.assert_array_equal(getattr(known, name), getattr(whole, name)[:rows], err_msg=name)
    later = [replace(raw, **{n: np.where(raw.time >= limit, 7.0, getattr(raw, n)) for n in COLUMNS}) for raw in raws]
    other = check(*later, bar_ms=HOUR)[0]
    before = whole.time < limit
    for name in ("time", *COLUMNS, "tradable", "segment"):
        np.testing.assert_array_equal(getattr(other, name)[before], getattr(whole, name)[before], err_msg=name)


@settings(max_examples=100, deadline=None)
@given(holey())
def test_rows_of_a_segment_are_consecutive_bars_and_real_rows_keep_their_values(case):
    raws, _ = case
    try:
        candles, _ = check(*raws, bar_ms=HOUR)
    except InputError:
        reject()  # as above
    step = np.diff(candles.time) // HOUR
    assert (step[np.diff(candles.segment) == 0] == 1).all()
    assert (step[np.diff(candles.segment) == 1] > 4).all()
    for column, raw in enumerate(raws):
        real = np.isin(candles.time, raw.time)
        row = np.searchsorted(raw.time, candles.time[real])
        np.testing.assert_array_equal(candles.close[real, column], raw.close[row])
        assert not candles.tradable[~real, column].any()
        assert (candles.volume[~real, column] == 0).all()
