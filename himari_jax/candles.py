"""Candles: what every source delivers, checked, aligned and marked where they cannot be traded."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from himari_jax.errors import Fault, InputError
from himari_jax.times import DAY_MS, bars_per_year

COLUMNS = ("open", "high", "low", "close", "volume")
FACTS_KEY = "himari"  # of the metadata of a Parquet file: JSON with what is known of its source
KINDS = {"exchange": "candles of an exchange", "aggregated": "prices aggregated over exchanges"}


@dataclass(frozen=True)
class RawCandles:
    """The candles of one symbol as a source read them, unchecked and in the source's order."""

    symbol: str
    origin: str  # the file or source, named in every message
    row: np.ndarray  # (T,) int64, row of the file (first line = 1) or index from 1
    time: np.ndarray  # (T,) int64, open time, epoch milliseconds UTC
    open: np.ndarray  # (T,) float64
    high: np.ndarray  # (T,) float64
    low: np.ndarray  # (T,) float64
    close: np.ndarray  # (T,) float64
    volume: np.ndarray  # (T,) float64, units of the base asset
    notes: tuple[str, ...] = ()  # what the reader met and did: a banner line, a BOM, ...
    synthetic: bool = False
    faults: tuple[Fault, ...] = ()  # what the reader refuses: `check_candles` does, together with what it finds itself
    pieces: tuple[tuple[int, str], ...] = ()  # of several files: what was added to the rows of each, and its origin
    kind: str = ""  # one of KINDS: meaning of the volumes; empty: unknown

    def place(self, index: int | np.integer) -> str:
        """Names the file and the row of a candle."""
        row = int(self.row[index])
        offset, origin = max((piece for piece in self.pieces if piece[0] < row), default=(0, self.origin))
        return f"{origin}: row {row - offset}"


@dataclass(frozen=True)
class Candles:
    """Checked candles of N symbols on one time grid; gaps of up to 3 bars are filled.

    Rows of one `segment` are consecutive bars; between segments lies a longer gap.
    """

    symbols: tuple[str, ...]
    bar_ms: int  # length of a bar in milliseconds
    calendar: str  # continuous | sessions
    time: np.ndarray  # (T,) int64, open time, epoch milliseconds UTC
    open: np.ndarray  # (T, N) float64
    high: np.ndarray  # (T, N) float64
    low: np.ndarray  # (T, N) float64
    close: np.ndarray  # (T, N) float64
    volume: np.ndarray  # (T, N) float64
    tradable: np.ndarray  # (T, N) bool
    segment: np.ndarray  # (T,) int32, index of the contiguous stretch a row belongs to
    synthetic: bool = False
    kind: str = ""  # one of KINDS: meaning of the volumes; empty: unknown

    @property
    def bars_per_year(self) -> float:
        """365 days of bars where the market never closes, else as many as the data show."""
        return bars_per_year(self.calendar, self.bar_ms, len(self.time), self.span_ms)

    @property
    def span_ms(self) -> int:
        """Milliseconds from the first open to the last close."""
        return int(self.time[-1] - self.time[0]) + self.bar_ms

    @property
    def days(self) -> float:
        """Days of the calendar from the first open to the last close, whether or not the market was open."""
        return self.span_ms / DAY_MS

    @property
    def fingerprint(self) -> str:
        """SHA-256 of symbols, bar and every number, as hex."""
        digest = hashlib.sha256(repr((self.symbols, self.bar_ms, self.calendar)).encode())
        for name in ("time", "open", "high", "low", "close", "volume", "tradable", "segment"):
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()


def common_kind(kinds: Mapping[str, str]) -> str:
    """The kind of candles by symbol or file as one; empty where none is known.

    Raises:
        InputError: two differ.
    """
    known = {name: kind for name, kind in kinds.items() if kind}
    first = next(iter(known), "")
    for name, kind in known.items():
        if kind != known[first]:
            raise InputError(
                f"{first} has {KINDS[known[first]]}, {name} {KINDS[kind]}: their volumes mean different things; "
                "allowed: one kind of source"
            )
    return known.get(first, "")


def refuse_other_number(trained: Sequence[str], given: Sequence[str], who: str) -> None:
    """Refuses candles of more or fewer symbols than a policy has.

    Args:
        trained: symbols of the policy.
        given: symbols of the candles.
        who: the policy, for the message.

    Raises:
        InputError: the numbers differ.
    """
    if len(given) != len(trained):
        raise InputError(
            f"{who}: trained on {len(trained)} symbols ({' '.join(trained)}), given {len(given)} ({' '.join(given)}); "
            "--symbols names as many, in that order"
        )


@dataclass
class DataReport:
    """Findings of the data checks and the repairs made; written as `data_report.json`."""

    entries: list[dict] = field(default_factory=list)  # {"kind", "symbol", "count", "detail"}

    def add(self, kind: str, symbol: str, count: int, detail: str) -> None:
        """Notes one kind of finding for one symbol."""
        self.entries.append({"kind": kind, "symbol": symbol, "count": int(count), "detail": detail})
