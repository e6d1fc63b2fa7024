"""Interface of a live source: candles of a symbol from a moment on, a page at a time."""

from typing import NamedTuple, Protocol

import numpy as np


class Page(NamedTuple):
    """An answer of a source: candles in the order of time, a running one among them, and the time of its clock."""

    rows: np.ndarray  # (K, 6) float64: open time in epoch milliseconds, open, high, low, close, volume
    now_ms: int | None = None  # by the clock of the source; None: it does not say


class Feed(Protocol):
    """A live source of candles. Every method raises InputError or SourceError in one line."""

    name: str  # of the exchange, or coingecko
    kind: str  # one of himari_jax.candles.KINDS: what its volumes mean

    def page_bars(self, bar_ms: int) -> int:
        """Bars that one call can have."""

    def newest(self, bar_ms: int) -> int | None:
        """Number of candles, the newest, that the source still has; None: all since the listing."""

    def check(self, symbol: str, bar_ms: int) -> None:
        """Raises InputError where it has no such symbol or bar."""

    def about(self, symbol: str) -> dict[str, str]:
        """Further facts that identify the candles, such as the id of a coin."""

    def fetch(self, symbol: str, bar_ms: int, since_ms: int, bars: int | None = None) -> Page:
        """Candles that open at or after a moment, the oldest first; as many as one call has, or fewer: `bars`."""


def empty_rows() -> np.ndarray:
    """Rows without a candle, (0, 6)."""
    return np.zeros((0, 6))


def in_order(rows: np.ndarray) -> np.ndarray:
    """Rows in the order of time, each time once: of two the later one, which is the newer view.

    Args:
        rows: (K, 6).
    """
    order = np.argsort(rows[:, 0], kind="stable")
    rows = rows[order]
    last = np.append(np.diff(rows[:, 0]) > 0, True)[: len(rows)]
    return rows[last]
