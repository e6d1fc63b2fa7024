"""Checks candles at the boundary: what is refused, what is repaired, what is reported."""

import time as clock
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from himari_jax import alignment
from himari_jax.candles import COLUMNS, Candles, DataReport, RawCandles
from himari_jax.errors import InputError
from himari_jax.times import HOUR_MS, first_times, iso_minute, span

CALENDARS = ("continuous", "sessions")
REPAIRS = ("sort",)
PRICE_RANGE = (1e-18, 1e18)  # the ratio of two prices stays a float32
MOST_VOLUME = 1e30


def check_candles(
    raws: Sequence[RawCandles],
    *,
    bar_ms: int | None = None,
    calendar: str = "continuous",
    repair: tuple[str, ...] = (),
    now_ms: int | None = None,
) -> tuple[Candles, DataReport]:
    """Checks the candles of several symbols, lays them on one grid and says what it met.

    Args:
        raws: one per symbol, in the order of the columns to be.
        bar_ms: length of a bar in milliseconds; None infers it as the most common difference of times.
        calendar: `continuous`, or `sessions` where consecutive rows are consecutive bars.
        repair: `sort` accepts rows that are not in time order.
        now_ms: epoch milliseconds; a candle that ends later is unfinished. None: the clock.

    Raises:
        InputError: what cannot be repaired from earlier rows: names file, row, time, value and what is allowed.
    """
    _check_arguments(raws, bar_ms, calendar, repair)
    report = DataReport()
    for raw in raws:
        for note in raw.notes:
            report.add("note", raw.symbol, 1, f"{raw.origin}: {note}")
    series = [_drop_duplicates(_put_in_order(_check_rows(raw), repair, report), report) for raw in raws]
    bar_ms = _find_bar(series, bar_ms)
    _check_grid(series, bar_ms, calendar)
    now_ms = int(clock.time() * 1000) if now_ms is None else now_ms
    series = [_drop_unfinished(raw, bar_ms, now_ms, report) for raw in series]
    candles = Candles(
        symbols=tuple(raw.symbol for raw in series),
        bar_ms=bar_ms,
        calendar=calendar,
        synthetic=any(raw.synthetic for raw in series),
        **alignment.align(series, bar_ms, calendar, report),
    )
    return candles, report


def _check_arguments(raws: Sequence[RawCandles], bar_ms: int | None, calendar: str, repair: tuple[str, ...]) -> None:
    if not raws:
        raise InputError("no candles: at least one symbol is needed")
    symbols = [raw.symbol for raw in raws]
    if twice := sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}):
        raise InputError(f"symbol {twice[0]} is given twice; each symbol may stand once")
    if bar_ms is not None and bar_ms <= 0:
        raise InputError(f"the bar is {bar_ms} ms; allowed: > 0")
    if calendar not in CALENDARS:
        raise InputError(f"--calendar {calendar}: allowed are {' and '.join(CALENDARS)}")
    if unknown := [name for name in repair if name not in REPAIRS]:
        raise InputError(f"--repair {unknown[0]}: allowed is {', '.join(REPAIRS)}")
    for raw in raws:
        if len(raw.time) == 0:
            raise InputError(f"{raw.origin}: no candles of {raw.symbol}")


def _at(raw: RawCandles, index: int, what: str) -> str:
    return f"{raw.origin}: row {raw.row[index]}, {iso_minute(raw.time[index])}: {what}"


def _take(raw: RawCandles, index: np.ndarray) -> RawCandles:
    return replace(raw, **{name: getattr(raw, name)[index] for name in ("row", "time", *COLUMNS)})


def _check_rows(raw: RawCandles) -> RawCandles:
    """Rejects the first row that no market can have made."""
    body_top, body_bottom = np.maximum(raw.open, raw.close), np.minimum(raw.open, raw.close)
    prices = [(name, getattr(raw, name)) for name in COLUMNS[:4]]
    low, high = PRICE_RANGE
    rules = [(name, ~(np.isfinite(value) & (value > 0)), "finite and > 0") for name, value in prices]
    rules += [(name, (value < low) | (value > high), f"{low:g} to {high:g}") for name, value in prices]
    rules += [
        ("high", raw.high < body_top, "high >= max(open, close)"),
        ("low", raw.low > body_bottom, "low <= min(open, close)"),
        ("volume", ~(np.isfinite(raw.volume) & (raw.volume >= 0)), "finite and >= 0"),
        ("volume", raw.volume > MOST_VOLUME, f"up to {MOST_VOLUME:g}"),
    ]
    found = [(int(np.argmax(bad)), name, allowed) for name, bad, allowed in rules if bad.any()]
    if not found:
        return raw
    index, name, allowed = min(found, key=lambda item: item[0])
    count = int(np.logical_or.reduce([bad for _, bad, _ in rules]).sum())
    candle = " ".join(f"{column} {getattr(raw, column)[index]:g}" for column in COLUMNS)
    others = f"; {count - 1} more bad rows" if count > 1 else ""
    raise InputError(
        _at(raw, index, f"{name} = {getattr(raw, name)[index]:.12g} ({candle}); allowed: {allowed}{others}")
    )


