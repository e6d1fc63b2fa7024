"""Candle feeds of the loop: a live source that is polled, or files that are played back."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np

from export.live.book import Row
from himari_jax.candles import COLUMNS, RawCandles, common_kind
from himari_jax.errors import StorageError
from himari_jax.live.clock import Clock
from himari_jax.live.feed import Feed as Source
from himari_jax.live.paging import read_pages
from himari_jax.live.retries import TryAgainError


class Feed(Protocol):
    """A source of candles that can be asked at any time."""

    name: str  # of the source
    kind: str  # of its volumes, one of `himari_jax.candles.KINDS`; empty: not known

    def fetch(self, since: int, now: int) -> list[Row]:
        """Fetches the candles that open at `since` or later; the running one may be among them.

        Args:
            since: epoch milliseconds.
            now: epoch milliseconds.

        Raises:
            StorageError: the source cannot be reached at the moment.
        """
        ...

    def quotes(self, time: int) -> dict[str, float]:
        """Returns the last price of each symbol in the running candle, which opens at `time`; empty where not known."""
        ...


class FileFeed:
    """Candles of the past, each available from its close on: for simulated clocks."""

    name = "files"

    def __init__(self, raws: Sequence[RawCandles], symbols: Sequence[str], bar_ms: int):
        self.bar_ms, self.kind = bar_ms, common_kind({raw.symbol: raw.kind for raw in raws})
        found = [row for raw, symbol in zip(raws, symbols, strict=True) for row in rows_from(raw, symbol)]
        self.rows = sorted(found, key=lambda row: row.time)
        self.times = [row.time for row in self.rows]

    def fetch(self, since: int, now: int) -> list[Row]:
        """Returns the candles that open at `since` or later and have closed."""
        return self.rows[bisect_left(self.times, since) : bisect_left(self.times, now - self.bar_ms + 1)]

    def quotes(self, time: int) -> dict[str, float]:
        """Returns nothing: files hold no running candle."""
        return {}


class SourceFeed:
    """Candles of a live source, under the names that the bundle has for its symbols.

    Args:
        source: of candles.
        symbols: of the source, by the bundle's names.
        bar_ms: length of a bar.
        clock: of the loop.
        note: called with each line for the operator, once.
    """

    def __init__(
        self,
        source: Source,
        symbols: Mapping[str, str],
        bar_ms: int,
        clock: Clock,
        note: Callable[[str], None] = print,
    ):
        self.source, self.symbols, self.bar_ms, self.clock, self.note = source, symbols, bar_ms, clock, note
        self.name, self.kind, self.noted = source.name, source.kind, set[str]()
        for theirs in symbols.values():
            source.check(theirs, bar_ms)

    def note_once(self, line: str) -> None:
        """Passes a line on to `note`, the first time that it comes."""
        if line not in self.noted:
            self.noted.add(line)
            self.note(line)

    def fetch(self, since: int, now: int) -> list[Row]:
        """Fetches the candles that open at `since` or later and have closed, by the source's clock, too."""
        found = []
        for ours, theirs in self.symbols.items():
            for page in read_pages(self.source, theirs, self.bar_ms, since, now, self.clock, self.note_once):
                found += [Row(ours, int(time), *map(float, values)) for time, *values in page.tolist()]
        return found

    def quotes(self, time: int) -> dict[str, float]:
        """Returns the last price of each symbol in the running candle; nothing where the source does not answer."""
        found: dict[str, float] = {}
        for ours, theirs in self.symbols.items():
            with suppress(StorageError, TryAgainError):
                rows = self.source.fetch(theirs, self.bar_ms, time, 1).rows
                for close in rows[rows[:, 0] == time, 4].tolist():
                    found[ours] = close
        return found


def rows_from(raw: RawCandles, symbol: str) -> list[Row]:
    """Converts the candles of a symbol to rows under another name, without those that have no price."""
    numbers = np.stack([getattr(raw, name) for name in COLUMNS], axis=1)
    priced = ~np.isnan(numbers[:, :4]).all(1)
    pairs = zip(raw.time[priced].tolist(), numbers[priced].tolist(), strict=True)
    return [Row(symbol, time, *values) for time, values in pairs]
