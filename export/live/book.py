"""The candle book: every candle as it was first received, its revisions, and when each was known."""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from himari_jax.candles import COLUMNS, RawCandles
from himari_jax.checking.rows import bad_rows


class Row(NamedTuple):
    """A candle of one symbol as a source gave it."""

    symbol: str
    time: int  # open, epoch milliseconds
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def numbers(self) -> tuple[float, ...]:
        """Prices and volume."""
        return tuple(self[2:])


class Received(NamedTuple):
    """Candles of a poll."""

    entered: list[Row]  # new, late or revised
    revised: list[tuple[Row, Row]]  # before, after
    refused: list[tuple[Row, str]]  # rows that no market can have made, with the reason


class Book:
    """Candles by symbol and time, as known now."""

    def __init__(self, symbols: Sequence[str], bar_ms: int):
        self.symbols, self.bar_ms = tuple(symbols), bar_ms
        self.rows: dict[str, dict[int, Row]] = {symbol: {} for symbol in symbols}
        self.order: dict[str, list[int]] = {symbol: [] for symbol in symbols}  # the times, rising
        self.digest = hashlib.sha256(repr((self.symbols, bar_ms)).encode()).hexdigest()

    def take(self, rows: Iterable[Row], now: int) -> Received:
        """Enters the candles that have closed; those that are known already are passed over.

        Args:
            rows: in any order, the running candle included.
            now: epoch milliseconds.
        """
        found = Received([], [], [])
        for row in sorted(rows, key=lambda row: (row.time, self.symbols.index(row.symbol))):
            known = self.rows[row.symbol].get(row.time)
            if row.time + self.bar_ms > now or known == row:
                continue
            if why := fault_of(row):
                found.refused.append((row, why))
                continue
            if known is not None:
                found.revised.append((known, row))
            found.entered.append(row)
            self.enter(row)
        return found

    def enter(self, row: Row) -> None:
        """Enters one candle; the digest goes on with it."""
        if row.time not in self.rows[row.symbol]:
            insort(self.order[row.symbol], row.time)
        self.rows[row.symbol][row.time] = row
        self.digest = hashlib.sha256(f"{self.digest}{row!r}".encode()).hexdigest()

    def enter_record(self, record: Mapping[str, Any]) -> None:
        """Enters the candles of a record of the log, if it has any."""
        for row in record.get("candles", ()):
            self.enter(Row(*row))

    def newest(self, symbol: str) -> int:
        """Open time of the newest candle of a symbol; -1 where none is known."""
        return self.order[symbol][-1] if self.order[symbol] else -1

    def raw(self, symbol: str, since: int, until: int) -> RawCandles:
        """Candles of a symbol that open in [since, until], as the checks want them."""
        held, order = self.rows[symbol], self.order[symbol]
        times = order[bisect_left(order, since) : bisect_right(order, until)]
        numbers = np.array([held[time].numbers for time in times], np.float64).reshape(-1, len(COLUMNS))
        columns: dict[str, Any] = dict(zip(COLUMNS, numbers.T, strict=True))
        return RawCandles(symbol, symbol, np.arange(1, len(times) + 1), np.array(times, np.int64), **columns)

    def times(self, since: int) -> list[int]:
        """Open times from `since` on at which some symbol has a candle, rising."""
        return sorted({time for order in self.order.values() for time in order[bisect_left(order, since) :]})

    def newest_times(self, count: int, until: int) -> list[int]:
        """The newest open times up to `until` at which some symbol has a candle, so many at most, rising."""
        ends = [(order, bisect_right(order, until)) for order in self.order.values()]
        return sorted({time for order, end in ends for time in order[max(0, end - count) : end]})[-count:]


def fault_of(row: Row) -> str:
    """Reason why a row is no valid candle; empty where it is valid."""
    columns: dict[str, Any] = {name: np.array([getattr(row, name)], np.float64) for name in COLUMNS}
    _, faults = bad_rows(RawCandles(row.symbol, row.symbol, np.array([1]), np.array([row.time], np.int64), **columns))
    return faults[0].text if faults else ""
