"""Checks candles at the boundary: what is refused, what is repaired, what is reported."""

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from himari_jax.candles import COLUMNS, Candles, DataReport, RawCandles, common_kind
from himari_jax.checking import alignment
from himari_jax.checking.closing_hours import closing_hours
from himari_jax.checking.rows import at, bad_rows, drop_priceless, mend_rounding, more, take, unfinished
from himari_jax.errors import Fault, InputError, refuse_faults
from himari_jax.times import DAY_MS, HOUR_MS, first_times, iso_minute, span

CALENDARS = ("continuous", "sessions")
REPAIRS = ("sort",)
SESSIONS = "--calendar sessions"


@dataclass
class _Series:
    """The candles of one symbol on their way through the checks."""

    raw: RawCandles  # the rows without a fault so far
    time: np.ndarray  # (K,) the times of all rows with a price, rising, with a fault or not
    last: int | None  # row number of the newest row, which may be an unfinished candle; None: it may not, or is gone


@dataclass(frozen=True)
class _Check:
    """Settings of a check, as of `check_candles`, and its findings so far."""

    bar_ms: int | None
    calendar: str
    repair: tuple[str, ...]
    now_ms: int
    served: bool
    report: DataReport = field(default_factory=DataReport)
    faults: list[Fault] = field(default_factory=list)


def check_candles(
    raws: Sequence[RawCandles],
    *,
    bar_ms: int | None = None,
    calendar: str = "continuous",
    repair: tuple[str, ...] = (),
    now_ms: int | None = None,
    served: bool = False,
) -> tuple[Candles, DataReport]:
    """Checks the candles of several symbols, lays them on one grid and reports what was found.

    Args:
        raws: one per symbol, in the order of the columns to be.
        bar_ms: length of a bar in milliseconds; None infers it as the most common difference of times.
        calendar: `continuous`, or `sessions` where consecutive rows are consecutive bars.
        repair: `sort` accepts rows that are not in time order.
        now_ms: epoch milliseconds; a candle that ends later is unfinished. None: the clock.
        served: candles of a request, which is answered for its newest row: that row is checked like any other, the
            calendar is the model's, and only the first fault is raised.

    Raises:
        InputError: what cannot be repaired from earlier rows: names file, row, time, value and what is allowed.
        InputFaults: several such faults, the readers' included; none that only follows from another.
    """
    now_ms = int(clock.time() * 1000) if now_ms is None else now_ms
    check = _Check(bar_ms, calendar, repair, now_ms, served)
    candles = _run(raws, check)
    refuse_faults(check.faults[:1] if served else check.faults)
    assert candles is not None  # there was no fault
    return candles, check.report


def check_each(
    raws: Sequence[RawCandles], *, bar_ms: int | None = None, calendar: str = "continuous", repair: tuple[str, ...] = ()
) -> list[tuple[Candles, DataReport]]:
    """Runs `check_candles` on each symbol by itself, on its own grid; raises the faults of all of them at once."""
    now_ms = int(clock.time() * 1000)
    checks = [_Check(bar_ms, calendar, repair, now_ms, served=False) for _ in raws]
    found = [_run([raw], check) for raw, check in zip(raws, checks, strict=True)]
    refuse_faults([fault for check in checks for fault in check.faults])
    return [(candles, check.report) for candles, check in zip(found, checks, strict=True) if candles is not None]


def _run(raws: Sequence[RawCandles], check: _Check) -> Candles | None:
    """Runs all checks on one grid; None where there are faults, which are added to `check`."""
    _check_arguments(raws, check)
    for raw in raws:
        check.faults.extend(raw.faults)
        for note in raw.notes:
            check.report.add("note", raw.symbol, 1, f"{raw.origin}: {note}")
    series = [_check_rows(raw, check) for raw in raws]
    bar_ms = _find_bar(series, check)
    if bar_ms is None:
        return None
    calendar = _choose_calendar(series, bar_ms, check)
    _check_grid(series, bar_ms, calendar, check)
    for each in series:
        each.raw = _drop_unfinished(each.raw, bar_ms, check)
    if check.faults:
        return None
    return Candles(
        symbols=tuple(each.raw.symbol for each in series),
        bar_ms=bar_ms,
        calendar=calendar,
        synthetic=any(each.raw.synthetic for each in series),
        kind=common_kind({each.raw.symbol: each.raw.kind for each in series}),
        **alignment.align([each.raw for each in series], bar_ms, calendar, check.report),
    )


