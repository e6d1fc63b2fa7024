"""Where the loop's candles come from: a source asked again and again, or files that are let out as time goes."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from export.live.book import Row
from himari_jax.candles import COLUMNS, RawCandles


class Feed(Protocol):
    """A source of candles that can be asked at any time."""

    kind: str  # of source, as bundle and log name it

    def fetch(self, since: int, now: int) -> list[Row]:
        """The candles that open at `since` or later, as the source has them now; a running one may be among them.

        Args:
            since: epoch milliseconds.
            now: epoch milliseconds.

        Raises:
            StorageError: the source cannot be reached at the moment.
        """
        ...


class FileFeed:
    """Candles of the past, each let out at its close: for simulated clocks."""

    kind = "files"

    def __init__(self, raws: Sequence[RawCandles], symbols: Sequence[str], bar_ms: int):
        self.bar_ms = bar_ms
        found = [row for raw, symbol in zip(raws, symbols, strict=True) for row in rows_from(raw, symbol)]
        self.rows = sorted(found, key=lambda row: row.time)
        self.times = [row.time for row in self.rows]

    def fetch(self, since: int, now: int) -> list[Row]:
        """The candles that open at `since` or later and have closed."""
        return self.rows[bisect_left(self.times, since) : bisect_left(self.times, now - self.bar_ms + 1)]


def rows_from(raw: RawCandles, symbol: str) -> list[Row]:
    """The candles of a symbol, under another name, without those that have no price."""
    numbers = np.stack([getattr(raw, name) for name in COLUMNS], axis=1)
    priced = ~np.isnan(numbers[:, :4]).all(1)
    pairs = zip(raw.time[priced].tolist(), numbers[priced].tolist(), strict=True)
    return [Row(symbol, time, *values) for time, values in pairs]