def _put_in_order(raw: RawCandles, repair: tuple[str, ...], report: DataReport) -> RawCandles:
    """Rows in time order: as they are, sorted by `--repair sort`, or rejected."""
    late = np.flatnonzero(np.diff(raw.time) < 0) + 1
    if len(late) == 0:
        return raw
    if "sort" not in repair:
        before = iso_minute(raw.time[late[0] - 1])
        what = f"follows {before}; allowed: rows in time order, or --repair sort ({len(late)} rows are early)"
        raise InputError(_at(raw, int(late[0]), what))
    report.add("sorted", raw.symbol, len(late), f"rows earlier than the one before: {first_times(raw.time[late])}")
    return _take(raw, np.argsort(raw.time, kind="stable"))


def _drop_duplicates(raw: RawCandles, report: DataReport) -> RawCandles:
    """Drops rows that repeat the one before in every value; the same time with other values is rejected."""
    again = np.diff(raw.time) == 0
    if not again.any():
        return raw
    other = again & np.logical_or.reduce([np.diff(getattr(raw, name)) != 0 for name in COLUMNS])
    if other.any():
        index = int(np.argmax(other)) + 1
        name = next(name for name in COLUMNS if getattr(raw, name)[index] != getattr(raw, name)[index - 1])
        here, there = getattr(raw, name)[index], getattr(raw, name)[index - 1]
        what = f"{name} = {here:.12g}, but {there:.12g} for the same time in row {raw.row[index - 1]}"
        raise InputError(_at(raw, index, f"{what}; allowed: one candle per time"))
    extra = np.flatnonzero(again) + 1
    report.add("duplicate", raw.symbol, len(extra), f"exact repetitions dropped: {first_times(raw.time[extra])}")
    return _take(raw, np.delete(np.arange(len(raw.time)), extra))


def _find_bar(series: Sequence[RawCandles], bar_ms: int | None) -> int:
    """The one bar of all assets, equal to the given one if any."""
    for raw in series:
        if len(raw.time) < 2:
            if bar_ms is None:
                raise InputError(_at(raw, 0, f"the only candle of {raw.symbol}: no bar can be inferred from one"))
            continue
        own = alignment.common_difference(raw.time)
        if bar_ms is not None and own != bar_ms:
            what = f"the candles of {raw.symbol} are mostly {span(own)} apart; allowed: bars of {span(bar_ms)}"
            raise InputError(f"{raw.origin}: {what}, as given or as in the first symbol")
        bar_ms = own
    assert bar_ms is not None  # given, or inferred from the first symbol
    return bar_ms


def _check_grid(series: Sequence[RawCandles], bar_ms: int, calendar: str) -> None:
    """Rejects the first time that no bar of the grid opens at."""
    for raw, bad in zip(series, alignment.off_grid([raw.time for raw in series], bar_ms, calendar), strict=True):
        if bad.any():
            allowed = f"whole multiples of {span(min(bar_ms, HOUR_MS))}"
            if calendar == "continuous" and bar_ms > HOUR_MS:
                allowed += f", all a whole number of {span(bar_ms)} bars apart"
            what = f"off the grid of {span(bar_ms)} bars, as are {bad.sum()} of {len(bad)} times; allowed: {allowed}"
            raise InputError(_at(raw, int(np.argmax(bad)), what))


def _drop_unfinished(raw: RawCandles, bar_ms: int, now_ms: int, report: DataReport) -> RawCandles:
    """Drops the candle that is still open at `now_ms`; candles that open later than that are rejected."""
    if raw.synthetic:
        return raw
    if raw.time[-1] > now_ms:
        index = int(np.argmax(raw.time > now_ms))
        raise InputError(
            _at(raw, index, f"opens after now ({iso_minute(now_ms)}); allowed: past candles, times in UTC")
        )
    late = raw.time + bar_ms > now_ms
    if not late.any():
        return raw
    if late.all():
        raise InputError(_at(raw, 0, f"the only candles of {raw.symbol} are unfinished at {iso_minute(now_ms)}"))
    report.add("unfinished", raw.symbol, late.sum(), f"still open, dropped: {first_times(raw.time[late])}")
    return _take(raw, np.flatnonzero(~late))