def _check_arguments(raws: Sequence[RawCandles], check: _Check) -> None:
    if not raws:
        raise InputError("no candles: at least one symbol is needed")
    symbols = [raw.symbol for raw in raws]
    if twice := sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}):
        raise InputError(f"symbol {twice[0]} is given twice; each symbol may stand once")
    if check.bar_ms is not None and check.bar_ms <= 0:
        raise InputError(f"the bar is {check.bar_ms} ms; allowed: > 0")
    if check.calendar not in CALENDARS:
        raise InputError(f"--calendar {check.calendar}: must be {' or '.join(CALENDARS)}")
    if unknown := [name for name in check.repair if name not in REPAIRS]:
        raise InputError(f"--repair {unknown[0]}: must be {', '.join(REPAIRS)}")
    for raw in raws:
        if len(raw.time) == 0:
            raise InputError(f"{raw.origin}: no candles of {raw.symbol}")


def _check_rows(raw: RawCandles, check: _Check) -> _Series:
    """Puts the rows of a symbol in time order, one per time; repairs them, or drops those with a fault."""
    raw = mend_rounding(drop_priceless(raw, check.report), check.report)
    if len(raw.time) == 0:
        check.faults.append(Fault(f"{raw.origin}: no candle of {raw.symbol} has a price"))
        return _Series(raw, raw.time, None)
    newest = None if check.served or len(raw.time) < 3 else _newest(raw)
    bad, faults = bad_rows(raw)
    if newest is not None and bad.sum() == 1 and bad[newest] and (why := unfinished(raw, newest)):
        raw, bad, faults = _drop_last(raw, newest, why, check), np.delete(bad, newest), []
        newest = None
    check.faults.extend(faults)
    last = None if newest is None else int(raw.row[newest])
    sound = _put_in_order(take(raw, ~bad), check)
    return _one_per_time(_Series(sound, alignment.distinct(np.sort(raw.time)), last), check)


def _newest(raw: RawCandles) -> int | None:
    """The row that was written last, if it is the newest: the final one, or the first one of a file that goes back."""
    step = np.diff(raw.time)
    if (step < 0).any() and (step <= 0).all():
        return 0
    same = np.flatnonzero(raw.time == raw.time.max())  # the final row, and those right before it
    return len(raw.time) - 1 if same[0] == len(raw.time) - len(same) else None


def _drop_last(raw: RawCandles, index: int, why: str, check: _Check) -> RawCandles:
    """Drops the newest row, which no candle of the past can be."""
    what = f"last row dropped, taken for a candle still being made: {iso_minute(raw.time[index])} in row"
    check.report.add("unfinished", raw.symbol, 1, f"{what} {raw.row[index]}: {why}")
    return take(raw, np.delete(np.arange(len(raw.time)), index))


def _put_in_order(raw: RawCandles, check: _Check) -> RawCandles:
    """Rows in time order: as they are, or sorted, which only `--repair sort` allows."""
    late = np.flatnonzero(np.diff(raw.time) < 0) + 1
    if len(late) == 0:
        return raw
    if "sort" in check.repair:
        what = f"rows earlier than the one before: {first_times(raw.time[late])}"
        check.report.add("sorted", raw.symbol, len(late), what)
    else:
        before = iso_minute(raw.time[late[0] - 1])
        what = f"follows {before}; allowed: rows in time order, or --repair sort ({len(late)} rows are early)"
        check.faults.append(Fault(at(raw, int(late[0]), what), "--repair sort"))
    if _newest(raw) == 0:
        raw = take(raw, np.arange(len(raw.time))[::-1])
    return take(raw, np.argsort(raw.time, kind="stable"))


def _one_per_time(series: _Series, check: _Check) -> _Series:
    """Drops rows that repeat the one before in every value; the same time with other values is a fault."""
    raw = series.raw
    again = np.diff(raw.time) == 0
    if not again.any():
        return series
    other = again & np.logical_or.reduce([np.diff(getattr(raw, name)) != 0 for name in COLUMNS])
    if other.any():
        index = int(np.argmax(other)) + 1
        name = next(name for name in COLUMNS if getattr(raw, name)[index] != getattr(raw, name)[index - 1])
        here, there = getattr(raw, name)[index], getattr(raw, name)[index - 1]
        before = raw.place(index - 1) if raw.pieces else f"row {raw.row[index - 1]}"
        what = f"{name} = {here:.12g}, but {there:.12g} for the same time in {before}"
        if other.sum() == 1 and raw.row[index] == series.last:
            return _one_per_time(_Series(_drop_last(raw, index, what, check), series.time, None), check)
        check.faults.append(Fault(at(raw, index, f"{what}; allowed: one candle per time{more(int(other.sum()))}")))
    extra = np.flatnonzero(again) + 1
    same = extra[~other[extra - 1]]
    if len(same):
        what = f"exact repetitions dropped: {first_times(raw.time[same])}"
        check.report.add("duplicate", raw.symbol, len(same), what)
    return replace(series, raw=take(raw, np.delete(np.arange(len(raw.time)), extra)))


