"""Alignment: the bar, the grid and the gaps of several assets, as arrays (numpy only)."""

from collections.abc import Sequence
from functools import partial, reduce
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.errors import InputError
from himari_jax.times import DAY_MS, HOUR_MS, MINUTE_MS, first_times, iso_minute

if TYPE_CHECKING:
    from himari_jax.candles import DataReport, RawCandles


MAX_FILL = 3  # a longer gap splits the series
FLAT_RUN = 6  # so many equal bars without volume are no market
JUMP = 0.5  # a bar that leaves the previous close by more is listed


def common_difference(time: np.ndarray) -> int:
    """The most common difference of sorted unique times (T,), T >= 2; the smallest where two are equally common."""
    lengths, counts = np.unique(np.diff(time), return_counts=True)
    return int(lengths[np.argmax(counts)])


def distinct(values: np.ndarray) -> np.ndarray:
    """Drops values (T,) equal to the one before: of rising values leaves each once, faster than a set."""
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def grid_step(bar_ms: int) -> int:
    """The length that divides the distance of any two bars of an asset, in whatever calendar: `gcd(bar, 1 h)`."""
    return gcd(bar_ms, HOUR_MS)


def off_grid(times: Sequence[np.ndarray], bar_ms: int, calendar: str) -> list[np.ndarray]:
    """Marks, for each asset, the times (T,) that no bar of the common grid opens at.

    All times share one phase, the most common one. Continuous bars are whole multiples of `grid_step` since 1970, with
    one phase within the bar, so weekly bars may start on a Monday and 4 h bars at 01:00. Bars of sessions have one
    phase within `grid_step`, a whole number of minutes: hours may open at half past, days an hour earlier in summer.
    """
    step = grid_step(bar_ms)
    if calendar == "sessions":
        phase = common_phase(times, step)
        return [(time % step != phase) | (time % gcd(step, MINUTE_MS) != 0) for time in times]
    phase = common_phase(times, bar_ms)
    return [(time % step != 0) | (time % bar_ms != phase) for time in times]


def far_off(times: Sequence[np.ndarray], bar_ms: int) -> list[np.ndarray]:
    """Marks the times (T,) that open further from the most common time of the bar, or of the day, than an hour.

    An hour is what daylight saving moves a market by.
    """
    length = min(bar_ms, DAY_MS)
    phase = common_phase(times, length)
    away = [(time - phase) % length for time in times]
    return [np.minimum(x, length - x) > HOUR_MS for x in away]


def common_phase(times: Sequence[np.ndarray], length: int) -> int:
    """The most common rest of all times (T,) after division by a length."""
    phases, counts = np.unique(np.concatenate(times) % length, return_counts=True)
    return int(phases[np.argmax(counts)]) if len(phases) else 0


