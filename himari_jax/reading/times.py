"""Times: the cells of a time column as epoch milliseconds in UTC, or an error that says what is unclear."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from himari_jax.errors import InputError
from himari_jax.reading.columns import SPACE, Cells, shown
from himari_jax.reading.epochs import (
    ALLOWED,
    UNITS,
    EpochPart,
    Times,
    epoch_times,
    is_epoch,
    parse_epoch,
    refuse_finer,
)
from himari_jax.reading.wall import OPEN_ORDER, ORDERS, WallPart, parse_wall_times, wall_time

if TYPE_CHECKING:
    import polars as pl

ASSUME = "--assume-utc"
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AP]M)?", re.ASCII | re.IGNORECASE)
FEW_DIGITS = re.compile(r"\d{1,6}", re.ASCII)


class MomentPart(NamedTuple):
    """Some rows of a column that holds times as such."""

    values: np.ndarray  # (K,) int64, epoch milliseconds
    naive: bool  # without a zone
    finer: np.ndarray  # (K,) bool, between two milliseconds


OpenPart = Mapping[str, WallPart]  # by each of the orders that day, month and year may stand in
Part = EpochPart | MomentPart | WallPart | OpenPart


def parse_times(column: "pl.Series", before: Sequence[Part] = ()) -> Part:
    """Reads some rows of a column: of texts, in the form of the first row of all, of numbers or of times.

    Args:
        column: (K,), without nulls.
        before: what the rows above gave.
    """
    import polars as pl

    if column.dtype in (pl.Date, pl.Datetime):
        zone = getattr(column.dtype, "time_zone", None)
        moments = column.cast(pl.Datetime("ms", zone))
        return MomentPart(
            moments.to_physical().to_numpy(), zone is None, (moments.cast(column.dtype) != column).to_numpy()
        )
    if column.dtype != pl.String:
        return EpochPart(column.to_numpy(), None)
    texts = column.str.strip_chars(SPACE)
    if isinstance(before[0], EpochPart) if before else is_epoch(texts[:1])[0]:
        return parse_epoch(texts)
    if isinstance(before[0], Mapping) if before else OPEN_ORDER.match(texts[0]):
        return {order: parse_wall_times(texts, order) for order in ORDERS}
    return parse_wall_times(texts)


def kind_of_time(cell: object) -> str:
    """Kind of time in a cell of a table: epoch, day, moment (a day with a time), clock (a time of day); empty: none.

    Digits alone that are too few for an epoch number are a clock: the name of the column has to say so, too.
    """
    import polars as pl

    if isinstance(cell, datetime):
        return "moment"
    if isinstance(cell, date):
        return "day"
    if isinstance(cell, time_of_day):
        return "clock"
    text = str(cell).strip()
    if CLOCK.fullmatch(text):
        return "clock"
    if is_epoch(pl.Series([text]))[0]:
        value = abs(float(text))
        return "epoch" if UNITS[0][1] <= value < UNITS[-1][1] else "clock" if FEW_DIGITS.fullmatch(text) else ""
    for order in ORDERS:
        try:
            wall_time(text, order)
        except (ValueError, OverflowError):
            continue
        return "moment" if re.search(r"[T ,]\s*\d{1,2}(:|$|\d{2})|[AP]M", text[8:], re.IGNORECASE) else "day"
    return ""


def join_times(parts: Sequence[Part], cells: Cells) -> Times:
    """A column of any allowed form; naive times are taken as if in UTC, which the caller may refuse.

    Raises:
        InputError: a cell is no time, or the column mixes forms, or dates that may mean two days.
    """
    if isinstance(parts[0], Mapping):
        return _choose_order([part for part in parts if isinstance(part, Mapping)], cells)
    if isinstance(parts[0], MomentPart):
        refuse_finer(cells, np.concatenate([part.finer for part in parts if isinstance(part, MomentPart)]))
        return Times(
            np.concatenate([part.values for part in parts if isinstance(part, MomentPart)]), naive=parts[0].naive
        )
    begin = 0
    for part in parts:
        if isinstance(part, EpochPart) and part.fault is not None:
            raise cells.refuse(begin + part.fault, "is no epoch number, but the first row is", ALLOWED)
        if isinstance(part, WallPart) and part.fault is not None:
            raise cells.refuse(begin + part.fault[0], part.fault[1], ALLOWED)
        begin += len(part[0])  # type: ignore[index]  # none is an OpenPart, as the first is none
    if isinstance(parts[0], EpochPart):
        times = epoch_times(cells, np.concatenate([part.values for part in parts if isinstance(part, EpochPart)]))
        if all(isinstance(part, EpochPart) and part.rounded for part in parts):
            raise cells.refuse(0, "has lost its last digits, as a spreadsheet writes long numbers", ALLOWED)
        return times
    return _join_wall_times([part for part in parts if isinstance(part, WallPart)], cells)


def _join_wall_times(parts: Sequence[WallPart], cells: Cells) -> Times:
    time, hour, naive, half = (np.concatenate(column) for column in zip(*(part[:-1] for part in parts), strict=True))
    if naive.any() and not naive.all():
        raise cells.refuse(np.argmax(naive), "has no time zone, as other rows have", "one form in one column")
    if half.any() and not half.all():
        raise cells.refuse(np.argmin(half), "has no AM or PM as other rows have", "one form in one column")
    return Times(time, None if half.all() else hour, bool(naive.all()))


def _choose_order(parts: Sequence[OpenPart], cells: Cells) -> Times:
    """Reads dates in the only order of day, month and year that all rows have, and in which they rise or fall.

    Raises:
        InputError: no order, or more than one.
    """
    found: dict[str, Times] = {}
    errors: dict[int, InputError] = {}
    for order in ORDERS:
        try:
            found[order] = join_times([part[order] for part in parts], cells)
        except InputError as error:
            errors.setdefault(sum(_rows_read(part[order]) for part in parts), error)
    if not found:
        raise errors[max(errors)]  # of the order that reads most rows
    rising = {order: times for order, times in found.items() if _one_way(times.time)}
    left = rising or found
    first, *others = left
    if any((left[other].time != left[first].time).any() for other in others):
        text = str(cells.values()[0]).strip()
        if OPEN_ORDER.match(text)[1] != "." or "day/month/year" not in left:  # type: ignore[index]
            raise cells.refuse(0, f"may be {' or '.join(left)}", "dates as 2020-01-31, or more rows that decide it")
        first = "day/month/year"  # with dots nobody writes the month first
    return left[first]._replace(notes=(f"dates read as {first}",))


def _rows_read(part: WallPart) -> int:
    return len(part.time) if part.fault is None else part.fault[0]


def _one_way(time: np.ndarray) -> bool:
    steps = np.diff(time)
    return bool((steps >= 0).all() or (steps <= 0).all())


def refuse_naive(times: Times, cells: Cells) -> InputError | None:
    """The refusal of times without a zone; None where they have one."""
    return cells.refuse(0, "has no time zone", f"{ALLOWED}; {ASSUME} reads it as UTC") if times.naive else None


def check_times(column: "pl.Series", cells: Cells) -> None:
    """Refuses a column that cannot hold times.

    Raises:
        InputError: a cell is empty, or the type is none of texts, numbers and times.
    """
    import polars as pl

    if column.null_count():
        raise cells.refuse(np.argmax(column.is_null().to_numpy()), "is no time", "a time in every row")
    number = column.dtype.is_numeric() and not column.dtype.is_decimal()
    if not number and column.dtype not in (pl.String, pl.Date, pl.Datetime):
        what = f"{cells.origin}: column {shown(cells.name)} holds {column.dtype}"
        raise InputError(f"{what}; allowed: times, epoch numbers or texts")


def check_clock(column: "pl.Series", cells: Cells) -> None:
    """Refuses a column that cannot hold times of day.

    Raises:
        InputError: a cell is empty, or the type is none of texts, whole numbers and times of day.
    """
    import polars as pl

    if column.dtype != pl.Time:
        check_times(column, cells)


def refuse_half_clock(cells: Cells, hours: np.ndarray, candle: Sequence[np.ndarray]) -> None:
    """Refuses a 12-hour clock without AM/PM: no hour is 0 or above 12, and times stand at two candles, five (T,).

    Not at neighbors: such a clock comes back after twelve hours.

    Raises:
        InputError: it is one.
    """
    import polars as pl

    if hours.min() < 1 or hours.max() > 12:
        return
    table = pl.DataFrame({"text": cells.values(), "row": np.arange(len(hours))})
    before = table.select(pl.col("row").shift(1).over("text").fill_null(-1)).to_series().to_numpy()
    here = np.flatnonzero((before >= 0) & (before < np.arange(len(hours)) - 1))
    pairs = [(column[here], column[before[here]]) for column in candle]
    other = np.zeros(len(here), bool)
    for now, then in pairs:
        other |= (now != then) & ~(np.isnan(now) & np.isnan(then))
    if other.sum() >= max(2, len(hours) / 20):  # fewer are candles given twice, which the check refuses
        index = here[np.argmax(other)]
        what = (
            f"stands in row {cells.row[before[index]]} too and no hour is 0 or above 12: a 12-hour clock without AM/PM"
        )
        raise cells.refuse(index, what, "24 hours, or AM and PM")
