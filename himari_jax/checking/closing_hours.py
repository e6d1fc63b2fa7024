"""Closing hours: whether a market closes every week, read from the times of its candles (numpy only)."""

from typing import NamedTuple

import numpy as np

from himari_jax.checking.alignment import distinct
from himari_jax.times import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS

MONDAY_MS = 4 * DAY_MS  # 1970-01-05 was a Monday
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RARELY = 0.05  # a slot of the week with candles in no more than this share of the weeks is closed
MOSTLY = 0.5  # the other slots have candles in at least this share of the weeks
LEAST_CLOSED = 1 / 14  # half a day a week; less is the maintenance of a market that never closes
CHANCE = 1e-3  # how likely holes may fall into the same slots every week without a market that closes


class ClosingHours(NamedTuple):
    """Hours of the week in which a market is closed."""

    missing: float  # share of the bars of the weeks with candles
    words: str  # in UTC


def closing_hours(time: np.ndarray, bar_ms: int) -> ClosingHours | None:
    """Finds the slots of the week, an hour or a bar long, in which there is hardly ever a candle.

    A market closes where at least half a day of such slots faces others that mostly have candles, and where neither of
    two kinds of holes is likely to make that: with S slots and W weeks, a hole a week that falls on the same slots by
    chance, `S^(1 - W)`, and single bars missing at random, `S (1 - p)^W` for a share p of weeks with a candle in the
    other slots. So four weeks of days, or two of hours, are too few to tell. Weeks without any candle do not count.

    Args:
        time: open times, (T,), rising, epoch milliseconds.
        bar_ms: length of a bar; of a week or more, and what does not divide a week, it cannot tell.
    """
    slot_ms = max(bar_ms, HOUR_MS)
    if WEEK_MS % slot_ms or slot_ms == WEEK_MS or not len(time):
        return None
    number, week = WEEK_MS // slot_ms, (time - time[0]) // WEEK_MS
    whole = week < (time[-1] - time[0] + bar_ms) // WEEK_MS  # the last week has had all its slots
    week, slot = week[whole], (time[whole] - MONDAY_MS) % WEEK_MS // slot_ms
    weeks = len(distinct(week))
    if weeks < 2:
        return None
    covered = distinct(np.sort(week * number + slot, kind="stable"))  # all but sorted, which a stable sort makes use of
    present = np.bincount(covered % number, minlength=number) / weeks
    closed = present <= RARELY
    if not LEAST_CLOSED <= closed.mean() < 1:
        return None
    share = present[~closed].mean()
    if share < MOSTLY or max(number ** (1.0 - weeks), number * (1 - share) ** weeks) > CHANCE:
        return None
    missing = 1 - len(week) / (weeks * WEEK_MS / bar_ms)
    return ClosingHours(float(missing), words_of(closed, slot_ms))


def words_of(closed: np.ndarray, slot_ms: int) -> str:
    """Says in which slots of a week, (S,) from Monday 00:00 UTC on, there is no candle."""
    if slot_ms == DAY_MS:
        return f"no candle opens on a {' or '.join(np.array(DAYS)[closed])} (UTC)"
    runs = runs_of(closed)
    begin, length = max(runs, key=lambda run: run[1])
    stop = (begin + length) % len(closed)
    text = f"no candle opens from {moment(begin * slot_ms)} to {moment(stop * slot_ms)} (UTC)"
    rest = [run for run in runs if run[0] != begin]
    hours = {(clock(start * slot_ms), clock((start + count) * slot_ms)) for start, count in rest}
    if len(hours) == 1:
        return f"{text}, nor from {' to '.join(*hours)} on other days"
    return f"{text}, nor in {sum(count for _, count in rest) * slot_ms / HOUR_MS:g} other hours" if rest else text


def runs_of(closed: np.ndarray) -> list[tuple[int, int]]:
    """First slot and length of each run of closed slots, (S,), around the week; not all are closed."""
    starts = np.flatnonzero(closed & ~np.roll(closed, 1))
    stops = np.flatnonzero(closed & ~np.roll(closed, -1))
    ends = [int(stops[np.searchsorted(stops, start) % len(stops)]) for start in starts]
    return [(int(start), (end - int(start)) % len(closed) + 1) for start, end in zip(starts, ends, strict=True)]


def moment(since_monday: int) -> str:
    """A time of the week, from milliseconds since Monday 00:00."""
    return f"{DAYS[since_monday // DAY_MS % 7]} {clock(since_monday)}"


def clock(milliseconds: int) -> str:
    """A time of the day."""
    minutes = milliseconds % DAY_MS // MINUTE_MS
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