def grid_positions(times: Sequence[np.ndarray], bar_ms: int, calendar: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Numbers the bars: origin and, for each asset, the position (T,) int64 of each row; neighbors differ by one.

    Returns also what turns positions into times: for `continuous` the first time (1,), for `sessions` all times (K,).
    """
    if calendar == "sessions":
        union = reduce(np.union1d, times)
        return union, [np.searchsorted(union, time) for time in times]
    origin = min(time[0] for time in times)
    return np.array([origin]), [(time - origin) // bar_ms for time in times]


def position_times(table: np.ndarray, positions: np.ndarray, bar_ms: int, calendar: str) -> np.ndarray:
    """Open times (T,) of grid positions (T,): the inverse of `grid_positions`."""
    return table[positions] if calendar == "sessions" else table[0] + positions * bar_ms


def covered(positions: np.ndarray) -> np.ndarray:
    """The positions (C,) an asset can stand at: its own (T,) and those of its gaps of up to `MAX_FILL` bars.

    What no asset covers is never built, so one stray date cannot ask for a grid of a century.
    """
    gap = np.diff(positions) - 1
    short = gap <= MAX_FILL
    filled = [positions[:-1][short & (gap >= k)] + k for k in range(1, MAX_FILL + 1)]
    return np.sort(np.concatenate([positions, *filled]))


def common_positions(positions: Sequence[np.ndarray]) -> np.ndarray:
    """The positions (C,) that every asset covers: inside the common span and outside every long gap."""
    both = partial(np.intersect1d, assume_unique=True)
    return reduce(both, [covered(own) for own in positions])


def last_row(positions: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each grid position the asset's latest row at or before it (T,), and whether it is older (T,) bool."""
    row = np.searchsorted(positions, grid, side="right") - 1
    return row, positions[row] != grid


def segment_index(grid: np.ndarray) -> np.ndarray:
    """Index (T,) int32 of the run of consecutive positions that each position belongs to."""
    return np.concatenate([[0], np.cumsum(np.diff(grid) != 1)]).astype(np.int32)


def run_length(going_on: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Length of the run so far at each row (T,): 0 outside, 1 where it starts, counted from earlier rows alone."""
    index = np.arange(len(inside))
    start = np.maximum.accumulate(np.where(inside & going_on, 0, index))
    return np.where(inside, index - start + 1, 0)


def flat_runs(prices: np.ndarray, volume: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Length of the run of equal flat bars without volume that ends at each row (T,).

    Args:
        prices: open, high, low, close, (4, T).
        volume: (T,).
        segment: (T,); a run does not cross from one segment to the next.
    """
    flat = (prices == prices[3]).all(0) & (volume == 0)
    same = np.zeros(len(volume), bool)
    same[1:] = (prices[3, 1:] == prices[3, :-1]) & flat[:-1] & (segment[1:] == segment[:-1])
    return run_length(same, flat)


def jumps(prices: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Rows whose high or low leaves the previous close (the own open, first in a segment) by more than `JUMP`."""
    before = prices[0].copy()
    inside = segment[1:] == segment[:-1]
    before[1:][inside] = prices[3, :-1][inside]
    return np.flatnonzero((prices[1] > before * (1 + JUMP)) | (prices[2] < before * (1 - JUMP)))


def align(series: Sequence["RawCandles"], bar_ms: int, calendar: str, report: "DataReport") -> dict[str, np.ndarray]:
    """Lays checked, sorted assets on their common grid, fills short gaps, splits at long ones and marks flat runs.

    Returns the array fields of `Candles` by name. What is filled or marked at a row follows from rows up to it.

    Raises:
        InputError: the assets have no time in common.
    """
    table, positions = grid_positions([raw.time for raw in series], bar_ms, calendar)
    grid = common_positions(positions)
    if len(grid) == 0:
        spans = "; ".join(f"{raw.symbol} {iso_minute(raw.time[0])} to {iso_minute(raw.time[-1])}" for raw in series)
        raise InputError(f"the symbols have no bar in common outside gaps of more than {MAX_FILL} bars: {spans}")
    if calendar == "sessions" and not len(reduce(np.intersect1d, [raw.time for raw in series])):
        last = "; ".join(f"{raw.symbol} at {iso_minute(raw.time[-1])}" for raw in series)
        raise InputError(
            f"the symbols never have bars that open at the same time, the last ones {last}; allowed: bars of the same "
            "hours and zone, or --pool, where each symbol has bars of its own"
        )
    segment, time = segment_index(grid), position_times(table, grid, bar_ms, calendar)
    columns = []
    for raw, own in zip(series, positions, strict=True):
        _report_losses(raw, own, positions, grid, report)
        row, absent = last_row(own, grid)
        prices = np.stack([raw.open[row], raw.high[row], raw.low[row], raw.close[row]])
        prices[:, absent] = raw.close[row][absent]
        volume = np.where(absent, 0.0, raw.volume[row])
        tradable = ~absent & (flat_runs(prices, volume, segment) < FLAT_RUN)
        _report_rows(raw.symbol, time, absent, tradable, jumps(prices, segment), report)
        columns.append((*prices, volume, tradable))
    names = ("open", "high", "low", "close", "volume", "tradable")
    fields = {name: np.stack(column, axis=1) for name, column in zip(names, zip(*columns, strict=True), strict=True)}
    return {"time": time, "segment": segment, **fields}


def _report_losses(
    raw: "RawCandles", own: np.ndarray, positions: Sequence[np.ndarray], grid: np.ndarray, report: "DataReport"
) -> None:
    """Reports the rows of one asset that the common span and the splits leave out."""
    first, last = max(other[0] for other in positions), min(other[-1] for other in positions)
    outside = (own < first) | (own > last)
    if outside.any():
        kept = f"{int((~outside).sum())} of {len(own)} candles lie in the span that all symbols share"
        report.add("common_span", raw.symbol, outside.sum(), f"dropped: {first_times(raw.time[outside])}; {kept}")
    gap = np.diff(own) - 1
    long = np.flatnonzero((gap > MAX_FILL) & (own[1:] > first) & (own[:-1] < last))
    if len(long):
        where = ", ".join(
            f"{iso_minute(raw.time[k])} to {iso_minute(raw.time[k + 1])} ({gap[k]} bars)" for k in long[:3]
        )
        more = f" and {len(long) - 3} more" if len(long) > 3 else ""
        report.add("split", raw.symbol, len(long), f"gaps of more than {MAX_FILL} bars split all: {where}{more}")
    lost = ~outside & ~np.isin(own, grid)
    if lost.any():
        what = f"candles dropped inside long gaps of other symbols: {first_times(raw.time[lost])}"
        report.add("split_loss", raw.symbol, lost.sum(), what)


def _report_rows(
    symbol: str, time: np.ndarray, absent: np.ndarray, tradable: np.ndarray, jump: np.ndarray, report: "DataReport"
) -> None:
    """Reports the filled bars, the bars marked as flat and the jumps of one asset."""
    flat = ~tradable & ~absent
    if absent.any():
        what = f"bars filled with the last close, not tradable: {first_times(time[absent])}"
        report.add("gap", symbol, absent.sum(), what)
    if flat.any():
        what = (
            f"bars of a flat run without volume, not tradable from its {FLAT_RUN}th bar on: {first_times(time[flat])}"
        )
        report.add("flat", symbol, flat.sum(), f"warning: {what}")
    if len(jump):
        what = f"bars that leave the previous close by more than {JUMP:.0%}: {first_times(time[jump])}"
        report.add("jump", symbol, len(jump), f"warning: {what}")
