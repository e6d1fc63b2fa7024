"""Times: the cells of a time column as epoch milliseconds in UTC, or an error that says what is unclear."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np

from himari_jax.sources._columns import Cells, shown

ALLOWED = "ISO 8601 with a zone such as 2020-01-31T09:00Z, or epoch s, ms, us, ns"
EPOCH = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
# Between 1973 and 5138 the magnitude alone tells the unit; nanoseconds end where int64 does.
UNITS = (("s", 1e8), ("ms", 1e11), ("us", 1e14), ("ns", 1e17), ("", 9e18))
MS_PER_UNIT = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
DAY = re.compile(r"(19|20)\d{6}", re.ASCII)
ISO = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{8}|\d{4}-?W\d{2}-?\d)([T ].*)?", re.ASCII)
FINER = re.compile(r"[.,]\d{3}\d*[1-9]", re.ASCII)  # digits behind the millisecond
EPOCH_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
WALL = re.compile(
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"(?:[T ]\s*(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?)?"
    r"(?:[ -]?(?P<half>[AP]M))?)?"
    r"(?:\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}))?",
    re.ASCII | re.IGNORECASE,
)


def read_times(cells: Cells, utc: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Texts of any allowed form as epoch milliseconds (T,) int64; `utc` reads times without a zone as UTC.

    Returns also the hours (T,) of a clock that might have 12 hours (written without AM/PM), else None.

    Raises:
        InputError: a cell is no time or has no zone, or the column mixes units or forms.
    """
    texts = [text.strip() for text in cells.values]
    number = [bool(EPOCH_NUMBER.fullmatch(text)) and not DAY.fullmatch(text) for text in texts]
    if not number[0]:
        return _read_wall_times(cells, texts, utc)
    if not all(number):
        raise cells.refuse(number.index(False), "is no epoch number, but the first row is", ALLOWED)
    whole = all(text.isdigit() and len(text) < 20 and int(text) < 2**63 for text in texts)
    values = np.array([int(text) for text in texts], np.int64) if whole else np.array([float(text) for text in texts])
    return epoch_times(cells, values), None


def epoch_times(cells: Cells, values: np.ndarray) -> np.ndarray:
    """Epoch seconds, milliseconds, microseconds or nanoseconds (T,), told by magnitude, as milliseconds.

    Raises:
        InputError: a value fits no unit, or not the unit of the first row.
    """
    unit = np.searchsorted([limit for _, limit in UNITS], values.astype(np.float64), side="right") - 1
    wrong = (unit < 0) | (unit >= len(MS_PER_UNIT))
    if wrong.any():
        raise cells.refuse(int(np.argmax(wrong)), "is no time", ALLOWED)
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
        raise cells.refuse(int(np.argmax(between)), "lies between two milliseconds", "whole milliseconds")


def _read_wall_times(cells: Cells, texts: list[str], utc: bool) -> tuple[np.ndarray, np.ndarray | None]:
    moments, halves = [], []
    for index, text in enumerate(texts):
        try:
            moment, half = _wall_time(text)
        except (ValueError, OverflowError) as error:
            raise cells.refuse(index, f"is no time ({shown(error)})", ALLOWED) from None
        moments.append(moment)
        halves.append(half)
    naive = [moment.tzinfo is None for moment in moments]
    if any(naive) and not (utc and all(naive)):
        raise cells.refuse(naive.index(True), "has no time zone", f"{ALLOWED}; --assume-utc reads it as UTC")
    if any(halves) and not all(halves):
        raise cells.refuse(halves.index(False), "has no AM or PM as other rows have", "one form in one column")
    hours = None if all(halves) else np.array([moment.hour for moment in moments])
    epoch = EPOCH if all(naive) else EPOCH.replace(tzinfo=UTC)
    return np.array([(moment - epoch) // MILLISECOND for moment in moments], np.int64), hours


def _wall_time(text: str) -> tuple[datetime, bool]:
    """One date with or without a time of day, and whether AM or PM stood there."""
    if FINER.search(text):
        raise ValueError("it lies between two milliseconds")
    try:
        # Python takes any character for the T, so that the zone of 2020-01-31+09:00 would be its time of day.
        if ISO.fullmatch(text):
            return datetime.fromisoformat(text), False
    except ValueError:
        pass
    match = WALL.fullmatch(text)
    if match is None:
        raise ValueError("unknown form")
    year, month, day, hour, minute, second = (int(match[k] or 0) for k in range(1, 7))
    fraction = round(float(f"0.{match['fraction'] or 0}") * 1e6)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("with AM or PM the hour is 1 to 12")
        hour = hour % 12 + (12 if match["half"].upper() == "PM" else 0)
    moment = datetime(year, month, day, hour, minute, second, fraction)
    if match["zone"]:
        zone = match["zone"].upper()
        zone = "+0000" if zone in ("Z", "UTC", "GMT") else zone
        moment = datetime.strptime(f"{moment:%Y-%m-%d %H:%M:%S.%f} {zone}", "%Y-%m-%d %H:%M:%S.%f %z")
    return moment, bool(match["half"])


def refuse_half_clock(cells: Cells, hours: np.ndarray, candles: np.ndarray) -> None:
    """Refuses a 12-hour clock without AM/PM: no hour is 0 or above 12, and a time stands at two candles (T, 5).

    Not at neighbors: such a clock comes back after twelve hours.

    Raises:
        InputError: it is one.
    """
    if hours.min() < 1 or hours.max() > 12:
        return
    seen: dict[str, int] = {}
    for index, text in enumerate(cells.values):
        first, seen[text] = seen.get(text, index), index
        if first < index - 1 and not np.array_equal(candles[first], candles[index], equal_nan=True):
            what = f"stands in row {cells.row[first]} too and no hour is 0 or above 12: a 12-hour clock without AM/PM"
            raise cells.refuse(index, what, "24 hours, or AM and PM")
