"""Epoch numbers: seconds, milliseconds, microseconds or nanoseconds since 1970, or the digits of a date."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from himari_jax.reading.columns import Cells
from himari_jax.reading.wall import WallPart, parse_wall_times

if TYPE_CHECKING:
    import polars as pl

ALLOWED = "ISO 8601 with a zone such as 2020-01-31T09:00Z, or epoch s, ms, us, ns"
# Between 1973 and 5138 the magnitude alone determines the unit; nanoseconds end where int64 does.
UNITS = (("s", 1e8), ("ms", 1e11), ("us", 1e14), ("ns", 1e17), ("", 9e18))
MS_PER_UNIT = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
DAY = "^(19|20)[0-9]{6}$"
WHOLE = "^[0-9]{1,19}$"
ROUNDED = r"^[0-9](\.[0-9]{1,5})?[eE]\+?[0-9]+$"  # as spreadsheets show long numbers
EPOCH_NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
STAMPS = (8, 10, 12, 14, 17)  # digits of YYYYMMDD, with hh, mm, ss and milliseconds
SAMPLED = 64  # rows that show whether numbers are dates before all of them become texts


class EpochPart(NamedTuple):
    """Some rows of a column of epoch numbers."""

    values: np.ndarray  # (K,) int64, or float64 where one is not whole
    fault: int | None  # index of the first that is no number
    rounded: bool = False  # all are written like 1.70510E+12


class Times(NamedTuple):
    """A column of times."""

    time: np.ndarray  # (T,) int64, epoch milliseconds, as if in UTC where naive
    hours: np.ndarray | None = None  # (T,) of a clock that might have 12 hours (written without AM/PM)
    naive: bool = False  # without a zone
    notes: tuple[str, ...] = ()


def is_epoch(texts: "pl.Series") -> "pl.Series":
    """Whether each text is an epoch number, (K,) bool."""
    return texts.str.contains(EPOCH_NUMBER) & ~texts.str.contains(DAY)


def parse_epoch(texts: "pl.Series") -> EpochPart:
    """Reads stripped texts."""
    import polars as pl

    number = is_epoch(texts).to_numpy()
    if not number.all():
        return EpochPart(np.zeros(len(texts), np.int64), int(np.argmin(number)))
    whole = texts.cast(pl.Int64, strict=False)
    if texts.str.contains(WHOLE).all() and not whole.null_count():
        return EpochPart(whole.to_numpy(), None)
    rounded = bool(texts.str.contains(ROUNDED).all())
    return EpochPart(texts.cast(pl.Float64, strict=False).to_numpy(), None, rounded)


def epoch_times(cells: Cells, values: np.ndarray) -> Times:
    """Converts epoch seconds, milliseconds, microseconds or nanoseconds (T,), each by its magnitude, to milliseconds.

    Numbers such as 202001310900 that all are dates are read as those.

    Raises:
        InputError: a value fits no unit.
    """
    stamps = _stamp_times(values)
    if stamps is not None:
        return Times(stamps, naive=True)
    unit = np.searchsorted([limit for _, limit in UNITS], values.astype(np.float64), side="right") - 1
    wrong = (unit < 0) | (unit >= len(MS_PER_UNIT))
    if wrong.any():
        raise cells.refuse(np.argmax(wrong), "is no time", ALLOWED)
    time, finer = np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    used = [name for k, (name, _) in enumerate(UNITS) if (unit == k).any()]
    for k, (name, _) in enumerate(UNITS):
        if name in used:
            time[unit == k], finer[unit == k] = _from_unit(values[unit == k], MS_PER_UNIT[name])
    refuse_finer(cells, finer)
    note = f"epoch numbers in {' and '.join(used)}, each read by its size"
    return Times(time, notes=(note,) if len(used) > 1 else ())


def _from_unit(values: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    if np.issubdtype(values.dtype, np.integer):
        whole = values.astype(np.int64)
        if scale > 1:
            return whole * 1000, np.zeros(len(whole), bool)
        return whole // round(1 / scale), whole % round(1 / scale) != 0
    time = np.rint(values * scale).astype(np.int64)
    return time, np.abs(values * scale - time) > 1e-3  # what a float cannot say exactly is less


def _stamp_times(values: np.ndarray) -> np.ndarray | None:
    """Whole numbers that all have the digits of a date, with or without a time of day, as milliseconds; else None."""
    low, high = values.min(), values.max()
    digits = len(str(int(low))) if np.isfinite(low) and np.isfinite(high) else 0
    if digits not in STAMPS or len(str(int(high))) != digits or (values != np.floor(values)).any():
        return None
    if len(values) < 3 and digits != 8:  # as few could be epoch numbers by chance
        return None
    if _read_stamps(values[:: len(values) // SAMPLED + 1], digits).fault is not None:
        return None
    part = _read_stamps(values, digits)
    return part.time if part.fault is None else None


def _read_stamps(values: np.ndarray, digits: int) -> WallPart:
    """Reads whole numbers, (K,), of so many digits as dates."""
    import polars as pl

    texts = pl.Series(values.astype(np.int64)).cast(pl.String)
    texts = texts.str.slice(0, 8) + " " + texts.str.slice(8).str.pad_end(6, "0") if digits > 8 else texts
    if digits == 17:
        texts = texts.str.slice(0, 15) + "." + texts.str.slice(15)
    return parse_wall_times(texts)


def refuse_finer(cells: Cells, between: np.ndarray) -> None:
    """Refuses times that lie between two milliseconds, marked in (T,) bool: no bar opens there.

    Raises:
        InputError: there is one.
    """
    if between.any():
        raise cells.refuse(np.argmax(between), "lies between two milliseconds", "whole milliseconds")
