"""Wall times: dates with a time of day as texts, read by the column where many have one shape, else one by one."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from himari_jax.reading.columns import shown
from himari_jax.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    import polars as pl

EPOCH = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
ISO = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{8}|\d{4}-?W\d{2}-?\d)([T ].*)?", re.ASCII)
FINER = re.compile(r"(?::\d{2}|[T ]\d{6})[.,]\d{3}\d*[1-9]", re.ASCII)  # digits behind the millisecond
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAME = rf"(?P<name>{'|'.join(MONTHS)})[a-z]*\.?"
SHORT_YEAR = r"(?P<year>\d{4}|\d{2})"
DAY, MONTH = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})"
ZONE = r"(?:\s*(?P<zone>Z|(?:UTC|GMT)?[+-]\d{2}:?\d{2}|UTC|GMT|(?(hour)[+-]\d{2}|(?!))))?"
CLOCKS = (
    r"(?:(?:[T ]|, )\s*(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?)?"
    r"(?:[ -]?(?P<half>[AP]M))?)?",
    r"[T ](?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?P<fraction>(?!))?(?P<half>(?!))?",
)
DATES = (
    rf"(?P<year>\d{{4}})[-/.]{MONTH}[-/.]{DAY}",
    r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})",
    rf"{DAY}[-/. ]{NAME}[-/., ]+(?P<year>\d{{4}})",
    rf"{DAY}-{NAME}-(?P<year>\d{{2}})",
    rf"{NAME} {DAY},? (?P<year>\d{{4}})",
    rf"(?P<year>\d{{4}})[-/. ]{NAME}[-/. ]{DAY}",
)
# What a date whose year does not come first, or has two digits, may mean: the column decides.
ORDERS = {
    "day/month/year": rf"{DAY}[-/.]{MONTH}[-/.]{SHORT_YEAR}",
    "month/day/year": rf"{MONTH}[-/.]{DAY}[-/.]{SHORT_YEAR}",
    "year/month/day": rf"(?P<year>\d{{2}})[-/.]{MONTH}[-/.]{DAY}",
}
OPEN_ORDER = re.compile(r"\d{1,2}([-/.])\d{1,2}[-/.](\d{4}|\d{2})(?!\d)", re.ASCII)


def _compiled(dates: Sequence[str]) -> tuple[re.Pattern, ...]:
    flags = re.ASCII | re.IGNORECASE
    return tuple(re.compile(f"{date}{clock}{ZONE}", flags) for date, clock in product(dates, CLOCKS))


FORMS = {"": _compiled(DATES), **{order: _compiled((*DATES, date)) for order, date in ORDERS.items()}}
LONGEST = 40  # letters; what is longer, and what comes in more shapes, is read one by one
SHAPES = 32


class WallPart(NamedTuple):
    """Some rows of a column of wall times."""

    time: np.ndarray  # (K,) int64, epoch milliseconds, as if in UTC where naive
    hour: np.ndarray  # (K,) int8, as written
    naive: np.ndarray  # (K,) bool, without a zone
    half: np.ndarray  # (K,) bool, with AM or PM
    fault: tuple[int, str] | None  # index of the first that is no time, and why


def parse_wall_times(texts: "pl.Series", order: str = "") -> WallPart:
    """Reads stripped texts: each as `wall_time` does.

    Args:
        texts: (K,).
        order: of day, month and year where the year does not come first, one of `ORDERS`.
    """
    size = len(texts)
    marks = np.zeros(size, bool), np.zeros(size, bool)
    part = WallPart(np.zeros(size, np.int64), np.zeros(size, np.int8), *marks, fault=None)
    read = np.zeros(size, bool)
    lengths = texts.str.len_bytes().to_numpy()
    for length in np.unique(lengths[(lengths > 0) & (lengths <= LONGEST)]):
        rows = np.flatnonzero(lengths == length)
        joined = texts.gather(rows).str.join("").item().encode()
        letters = np.ascontiguousarray(np.frombuffer(joined, np.uint8).reshape(-1, length).T)
        _read_shapes(letters, rows, part, read, order)
    for row in np.flatnonzero(~read).tolist():
        try:
            moment, part.half[row] = wall_time(texts[row], order)
        except (ValueError, OverflowError) as error:
            return part._replace(fault=(row, f"is no time ({shown(error)})"))
        part.naive[row] = moment.tzinfo is None
        part.hour[row] = moment.hour
        part.time[row] = (moment - (EPOCH if moment.tzinfo is None else EPOCH.replace(tzinfo=UTC))) // MILLISECOND
    return part


def _match(text: str, order: str) -> re.Match | None:
    return next((match for form in FORMS[order] if (match := form.fullmatch(text))), None)


def _read_shapes(letters: np.ndarray, rows: np.ndarray, part: WallPart, read: np.ndarray, order: str) -> None:
    """Reads texts of one length, (L, R) uint8, into their rows of the part, and marks those it has read.

    Where two texts differ in digits alone, a form cuts them in the same places: one match holds for all.
    """
    for _ in range(SHAPES):
        if len(rows) == 0:
            return
        alike = np.ones(len(rows), bool)
        for column in letters:
            alike &= column - ord("0") < 10 if chr(column[0]).isdecimal() else column == column[0]
        text = letters[:, 0].tobytes()
        match = _match(text.decode(), order) if text.isascii() else None
        if match:
            here = rows if alike.all() else rows[alike]
            time, hour, sure = _read_alike(letters if alike.all() else letters[:, alike], match)
            part.time[here], part.hour[here], read[here] = time, hour, sure
            part.naive[here], part.half[here] = match["zone"] is None, match["half"] is not None
        letters, rows = letters[:, ~alike], rows[~alike]


def _read_alike(letters: np.ndarray, match: re.Match) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epoch milliseconds, hours as written and whether both are sure, (R,), of texts that are cut like `match`."""

    def number(begin: int, end: int) -> np.ndarray:
        value = np.zeros(letters.shape[1], np.int64)
        for column in letters[begin:end]:
            value = value * 10 + (column & 15)  # ASCII digits end in their value
        return value

    day, hour, minute, second = (number(*match.span(name)) for name in ("day", "hour", "minute", "second"))
    month = np.full_like(day, _month_of(match)) if "name" in match.groupdict() else number(*match.span("month"))
    year = number(*match.span("year"))
    year = year if len(match["year"]) == 4 else _century(year)
    sure = (year >= 1000) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    if match.re.pattern.startswith(DATES[1]):  # digits that another row need not begin with 19 or 20
        sure &= (year >= 1900) & (year < 2100)
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    following = months + np.timedelta64(1, "M")
    first, after = (x.astype("M8[D]").astype(np.int64) for x in (months, following))
    sure &= day <= after - first
    if match["half"]:
        sure &= (hour >= 1) & (hour <= 12)
        hour = hour % 12 + (12 if match["half"].upper() == "PM" else 0)
    time = (first + day - 1) * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS + second * 1000
    begin, end = match.span("fraction")
    if match["fraction"]:
        time += number(begin, min(begin + 3, end)) * 10 ** max(0, 3 - (end - begin))
        sure &= (letters[begin + 3 : end] == ord("0")).all(axis=0)
    begin, end = match.span("zone")
    if match["zone"] and match["zone"][-1].isdigit():
        sign = begin + re.search("[+-]", match["zone"]).start()  # type: ignore[union-attr]
        east, minutes = number(sign + 1, sign + 3), number(end - 2, end) * (end - sign > 3)
        sure &= (east < 24) & (minutes < 60)
        time -= (east * 60 + minutes) * (MINUTE_MS if match["zone"][sign - begin] == "+" else -MINUTE_MS)
    return time, hour, sure


