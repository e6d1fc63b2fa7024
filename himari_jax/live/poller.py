"""The poller of a live decision loop: newly closed candles, revisions and missing ones, each with two times.

The event time says when something happened in the market, the known time when we learned of it: kept apart, "what did
we know" and "what is true now" can both be told later.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from himari_jax.live.clock import Clock
from himari_jax.live.feed import Feed, empty_rows
from himari_jax.live.paging import read_pages
from himari_jax.live.store import Revision, find_revisions, merge
from himari_jax.times import parse_bar

AGAIN = 2  # newest closed candles that every poll reads again


class Bar(NamedTuple):
    """A candle that has closed."""

    symbol: str
    time: int  # open, epoch milliseconds
    event_ms: int  # close
    known_ms: int  # when it was learned
    values: tuple[float, ...]  # open, high, low, close, volume


class Missing(NamedTuple):
    """A bar for which the source has no candle, though it has one of a later bar, or two bars have gone by."""

    symbol: str
    time: int  # open, epoch milliseconds
    event_ms: int  # close
    known_ms: int  # when that was learned


class Poll(NamedTuple):
    """What a poll found, in the order of time and, at the same time, of the symbols."""

    known_ms: int
    closed: tuple[Bar, ...]
    revisions: tuple[Revision, ...]
    missing: tuple[Missing, ...]  # each told once; one that comes after all is among `closed` then
    notes: tuple[str, ...]  # such as clocks that differ


E = TypeVar("E", Bar, Revision, Missing)


def in_time(found: Sequence[E]) -> tuple[E, ...]:
    """Events in the order of their bars."""
    return tuple(sorted(found, key=lambda event: event.time))


class LiveCandles:
    """Candles of some symbols as they close.

    Args:
        source: a live source: `ExchangeFeed`, `CoinGeckoFeed`, or one that asks a fake.
        symbols: as the source spells them.
        timeframe: length of a bar: 15m, 1h, 1d.
        clock: tells the time and waits between repeated requests.
        history: closed candles of each symbol that the first poll returns, and that `candles` keeps at least.

    Raises:
        InputError: the source has no such symbol or bar.
    """

    def __init__(self, source: Feed, symbols: Sequence[str], timeframe: str, clock: Clock, history: int = 1):
        self.source, self.symbols, self.clock = source, tuple(symbols), clock
        self.bar_ms, self.history = parse_bar(timeframe, "--bar"), history
        for symbol in self.symbols:
            source.check(symbol, self.bar_ms)
        self.kept = {symbol: empty_rows() for symbol in self.symbols}  # (K, 6) each, as they are true now
        self.absent: dict[str, set[int]] = {symbol: set() for symbol in self.symbols}
        self.start = clock.now_ms() // self.bar_ms * self.bar_ms - history * self.bar_ms

    def candles(self, symbol: str) -> np.ndarray:
        """The newest closed candles of a symbol as they are true now, (K, 6): open time, prices, volume."""
        return self.kept[symbol]

    def poll(self) -> Poll:
        """Asks for what closed since the last poll, and for the last two candles again.

        Where it fails nothing is changed, and the next poll catches up.

        Raises:
            SourceError: the source does not answer.
        """
        notes: list[str] = []
        found = {symbol: self._read(symbol, notes) for symbol in self.symbols}
        known = self.clock.now_ms()
        closed, revisions, missing = list[Bar](), list[Revision](), list[Missing]()
        for symbol, rows in found.items():
            old = self.kept[symbol]
            revisions += find_revisions(symbol, old, rows, known)
            fresh = rows[~np.isin(rows[:, 0], old[:, 0])]
            closed += [
                Bar(symbol, int(row[0]), int(row[0]) + self.bar_ms, known, tuple(row[1:].tolist())) for row in fresh
            ]
            rows = merge(old, rows)
            missing += self._missing(symbol, rows, known)
            self.kept[symbol] = rows[-max(self.history, AGAIN) :]
        return Poll(known, in_time(closed), in_time(revisions), in_time(missing), tuple(notes))

    def _read(self, symbol: str, notes: list[str]) -> np.ndarray:
        """Closed candles from the last two on."""
        rows = self.kept[symbol]
        since = int(rows[-1, 0]) - (AGAIN - 1) * self.bar_ms if len(rows) else self.start
        now = self.clock.now_ms()
        pages = list(
            read_pages(self.source, symbol, self.bar_ms, max(since, self.start), now, self.clock, notes.append)
        )
        return np.concatenate(pages) if pages else empty_rows()

    def _missing(self, symbol: str, rows: np.ndarray, known: int) -> list[Missing]:
        """Bars without a candle that were not told of yet."""
        bar, told = self.bar_ms, self.absent[symbol]
        first = int(rows[0, 0]) if len(self.kept[symbol]) and len(rows) else self.start
        end = max(int(rows[-1, 0]) if len(rows) else 0, known // bar * bar - 2 * bar)
        have = set(rows[:, 0].astype(np.int64).tolist())
        lacking = [time for time in range(first, end, bar) if time not in have and time not in told]
        told |= set(lacking)
        self.absent[symbol] = {time for time in told if time >= first}
        return [Missing(symbol, time, time + bar, known) for time in lacking]
