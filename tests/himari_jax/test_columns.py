"""Reading by the column: what comes of many cells at once is what the rule for one cell says."""

import re
import sys
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from candle_files import START, outcome, read, with_times
from hypothesis import example, given, settings
from hypothesis import strategies as st

from himari_jax.reading import epochs, wall
from himari_jax.reading.columns import SPACE, Cells
from himari_jax.reading.epochs import epoch_times
from himari_jax.reading.numbers import MISSING, NUMBER, join_numbers, parse_numbers
from himari_jax.reading.times import join_times, parse_times, refuse_half_clock
from himari_jax.reading.wall import FORMS, ORDERS, parse_wall_times, wall_time

ODD_NUMBERS = [
    *MISSING, "NaN", "N/A", "+nan", "-nan", "inf", "-Infinity", "1e999", "1e-400", "4.9e-324", "1_0", "0x1F", "1 2",
    " 3", "3 ", "\t3", "3\x1c", "\x1f3", "\xa03", "\x1e\xa03", "１２", "٣", "1,234", "-1,234.5", "12,34", "0,123",
    "1,234e5", "1.5K", "1e", "--1", ".5", "5.", "+4", "é", "123456789012345678901234567890",
    "0.1234567890123456789012345", "\ufeff1",
]  # fmt: skip
NUMBERS = st.sampled_from(ODD_NUMBERS) | st.floats().map(repr) | st.from_regex(NUMBER, fullmatch=True)
DIGITS = st.text("0123456789", min_size=1, max_size=25)
TEXTS = st.text("01.e+-_, \tEnaif\x1c", max_size=8) | DIGITS
ODD_TIMES = [
    "2019-10-17", "20191017", "2019-10-17T0900Z", "20191017T090000,5Z", "2019-W42-4", "2019-10-17+09:00", "0999-01-01Z",
    "2019-10-17 24:00Z", "2019-02-29Z", "2020-02-29Z", "1900-02-29Z", "2019-10-17 00 PM", "2019-10-17 12 AM",
    "2019-10-17 09:00:60Z", "2019-10-17 09:60Z",
    "2019-10-17T09:00+24:00", "2019-10-17T09:00+01:60", "2019-10-17T09:00:00.0001Z", "2019-10-17T09:00:00.12300Z",
    "0000-01-01Z", "9999-12-31 23:59-2359", "yesterday", "", "é", "2019-10-17 09:00 ",
    "2019-10-17 09:00:00." + "0" * 40,
]  # fmt: skip


def in_parts(texts, cuts):
    """A column cut behind the given rows."""
    bounds = sorted({0, len(texts), *(cut % len(texts) for cut in cuts)})
    return [pl.Series(texts[a:b], dtype=pl.String) for a, b in pairwise(bounds)]


def cells_of(texts):
    return Cells("x.csv", "c", np.arange(len(texts)), lambda: pl.Series(texts, dtype=pl.String))


def same(found, wanted):
    assert isinstance(found, str) == isinstance(wanted, str), (found, wanted)
    if isinstance(wanted, str):
        assert found.startswith(wanted)
    else:
        np.testing.assert_array_equal(found, wanted)


def test_what_strip_takes_for_a_space_is_stripped():
    assert sorted(SPACE) == [chr(k) for k in range(sys.maxunicode + 1) if chr(k).isspace()]


@settings(max_examples=300)
@given(NUMBERS | TEXTS)
def test_a_finite_number_of_polars_is_that_of_python_and_no_plain_number_is_left_over(text):
    number = pl.Series([text]).cast(pl.Float64, strict=False).item()
    if number is not None and np.isfinite(number):
        assert NUMBER.fullmatch(text)
        assert number == float(text)
    elif NUMBER.fullmatch(text):
        assert np.isinf(float(text))


def python_float(text):
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def one_number(text, thousands):
    """The number of one cell: NaN where it is missing, None where it is none."""
    cell = text.strip()
    if thousands and re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", cell, re.ASCII):
        return float(cell.replace(",", ""))
    if NUMBER.fullmatch(cell):
        return float(cell)
    return float("nan") if cell.lower() in MISSING else None


def numbers_one_by_one(texts, thousands):
    floats = [python_float(text) for text in texts]
    if None not in floats:
        return floats
    numbers = [one_number(text, thousands) for text in texts]
    if None in numbers:
        index = numbers.index(None)
        plain = re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", texts[index].strip(), re.ASCII)
        what = "may be" if plain and not thousands else "is no number"
        return f"x.csv: row {index}, column 'c': {texts[index]!r} {what}"
    return numbers


@settings(max_examples=300)
@given(st.lists(NUMBERS | TEXTS, min_size=1, max_size=8), st.lists(st.integers(0, 7)), st.booleans())
@example(["+nan", "1"], [1], True)
@example(["1", "+nan", ""], [1, 2], True)
@example(["1,234", "+nan"], [], True)
@example(["1", "\x1f3", "１"], [], False)
def test_a_column_of_numbers_is_read_as_cell_by_cell_whatever_the_parts(texts, cuts, thousands):
    comma = "thousands" if thousands else ""
    parts = [parse_numbers(part, comma) for part in in_parts(texts, cuts)]
    found = outcome(lambda: join_numbers(parts, cells_of(texts), comma))
    same(found, numbers_one_by_one(texts, thousands))


def drawable(form):
    """A pattern whose parts that never match are written so that Hypothesis can read them on Python 3.13."""
    return re.compile(form.pattern.replace("(?!)", r"(?!\Z|[\s\S])"), form.flags)


