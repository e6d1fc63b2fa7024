"""Laws of faults: what is mended and how, what a last row may be, and that all faults are raised at once."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_candles import HOUR, START, changed, check, kinds, make

from himari_jax.candles import COLUMNS
from himari_jax.checking.candles import check_each
from himari_jax.errors import Fault, InputError, InputFaults

DAY = 24 * HOUR


def rows(raw, index):
    """Rows of a file, numbered anew."""
    taken = {name: getattr(raw, name)[index] for name in ("time", *COLUMNS)}
    return replace(raw, row=np.arange(len(taken["time"])) + 2, **taken)


def with_row(raw, index, **values):
    """A file with other values in one row."""
    for name, value in values.items():
        raw = changed(raw, name, index, value)
    return raw


def same(ours, theirs):
    for name in ("time", *COLUMNS, "tradable", "segment"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def faults_of(*raws, **options):
    """The faults of candles that are refused."""
    with pytest.raises(InputError) as refused:
        check(*raws, **options)
    error = refused.value
    return error.faults if isinstance(error, InputFaults) else (Fault(str(error)),)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans() | st.just(False), min_size=40, max_size=40), st.sampled_from([np.nan, 0.0, 5.0]))
def test_rows_without_a_price_are_as_good_as_not_there_and_reported(missing, volume):
    missing = np.array([*[False] * 4, *missing, *[False] * 4])
    raw = make(range(48))
    holey = replace(raw, **{name: np.where(missing, np.nan, getattr(raw, name)) for name in COLUMNS[:4]})
    holey = replace(holey, volume=np.where(missing, volume, raw.volume))
    (ours, found), (theirs, known) = check(holey, bar_ms=HOUR), check(rows(raw, ~missing), bar_ms=HOUR)
    same(ours, theirs)
    assert kinds(found) == kinds(known) | ({("no_price", "A"): missing.sum()} if missing.any() else {})


def test_what_has_some_prices_or_a_price_without_volume_is_no_missing_candle():
    for missing in (("open",), ("open", "high", "low"), ("high", "low", "close", "volume"), ("volume",)):
        raw = with_row(make(range(20)), 9, **dict.fromkeys(missing, np.nan))
        assert len(faults_of(raw)) == 1
    nothing = replace(make(range(20)), **{name: np.full(20, np.nan) for name in COLUMNS[:4]})
    assert faults_of(nothing)[0].text == "A.csv: no candle of A has a price"


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e9), st.floats(0, 0.99e-9), st.booleans())
def test_a_high_or_low_that_rounding_put_inside_the_body_is_the_body(price, share, high):
    close = price * (1 + np.arange(12) % 3)
    raw = make(range(12), close=close, high=close, low=close)
    name, factor = ("high", 1 - share) if high else ("low", 1 + share)
    candles, report = check(changed(raw, name, 7, close[7] * factor))
    same(candles, check(raw)[0])
    assert kinds(report).get(("rounding", "A"), 0) == (close[7] * factor != close[7])


def test_more_than_rounding_is_reported_with_digits_that_differ():
    raw = make(range(12), close=np.full(12, 43_633.4042914))
    (fault,) = faults_of(changed(raw, "high", 7, 43_633.4042914 * (1 - 3e-9)))
    high, top = re.search(r"high = (\S+) \(open (\S+) ", fault.text).groups()
    assert high != top


TORN = {  # the last row of a file as it may be while its bar lasts, and what is said of it
    "no close": ({"close": np.nan}, "no close"),
    "no volume yet": ({"volume": np.nan}, "no volume"),
    "high of a moment ago": ({"high": 90.0}, "high 90, open"),
    "low of a moment ago": ({"low": 110.0}, "low 110, open"),
    "time of the last trade": ({"time": START + 19 * HOUR + 1234}, "off the grid of 1 h bars"),
    "the bar again": ({"time": START + 18 * HOUR}, "for the same time in row 20"),
}


@pytest.mark.parametrize("name", TORN)
@pytest.mark.parametrize("newest_first", [False, True])
def test_an_unfinished_last_row_is_dropped_and_reported_and_the_same_row_elsewhere_is_refused(name, newest_first):
    values, words = TORN[name]
    raw, options = make(range(20)), {"repair": ("sort",)} if newest_first else {}
    order = np.arange(20)[::-1] if newest_first else np.arange(20)
    torn = rows(with_row(raw, 19, **values), order)
    candles, report = check(torn, **options)
    same(candles, check(rows(raw, np.arange(19)))[0])
    (entry,) = [entry for entry in report.entries if entry["kind"] == "unfinished"]
    assert "last row dropped" in entry["detail"]
    assert words.replace("20", "3" if newest_first else "20") in entry["detail"]
    assert len(faults_of(torn, served=True, **options)) == 1  # a request is answered for its last row or not at all
    later = joined(torn, make([20])) if not newest_first else joined(make([20]), torn)
    assert len(faults_of(later, **options)) == 1


def joined(*parts):
    """Files one after the other."""
    columns = {name: np.concatenate([getattr(raw, name) for raw in parts]) for name in ("time", *COLUMNS)}
    return replace(parts[0], row=np.arange(len(columns["time"])) + 2, **columns)


@pytest.mark.parametrize("name", TORN)
def test_two_such_rows_or_one_out_of_order_are_no_unfinished_candle(name):
    values, _ = TORN[name]
    raw = make(range(20))
    before = {key: value - HOUR if key == "time" else value for key, value in values.items()}
    assert faults_of(with_row(with_row(raw, 18, **before), 19, **values))
    early = rows(with_row(raw, 19, **values), np.r_[:10, 19, 10:19])
    assert any(fault.flag == "--repair sort" or "no volume" not in fault.text for fault in faults_of(early))
    assert faults_of(early, repair=("sort",))


def test_a_last_price_that_no_market_has_is_refused_and_a_day_that_repeats_at_the_time_of_its_last_trade_is_not():
    assert "low = -1" in faults_of(with_row(make(range(20)), 19, low=-1.0))[0].text
    days = replace(make(range(20), bar=DAY), time=START + np.arange(20) * DAY + 5 * HOUR)
    live = joined(days, with_row(rows(days, [19]), 0, time=days.time[-1] + 16 * HOUR, volume=4.0))
    for calendar in ("continuous", "sessions"):
        if calendar == "continuous":
            days, live = (replace(raw, time=raw.time - 5 * HOUR) for raw in (days, live))
        candles, report = check(live, calendar=calendar)
        same(candles, check(days, calendar=calendar)[0])
        assert kinds(report) == {("unfinished", "A"): 1}


def moved(raw):
    return rows(raw, np.r_[:9, 10, 9, 11 : len(raw.time)])


def repeated(raw):
    return joined(rows(raw, np.arange(18)), with_row(rows(raw, [17]), 0, volume=4.0), rows(raw, np.arange(18, 24)))


WRONG = {  # each in rows of its own
    "a price": lambda raw: with_row(raw, 3, open=-1.0),
    "another scale": lambda raw: with_row(raw, 4, **dict.fromkeys(COLUMNS[:4], 1e20)),
    "a high": lambda raw: with_row(raw, 5, high=1.0),
    "a low": lambda raw: with_row(raw, 6, low=1e3),
    "a volume": lambda raw: with_row(raw, 7, volume=np.nan),
    "the order": moved,
    "a time": lambda raw: with_row(raw, 14, time=raw.time[14] + 7),
    "one time twice": repeated,
    "the future": lambda raw: with_row(raw, -1, time=START + 10**7 * HOUR),
}


def lines(faults):
    """Texts without the numbers that depend on how many rows there are."""
    return sorted(re.sub(r"row \d+|of \d+ times", "", fault.text) for fault in faults)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.sampled_from(sorted(WRONG)), min_size=2))
def test_faults_are_raised_together_as_each_would_be_alone_and_nothing_else_is(names):
    raw = make(range(24))
    wrong = raw
    for name in (name for name in WRONG if name in names):
        wrong = WRONG[name](wrong)
    found = faults_of(wrong)
    assert lines(found) == lines([fault for name in names for fault in faults_of(WRONG[name](raw))])
    assert [fault.flag for fault in found if fault.flag] == ["--repair sort"] * ("the order" in names)
    assert lines(faults_of(wrong, served=True))[0] in lines(found)
    assert len(faults_of(wrong, served=True)) == 1


def test_a_kind_of_fault_is_raised_once_with_the_number_of_its_rows():
    raw = make(range(24))
    for row, name in ((3, "open"), (5, "close"), (9, "low")):
        raw = changed(raw, name, row, 0.0)
    (fault,) = faults_of(raw)
    assert fault.text.startswith("A.csv: row 5, 2020-01-01T03:00Z: open = 0 (")
    assert fault.text.endswith("; 2 more such rows")
    first, second = faults_of(with_row(raw, 2, volume=-1.0))
    assert "volume = -1" in first.text
    assert second == fault


def test_faults_of_readers_and_of_all_symbols_come_together_in_their_order():
    zone, week = Fault("B.csv: no zone; allowed: --assume-utc", "--assume-utc"), np.flatnonzero(np.arange(84) % 7 < 5)
    stock = moved(make(week, bar=DAY))
    other = replace(WRONG["a price"](make(range(84), symbol="B", bar=DAY)), faults=(zone,))
    together = faults_of(stock, other)
    assert [fault.flag for fault in together] == ["--assume-utc", "--repair sort", "", "--calendar sessions"]
    assert [fault.text[:5] for fault in together] == ["B.csv", "A.csv", "B.csv", "A.csv"]
    with pytest.raises(InputFaults) as refused:
        check_each([stock, other])
    assert sorted(refused.value.faults) == sorted(together)
    assert check_each([make(week, bar=DAY), make(range(3, 9), symbol="B")], calendar="sessions")[1][0].bar_ms == HOUR


def test_faults_that_only_follow_from_others_are_not_raised():
    raw = make(range(24))
    gone = [3, *range(8, 24, 2)]  # bad rows leave holes; the bar is that of all rows
    wrong = replace(raw, close=np.where(np.isin(np.arange(24), gone), -1.0, raw.close))
    assert len(faults_of(wrong)) == 1
    assert len(faults_of(wrong, bar_ms=HOUR)) == 1
    assert len(faults_of(replace(raw, close=-raw.close))) == 1
    mixed = faults_of(WRONG["a price"](make(range(24))), make(range(24), symbol="B", bar=DAY))
    assert [("mostly 1 day apart" in fault.text) for fault in mixed] == [False, True]
