"""Downloads: a symbol's candles into its file, from where it stopped; what was written is never lost or doubled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from himari_jax.errors import SourceError
from himari_jax.live.clock import Clock
from himari_jax.live.feed import Feed, empty_rows
from himari_jax.live.paging import REREAD, first_moment, read_pages
from himari_jax.live.store import (
    Stored,
    file_name,
    find_revisions,
    locked,
    log_revisions,
    merge,
    read_store,
    refuse_other,
    write_store,
)
from himari_jax.times import DAY_MS, bar_name, iso_minute, iso_second

PENDING = 20_000  # candles in memory, or a quarter of the file, before it is written


class Downloaded(NamedTuple):
    """Result of the download of one symbol."""

    path: Path
    stored: Stored  # the whole file
    since: int  # epoch milliseconds of the first candle asked for
    added: int  # candles
    revised: int  # candles
    missing: int  # bars between the first and the last candle that have none
    notes: tuple[str, ...]


def download(
    feed: Feed,
    symbol: str,
    bar_ms: int,
    since: int | None,
    until: int,
    folder: Path,
    clock: Clock,
    progress: Callable[[str], None] = lambda line: None,
) -> Downloaded:
    """Brings the file of a symbol up to date, and returns it.

    The last two candles are read again, and those that changed are logged. Nothing is asked for that was read before.

    Args:
        feed: the source.
        symbol: as the source spells it.
        bar_ms: length of a bar.
        since: epoch milliseconds; None: 2020, or what the source still has.
        until: epoch milliseconds; no candle closes later.
        folder: of the files.
        clock: ours.
        progress: receives a line now and then: how far the download is.

    Raises:
        InputError: no such symbol or bar, a history that cannot be had, or a file of other candles.
        SourceError: the source does not answer; what was read so far is written.
    """
    path = folder / file_name(symbol, bar_ms)
    with locked(path):
        return _Download(feed, symbol, bar_ms, until, path, clock, progress).download(since)


class _Download:
    """The download of one symbol into its file."""

    def __init__(self, feed: Feed, symbol: str, bar_ms: int, until: int, path: Path, clock: Clock, progress: Callable):
        self.feed, self.symbol, self.bar_ms, self.clock = feed, symbol, bar_ms, clock
        self.until, self.path, self.progress = until, path, progress
        self.stored = read_store(path)
        refuse_other(path, self.stored, self._own_facts())
        self.pending, self.notes = empty_rows(), list[str]()
        self.added = self.revised = 0

    def download(self, since: int | None) -> Downloaded:
        """Reads what lies before the file, then what lies behind it."""
        begin = self._begin(since) if not self.stored.facts else self._extend(since)
        rows = self.stored.rows
        missing = int((np.diff(rows[:, 0]) / self.bar_ms - 1).sum()) if len(rows) else 0
        notes = tuple(dict.fromkeys(self.notes))
        return Downloaded(self.path, self.stored, begin, self.added, self.revised, missing, notes)

    def _begin(self, since: int | None) -> int:
        """Reads a new file; returns where it begins."""
        self._open()
        begin = first_moment(self.feed, self.bar_ms, since, self.until, self.clock.now_ms())
        self._read(begin, self.until, begin)
        return begin

    def _extend(self, since: int | None) -> int:
        """Reads what a file lacks at both ends; returns the moment from which on candles are wanted."""
        have: int = self.stored.facts["since"]
        read_to: int = self.stored.facts["read_to"]
        begin = have if since is None else since
        if begin < have or read_to < self.until:
            self._open()
        if begin < have:
            first_moment(self.feed, self.bar_ms, begin, self.until, self.clock.now_ms())
            self._read(begin, have, begin, whole=True)
        if read_to < self.until:
            last = int(self.stored.rows[-1, 0]) if len(self.stored.rows) else have
            self._read(max(last - (REREAD - 1) * self.bar_ms, have), self.until, begin)
        return begin

    def _open(self) -> None:
        """Checks that the source has such candles, and refuses a file of others."""
        self.feed.check(self.symbol, self.bar_ms)
        refuse_other(self.path, self.stored, self._facts(0, 0))

    def _own_facts(self) -> dict[str, Any]:
        """The facts of the file that are known without asking the source."""
        kind = {"source": self.feed.name, "source_kind": self.feed.kind}
        return kind | {"symbol": self.symbol, "bar": bar_name(self.bar_ms)}

    def _facts(self, since: int, read_to: int) -> dict[str, Any]:
        """The facts of the file."""
        return {
            **self._own_facts(),
            **self.feed.about(self.symbol),
            "since": since,
            "read_to": read_to,
            "fetched_at": iso_second(self.clock.now_ms()),
        }

    def _read(self, begin: int, end: int, since: int, whole: bool = False) -> None:
        """Reads a stretch of time, and writes now and then, at the end, and where the source fails.

        What lies before the file is written as a whole: a part of it would leave a hole that is never filled.
        """
        first = True
        try:
            for rows in read_pages(self.feed, self.symbol, self.bar_ms, begin, end, self.clock, self._note):
                if first and len(rows):
                    self._note_hole(begin, int(rows[0, 0]))
                    first = False
                self.pending = np.concatenate([self.pending, rows])
                if not whole and len(self.pending) > max(PENDING, len(self.stored.rows) // 4):
                    self._write(since)
                    self.progress(f"{self.symbol}: {len(self.stored.rows):,} candles up to {self._last()}")
        except SourceError:
            if not whole:
                self._write(since)
            raise
        self._write(since, self._read_to(end))

    def _read_to(self, end: int) -> int:
        """Moment up to which the file is complete: candles that lack at its end for under two days may still come."""
        end = min(end, self.clock.now_ms() // self.bar_ms * self.bar_ms)
        newest = self.pending if len(self.pending) else self.stored.rows
        last = int(newest[-1, 0]) + self.bar_ms if len(newest) else 0
        return last if last < end < last + max(2 * DAY_MS, 2 * self.bar_ms) else end

    def _note(self, line: str) -> None:
        self.notes.append(line)

    def _note_hole(self, begin: int, found: int) -> None:
        """Notes that candles are missing before the first one that the source has."""
        lacking = (found - begin) // self.bar_ms
        if lacking <= 0:
            return
        what = f"{self.feed.name} {self.symbol}: no candles from {iso_minute(begin)} to {iso_minute(found)}"
        newest = self.feed.newest(self.bar_ms)
        why = (
            "its history begins there, or nobody traded" if newest is None else f"it keeps the newest {newest:,} alone"
        )
        self._note(f"{what} ({lacking:,} bars): {why}")

    def _write(self, since: int, read_to: int | None = None) -> None:
        """Logs revisions, then writes the file."""
        old, new = self.stored.rows, self.pending
        if not len(new) and read_to is None:
            return
        revisions = find_revisions(self.symbol, old, new, self.clock.now_ms())
        log_revisions(self.path.parent, revisions)
        rows = merge(old, new)
        self.added += len(rows) - len(old)
        self.revised += len(revisions)
        before = self.stored.facts
        end = read_to if read_to is not None else int(rows[-1, 0]) + self.bar_ms
        ends = max(end, before.get("read_to", 0))
        self.stored = Stored(rows, self._facts(min(since, before.get("since", since)), ends))
        write_store(self.path, self.stored)
        self.pending = empty_rows()

    def _last(self) -> str:
        return iso_minute(self.stored.rows[-1, 0] + self.bar_ms)