@st.composite
def wall_texts(draw):
    """Times of a few shapes with digits of their own, most of them real ones, and an order of day, month and year."""
    order = draw(st.sampled_from(list(FORMS)))
    forms = st.one_of([st.from_regex(drawable(form), fullmatch=True) for form in FORMS[order]])
    shapes = draw(st.lists(forms | st.sampled_from(ODD_TIMES), min_size=1, max_size=3))
    plain = st.builds(
        "{}-{:02}-{:02}{}{:02}:{:02}{}".format, st.integers(1000, 9999), st.integers(1, 12), st.integers(1, 31),
        st.sampled_from("T "), st.integers(0, 24), st.integers(0, 60), st.sampled_from(["", "Z", "+05:30", "-2359"]),
    )  # fmt: skip
    shaken = st.sampled_from(shapes).flatmap(
        lambda shape: st.randoms(use_true_random=False).map(
            lambda rng: re.sub("[0-9]", lambda digit: rng.choice(digit[0] * 3 + "0123"), shape)
        )
    )
    return draw(st.lists(plain | shaken | st.sampled_from(shapes), min_size=1, max_size=12)), order


def check_times(texts, order="", shapes=wall.SHAPES, longest=wall.LONGEST):
    """Holds the column against its texts one by one."""
    moments, fault = [], None
    for index, text in enumerate(texts):
        try:
            moments.append(wall_time(text, order))
        except (ValueError, OverflowError):
            fault = index
            break
    with patch.multiple(wall, SHAPES=shapes, LONGEST=longest):
        part = parse_wall_times(pl.Series(texts), order)
    assert (part.fault and part.fault[0]) == fault
    for index, (moment, half) in enumerate(moments):
        zone = None if moment.tzinfo is None else wall.UTC
        assert part.time[index] == (moment - wall.EPOCH.replace(tzinfo=zone)) // wall.MILLISECOND
        assert (part.hour[index], part.half[index], part.naive[index]) == (moment.hour, half, zone is None)


@settings(max_examples=300)
@given(wall_texts(), st.sampled_from([1, 32]), st.sampled_from([12, 40]))
def test_times_of_one_shape_are_read_as_one_by_one(texts_and_order, shapes, longest):
    texts, order = texts_and_order
    check_times([text.strip() for text in texts], order, shapes, longest)


@pytest.mark.parametrize("text", ODD_TIMES)
@pytest.mark.parametrize("order", ["", *ORDERS])
def test_a_time_at_the_edge_is_read_as_one_by_one(text, order):
    check_times([text], order)


EPOCHS = st.one_of(
    st.integers(15 * 10**8, 16 * 10**8).map(str),
    st.sampled_from(["1571302800.0", "+1571302800", "1.5713028e9", "01571302800", "20191017"]),
    st.sampled_from(["1571302800\x1c", "１５", "x"]),
)  # fmt: skip


@given(st.integers(15 * 10**8, 16 * 10**8), st.lists(EPOCHS, max_size=8), st.lists(st.integers(0, 7)))
def test_a_column_of_epoch_numbers_is_read_as_cell_by_cell_whatever_the_parts(first, others, cuts):
    texts = [str(first), *others]
    stripped = [text.strip() for text in texts]
    wrong = [not re.fullmatch(r"[+-]?\d+(\.\d*)?(e\d+)?", text, re.ASCII) or text == "20191017" for text in stripped]
    parts = []
    for part in in_parts(texts, cuts):
        parts.append(parse_times(part, parts))
    found = outcome(lambda: join_times(parts, cells_of(texts)).time)
    place = f"x.csv: row {wrong.index(True)}, column 'c': " if any(wrong) else ""
    same(found, place or [round(float(text)) * 1000 for text in stripped])


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 2)), min_size=1, max_size=9), st.sampled_from([1.0, np.nan])
)
def test_a_half_clock_is_met_where_times_come_back_with_other_candles(rows, second):
    texts, hours = [f"2019-10-17 {hour}:00" for hour, _ in rows], np.array([hour for hour, _ in rows])
    candle = [np.array([float(kind) if kind == 1 else second for _, kind in rows])] * 5
    found = []
    for index, text in enumerate(texts):
        before = [k for k in range(index) if texts[k] == text]
        if before and before[-1] < index - 1 and not np.array_equal(candle[0][before[-1]], candle[0][index], True):
            found.append(f"x.csv: row {index}, column 'c': '{text}' stands in row {before[-1]} too")
    wanted = found[0] if len(found) > 1 else None  # once may be a candle given twice
    found = outcome(lambda: refuse_half_clock(cells_of(texts), hours, candle))
    assert found.startswith(wanted) if wanted else found is None


def test_epoch_numbers_do_not_become_texts_to_see_that_they_are_no_dates():
    seen = []
    with patch.object(epochs, "parse_wall_times", lambda texts: seen.append(len(texts)) or parse_wall_times(texts)):
        values = 1_577_836_800 + 3600 * np.arange(50_000)
        assert epoch_times(cells_of(list(map(str, values))), values).time[0] == 1_577_836_800_000
    assert sum(seen) < 100


def test_common_times_are_not_read_one_by_one():
    with patch.object(wall, "wall_time", side_effect=AssertionError):
        for text in ("2019-10-17 09:00:00+00:00", "2019-10-17T09:00:00.000Z", "2019/10/17 9:00 AM UTC"):
            assert read(with_times(text)).time[0] == START
