"""Times: the cells of a time column as epoch milliseconds in UTC, or an error that says what is unclear."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from himari_jax.sources._columns import SPACE, Cells
from himari_jax.sources._wall import WallPart, parse_wall_times

if TYPE_CHECKING:
    import polars as pl

ALLOWED = "ISO 8601 with a zone such as 2020-01-31T09:00Z, or epoch s, ms, us, ns"
# Between 1973 and 5138 the magnitude alone tells the unit; nanoseconds end where int64 does.
UNITS = (("s", 1e8), ("ms", 1e11), ("us", 1e14), ("ns", 1e17), ("", 9e18))
MS_PER_UNIT = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
DAY = "^(19|20)[0-9]{6}$"
WHOLE = "^[0-9]{1,19}$"
EPOCH_NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"


class EpochPart(NamedTuple):
    """Some rows of a column of epoch numbers."""

    values: np.ndarray  # (K,) int64, or float64 where one is not whole
    fault: int | None  # index of the first that is no number


def parse_times(texts: "pl.Series", before: Sequence[EpochPart | WallPart] = ()) -> EpochPart | WallPart:
    """Reads some rows of a column, as epoch numbers where the first row of all is one.

    Args:
        texts: (K,).
        before: what the rows above gave.
    """
    texts = texts.str.strip_chars(SPACE)
    if isinstance(before[0], EpochPart) if before else _is_epoch(texts[:1])[0]:
        return _parse_epoch(texts)
    return parse_wall_times(texts)


def _is_epoch(texts: "pl.Series") -> "pl.Series":
    return texts.str.contains(EPOCH_NUMBER) & ~texts.str.contains(DAY)


def _parse_epoch(texts: "pl.Series") -> EpochPart:
    import polars as pl

    number = _is_epoch(texts).to_numpy()
    if not number.all():
        return EpochPart(np.zeros(len(texts), np.int64), int(np.argmin(number)))
    whole = texts.cast(pl.Int64, strict=False)
    if texts.str.contains(WHOLE).all() and not whole.null_count():
        return EpochPart(whole.to_numpy(), None)
    return EpochPart(texts.cast(pl.Float64, strict=False).to_numpy(), None)


def join_times(parts: Sequence[EpochPart | WallPart], cells: Cells, utc: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """A column of any allowed form as epoch milliseconds (T,) int64; `utc` reads times without a zone as UTC.

    Returns also the hours (T,) of a clock that might have 12 hours (written without AM/PM), else None.

    Raises:
        InputError: a cell is no time or has no zone, or the column mixes units or forms.
    """
    begin = 0
    for part in parts:
        if isinstance(part, EpochPart) and part.fault is not None:
            raise cells.refuse(begin + part.fault, "is no epoch number, but the first row is", ALLOWED)
        if isinstance(part, WallPart) and part.fault is not None:
            raise cells.refuse(begin + part.fault[0], part.fault[1], ALLOWED)
        begin += len(part[0])
    columns = [np.concatenate(column) for column in zip(*(part[:-1] for part in parts), strict=True)]
    return (epoch_times(cells, columns[0]), None) if len(columns) == 1 else _join_wall_times(columns, cells, utc)


def _join_wall_times(columns: Sequence[np.ndarray], cells: Cells, utc: bool) -> tuple[np.ndarray, np.ndarray | None]:
    time, hour, naive, half = columns
    if naive.any() and not (utc and naive.all()):
        raise cells.refuse(np.argmax(naive), "has no time zone", f"{ALLOWED}; --assume-utc reads it as UTC")
    if half.any() and not half.all():
        raise cells.refuse(np.argmin(half), "has no AM or PM as other rows have", "one form in one column")
    return time, None if half.all() else hour


def epoch_times(cells: Cells, values: np.ndarray) -> np.ndarray:
    """Epoch seconds, milliseconds, microseconds or nanoseconds (T,), told by magnitude, as milliseconds.

    Raises:
        InputError: a value fits no unit, or not the unit of the first row.
    """
    unit = np.searchsorted([limit for _, limit in UNITS], values.astype(np.float64), side="right") - 1
    wrong = (unit < 0) | (unit >= len(MS_PER_UNIT))
    if wrong.any():
        raise cells.refuse(np.argmax(wrong), "is no time", ALLOWED)
    if (unit != unit[0]).any():
        index = int(np.argmax(unit != unit[0]))
        here, there = UNITS[unit[index]][0], UNITS[unit[0]][0]
        raise cells.refuse(index, f"is in {here}, but row {cells.row[0]} is in {there}", "one unit in one column")
    scale = MS_PER_UNIT[UNITS[unit[0]][0]]
    if np.issubdtype(values.dtype, np.integer):
        whole = values.astype(np.int64)
        if scale > 1:
            return whole * 1000
        refuse_finer(cells, whole % round(1 / scale) != 0)
        return whole // round(1 / scale)
    time = np.rint(values * scale).astype(np.int64)
    refuse_finer(cells, np.abs(values * scale - time) > 1e-3)  # what a float cannot say exactly is less
    return time


def refuse_finer(cells: Cells, between: np.ndarray) -> None:
    """Refuses times that lie between two milliseconds, marked in (T,) bool: no bar opens there.

    Raises:
        InputError: there is one.
    """
    if between.any():
        raise cells.refuse(np.argmax(between), "lies between two milliseconds", "whole milliseconds")


def refuse_half_clock(cells: Cells, hours: np.ndarray, candle: Sequence[np.ndarray]) -> None:
    """Refuses a 12-hour clock without AM/PM: no hour is 0 or above 12, and a time stands at two candles, five (T,).

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
    if other.any():
        index = here[np.argmax(other)]
        what = (
            f"stands in row {cells.row[before[index]]} too and no hour is 0 or above 12: a 12-hour clock without AM/PM"
        )
        raise cells.refuse(index, what, "24 hours, or AM and PM")