def _find_bar(series: Sequence[_Series], check: _Check) -> int | None:
    """The one bar of all assets, equal to the given one if any; None where there is none."""
    bar_ms, faults = check.bar_ms, []
    for each in series:
        if len(each.time) < 2:
            if bar_ms is None and len(each.raw.time):
                faults.append(at(each.raw, 0, f"the only candle of {each.raw.symbol}: no bar can be inferred from one"))
            continue
        own = alignment.common_difference(each.time)
        if bar_ms is None:
            bar_ms = own
        elif own != bar_ms:
            what = f"the candles of {each.raw.symbol} are mostly {span(own)} apart; allowed: candles of {span(bar_ms)}"
            faults.append(f"{each.raw.origin}: {what}, as given or as in the first symbol: they are not resampled")
    check.faults.extend(Fault(text) for text in faults)
    return None if faults else bar_ms


def _choose_calendar(series: Sequence[_Series], bar_ms: int, check: _Check) -> str:
    """Returns the calendar for the further checks: `continuous` is a fault where a market closes every week."""
    if check.calendar != "continuous" or check.served:
        return check.calendar
    for each in series:
        if hours := closing_hours(each.time, bar_ms):
            missing = f"{100 * hours.missing:.0f} % of the bars are missing in a weekly pattern: {hours.words}"
            text = f"{each.raw.origin}: {missing}; allowed: a market that never closes, or {SESSIONS} for one that does"
            check.faults.append(Fault(text, SESSIONS))
    return "sessions" if any(fault.flag == SESSIONS for fault in check.faults) else "continuous"


def _check_grid(series: Sequence[_Series], bar_ms: int, calendar: str, check: _Check) -> None:
    """Finds the times that no bar of the grid opens at; an unfinished last row is dropped, others are a fault."""
    times = [each.raw.time for each in series]
    off = alignment.off_grid(times, bar_ms, calendar)
    # A day of sessions may open at any hour, though not its last row alone.
    odds = alignment.far_off(times, bar_ms) if bar_ms >= DAY_MS and not any(bad.any() for bad in off) else off
    for each, odd in zip(series, odds, strict=True):
        if odd.sum() == 1 and each.raw.row[odd][0] == each.last:
            each.raw = _drop_last(each.raw, int(np.argmax(odd)), f"off the grid of {span(bar_ms)} bars", check)
            each.last = None
    if not any(bad.any() for bad in off):
        return
    times = [each.raw.time for each in series]
    off = alignment.off_grid(times, bar_ms, calendar)
    shifted = [*alignment.far_off(times, bar_ms), *alignment.off_grid(times, bar_ms, "sessions")]
    passing = not any(bad.any() for bad in shifted)
    flag = SESSIONS if passing and calendar == "continuous" and not check.served else ""
    for each, bad in zip(series, off, strict=True):
        if bad.any():
            what = f"off the grid of {span(bar_ms)} bars, as are {bad.sum()} of {len(bad)} times"
            text = at(each.raw, int(np.argmax(bad)), f"{what}; allowed: {_grid_words(bar_ms, calendar, flag)}")
            check.faults.append(Fault(text, flag))
            each.raw = take(each.raw, ~bad)


def _grid_words(bar_ms: int, calendar: str, flag: str) -> str:
    """Words the times at which bars of a grid may open."""
    step = span(alignment.grid_step(bar_ms))
    if calendar == "sessions":
        return f"times a whole number of {step} apart, on whole minutes"
    allowed = f"whole multiples of {step}"
    if bar_ms > HOUR_MS:
        allowed += f", all a whole number of {span(bar_ms)} bars apart"
    if not flag:
        return allowed
    why = (
        "which takes bars as dates, whatever daylight saving does to midnight"
        if bar_ms >= DAY_MS
        else ("for a market that closes")
    )
    return f"{allowed}, or {flag}, {why}"


def _drop_unfinished(raw: RawCandles, bar_ms: int, check: _Check) -> RawCandles:
    """Drops the candle that is still open now; candles that open later than that are a fault."""
    if raw.synthetic:
        return raw
    future = raw.time > check.now_ms
    if future.any():
        what = f"opens after now ({iso_minute(check.now_ms)}); allowed: past candles, times in UTC"
        check.faults.append(Fault(at(raw, int(np.argmax(future)), what)))
        raw = take(raw, ~future)
    late = raw.time + bar_ms > check.now_ms
    if not late.any():
        return raw
    if late.all():
        what = f"the only candles of {raw.symbol} are unfinished at {iso_minute(check.now_ms)}"
        check.faults.append(Fault(at(raw, 0, what)))
    check.report.add("unfinished", raw.symbol, late.sum(), f"still open, dropped: {first_times(raw.time[late])}")
    return take(raw, ~late)
