"""A user's own base positions from a file: checked, and laid on the bars of a market; host code without jax."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.reading.entries import SUFFIXES, may_hold_candles, read_bytes
from himari_jax.reading.series import Series, read_series
from himari_jax.times import iso_minute, span

FLAG = "--base-positions"


@dataclass(frozen=True)
class OwnPositions:
    """Base positions of N symbols: row k is known at `time[k]` and holds until the next row, at most `max_age_ms`."""

    origin: str  # the file
    sha256: str  # of its bytes
    symbols: tuple[str, ...]
    row: np.ndarray  # (K,) int64, of the file
    time: np.ndarray  # (K,) int64, rising, epoch milliseconds UTC
    shares: np.ndarray  # (K, N) float64, share of equity, 0 or more
    extra: tuple[str, ...]  # columns of the file that no symbol has
    max_age_ms: int

    def of(self, symbol: str) -> "OwnPositions":
        """Selects the positions of one symbol."""
        n = self.symbols.index(symbol)
        return replace(self, symbols=(symbol,), shares=self.shares[:, [n]])


def read_own_positions(path: Path, symbols: Sequence[str], max_age_ms: int, assume_utc: bool = False) -> OwnPositions:
    """Base positions from a Parquet or CSV file with a time and a column per symbol.

    Args:
        path: of the file.
        symbols: of the market, in its order.
        max_age_ms: how long a row holds without a next one.
        assume_utc: reads times without a zone as UTC.

    Raises:
        InputError: no such file or column, rows out of order, a time twice, or a value that is not finite or negative.
    """
    if not path.is_file():
        raise InputError(f"{FLAG} {path}: no such file; allowed: a file, {' '.join(SUFFIXES)}")
    if not may_hold_candles(path.name):
        raise InputError(f"{FLAG} {path}: unknown kind of file; allowed: {' '.join(SUFFIXES)}")
    data = read_bytes(path)
    series = read_series(data, path, symbols, assume_utc)
    _check_times(series, str(path))
    _check_values(series, symbols, str(path))
    digest = hashlib.sha256(data).hexdigest()
    return OwnPositions(
        str(path), digest, tuple(symbols), series.row, series.time, series.values, series.extra, max_age_ms
    )


def hold(own: OwnPositions, candles: Candles) -> np.ndarray:
    """The base position at each bar, (T, N): of the newest row whose time is not after the bar's close.

    NaN before the first row: nothing can be decided there.

    Raises:
        InputError: other symbols, a time at which no bar closes, no row in time, or a bar further from its row than
            `max_age_ms`.
    """
    if candles.symbols != own.symbols:
        raise InputError(f"{own.origin}: read for {' '.join(own.symbols)}, the candles are {' '.join(candles.symbols)}")
    closes = candles.time + candles.bar_ms
    _check_grid(own, closes, candles.bar_ms)
    at = np.searchsorted(own.time, closes, side="right") - 1
    known = at >= 0
    if not known.any():
        raise InputError(
            f"{own.origin}: its first row is of {iso_minute(own.time[0])}, the candles end at "
            f"{iso_minute(closes[-1])}; allowed: rows inside the candles"
        )
    stale = known & (closes - own.time[at] > own.max_age_ms)
    if stale.any():
        raise _gap(own, closes[stale], int(at[np.argmax(stale)]))
    out = np.full(candles.close.shape, np.nan)
    out[known] = own.shares[at[known]]
    return out


def _check_times(series: Series, origin: str) -> None:
    """Refuses rows that do not rise in time."""
    step = np.diff(series.time)
    if (step <= 0).any():
        k = int(np.argmax(step <= 0)) + 1
        now, before = iso_minute(series.time[k]), iso_minute(series.time[k - 1])
        if step[k - 1] == 0:
            raise InputError(
                f"{origin}: row {series.row[k]}, {now}: stands in row {series.row[k - 1]} too; "
                "allowed: one row per time"
            )
        raise InputError(
            f"{origin}: row {series.row[k]}, {now}: after {before} in row {series.row[k - 1]}; "
            "allowed: rows in the order of time"
        )


def _check_values(series: Series, symbols: Sequence[str], origin: str) -> None:
    """Refuses what is not finite, and what is negative."""
    for bad, what in (
        (~np.isfinite(series.values), "allowed: finite numbers, in every row and column of a symbol"),
        (
            series.values < 0,
            "allowed: 0 or more, a share of equity; short base positions will come with perpetual markets",
        ),
    ):
        if bad.any():
            k, n = (int(x[0]) for x in np.nonzero(bad))
            place = f"{origin}: row {series.row[k]}, {iso_minute(series.time[k])}"
            raise InputError(f"{place}: {symbols[n]} = {series.values[k, n]:g}, one of {int(bad.sum())}; {what}")


def _check_grid(own: OwnPositions, closes: np.ndarray, bar_ms: int) -> None:
    """Refuses a time at which no bar of this length can close."""
    off = ~np.isin(own.time % bar_ms, np.unique(closes % bar_ms))
    if off.any():
        k = int(np.argmax(off))
        raise InputError(
            f"{own.origin}: row {own.row[k]}, {iso_minute(own.time[k])}: no bar of {span(bar_ms)} closes then, as at "
            f"{int(off.sum())} of {len(off)} times; allowed: closes of bars, such as {iso_minute(closes[-1])}"
        )


def _gap(own: OwnPositions, stale: np.ndarray, k: int) -> InputError:
    """Words the refusal of bars whose newest row, k, is too old."""
    last = f"row {own.row[k]}, {iso_minute(own.time[k])}"
    following = "the last one" if k + 1 == len(own.time) else f"the next one is of {iso_minute(own.time[k + 1])}"
    return InputError(
        f"{own.origin}: {last}: {following}, and {len(stale)} bars of {' '.join(own.symbols)} close more than "
        f"{span(own.max_age_ms)} after the row they have (the first at {iso_minute(stale[0])}, the last at "
        f"{iso_minute(stale[-1])}); allowed: more rows, fewer candles, or a larger --base-max-age"
    )