def _month_of(match: re.Match) -> int:
    return MONTHS.index(match["name"].lower()) + 1


def _century(year: np.ndarray | int) -> np.ndarray:
    """Years of two digits as POSIX reads them: 69 to 99 are of the last century."""
    return np.where(np.asarray(year) < 69, 2000, 1900) + year


def wall_time(text: str, order: str = "") -> tuple[datetime, bool]:
    """One date with or without a time of day, and whether AM or PM stood there.

    Args:
        text: as it stands in a file.
        order: of day, month and year where the year does not come first, one of `ORDERS`.

    Raises:
        ValueError, OverflowError: it is none, or lies between two milliseconds.
    """
    if FINER.search(text):
        raise ValueError("it lies between two milliseconds")
    try:
        # Python takes any character for the T, so that the zone of 2020-01-31+09:00 would be its time of day.
        if ISO.fullmatch(text):
            return datetime.fromisoformat(text), False
    except ValueError:
        pass
    match = _match(text, order)
    if match is None:
        raise ValueError("unknown form")
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    year = int(match["year"]) if len(match["year"]) == 4 else int(_century(int(match["year"])))
    month = _month_of(match) if "name" in match.groupdict() else int(match["month"])
    fraction = round(float(f"0.{match['fraction'] or 0}") * 1e6)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("with AM or PM the hour is 1 to 12")
        hour = hour % 12 + (12 if match["half"].upper() == "PM" else 0)
    moment = datetime(year, month, int(match["day"]), hour, minute, second, fraction)
    if match["zone"]:
        zone = re.sub("^(UTC|GMT)(?=[+-])", "", match["zone"].upper())
        zone = "+0000" if zone in ("Z", "UTC", "GMT") else zone + "00" * (len(zone) == 3)
        moment = datetime.strptime(f"{moment:%Y-%m-%d %H:%M:%S.%f} {zone}", "%Y-%m-%d %H:%M:%S.%f %z")
    return moment, bool(match["half"])
