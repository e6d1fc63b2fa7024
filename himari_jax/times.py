"""Times, spans and lengths of bars, as text and as epoch milliseconds."""

import re
from datetime import UTC, datetime

import numpy as np

from himari_jax.command import require

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
YEAR_MS = 365 * DAY_MS
CALENDAR_YEAR_MS = 365.25 * DAY_MS  # with leap days: bars that are counted fall on dates
BAR_UNITS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


def iso_minute(time: int | np.integer | np.ndarray) -> str:
    """Epoch milliseconds as ISO 8601 in UTC, as short as it stays exact to the second."""
    moment = np.datetime64(int(time), "ms")
    text = str(moment)
    return (text[:16] if text.endswith(":00.000") else text) + "Z"


def first_times(times: np.ndarray, shown: int = 3) -> str:
    """The first few of (K,) epoch milliseconds as a list in words."""
    more = f" and {len(times) - shown} more" if len(times) > shown else ""
    return ", ".join(iso_minute(time) for time in times[:shown]) + more


def span(milliseconds: int) -> str:
    """A duration in its largest whole unit."""
    for unit, length in (("day", DAY_MS), ("h", HOUR_MS), ("min", MINUTE_MS), ("s", 1000)):
        if milliseconds % length == 0 and milliseconds:
            return f"{milliseconds // length} {unit}"
    return f"{milliseconds} ms"


def rough_span(milliseconds: int) -> str:
    """Words a duration, to the second, minute, hour or day."""
    units = (("days", DAY_MS), ("h", HOUR_MS), ("min", MINUTE_MS), ("s", 1000))
    unit, length = next(each for each in units if milliseconds >= 2 * each[1] or each[0] == "s")
    return f"{round(milliseconds / length):,} {unit}"


def parse_bar(text: str, flag: str = "--bar") -> int:
    """Milliseconds of a bar, or of another duration, such as 1h, 15m or 1d."""
    length = parse_duration(text, flag)
    require(length > 0, flag, text, "a number and m, h or d, such as 15m, 1h, 1d")
    return length


def parse_duration(text: str, flag: str) -> int:
    """Milliseconds of a duration such as 0h, 36h or 7d."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    require(found is not None, flag, text, "a number and m, h or d, such as 15m, 1h, 1d")
    assert found is not None
    return int(found[1]) * BAR_UNITS[found[2]]


def decision_interval(every: str | None, phase: str, bar_ms: int) -> tuple[int, int]:
    """Bars from decision to decision, and the phase of the decisions in milliseconds.

    Args:
        every: --decide-every, a duration such as 24h; None: every bar.
        phase: --decide-phase; decisions are at closes that are a multiple of the interval plus this, UTC.
        bar_ms: length of a bar, milliseconds.

    Raises:
        InputError: one of them is no whole number of bars.
    """
    length = bar_ms if every is None else parse_bar(every, "--decide-every")
    start, whole = parse_duration(phase, "--decide-phase"), f"a whole number of bars of {bar_name(bar_ms)}"
    require(length % bar_ms == 0, "--decide-every", every, whole)
    require(start % bar_ms == 0, "--decide-phase", phase, whole)
    return length // bar_ms, start


def parse_moment(text: str, flag: str) -> int:
    """Epoch milliseconds of a date or time in ISO 8601, UTC where it names no zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        require(False, flag, text, "a date such as 2018-01-01, UTC")
    return int((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1000)


def bar_name(bar_ms: int) -> str:
    """Length of a bar as a flag writes it."""
    for unit, length in reversed(BAR_UNITS.items()):
        if bar_ms % length == 0:
            return f"{bar_ms // length}{unit}"
    return f"{bar_ms} ms"


def bars_per_year(calendar: str, bar_ms: int, count: int, span_ms: float) -> float:
    """Counts the bars of a year: all of 365 days if the market never closes, else as many as the data show.

    Args:
        calendar: continuous | sessions.
        bar_ms: length of a bar, milliseconds.
        count: bars that the data have.
        span_ms: from the open of the first of them to the close of the last, milliseconds.
    """
    if calendar == "continuous":
        return YEAR_MS / bar_ms
    return float(count / (span_ms / CALENDAR_YEAR_MS))


def iso_second(time_ms: int) -> str:
    """A time in ISO 8601, UTC."""
    return str(np.datetime64(int(time_ms), "ms").astype("datetime64[s]")) + "Z"


def parse_iso(text: str) -> int:
    """Epoch milliseconds of a time that `iso_second` wrote."""
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
