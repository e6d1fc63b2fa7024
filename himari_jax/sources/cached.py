"""Candles of a live source for a run: downloaded into a cache folder once, then read as files are."""

import os
import sys
from pathlib import Path

from himari_jax.candles import RawCandles
from himari_jax.errors import InputError
from himari_jax.live.clock import Clock, SystemClock
from himari_jax.live.download import download
from himari_jax.live.feed import Feed
from himari_jax.live.paging import first_moment
from himari_jax.live.store import to_raw
from himari_jax.sources.request import SourceRequest
from himari_jax.times import DAY_MS, HOUR_MS, iso_minute

CACHE = "HIMARI_CANDLES"  # environment: the folder


def cache_folder() -> Path:
    """Folder of the downloads of live sources."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "himari-candles")


def load_cached(feed: Feed, request: SourceRequest, clock: Clock | None = None) -> list[RawCandles]:
    """Candles of each symbol of a request from its `since` to its `until`.

    Args:
        feed: the source.
        request: `until` None is the last midnight, UTC; `since` None is 2020, or what the source still has.
        clock: None: the machine's.

    Raises:
        InputError: the source does not have what is asked for.
        SourceError: it does not answer.
    """
    clock = SystemClock() if clock is None else clock
    bar_ms = HOUR_MS if request.bar_ms is None else request.bar_ms
    until = clock.now_ms() // DAY_MS * DAY_MS if request.until is None else request.until
    since = first_moment(feed, bar_ms, None, until, clock.now_ms()) if request.since is None else request.since
    folder, found = cache_folder() / feed.name, []
    for symbol in request.symbols:
        done = download(feed, symbol, bar_ms, since, until, folder, clock, lambda line: print(line, file=sys.stderr))
        for note in done.notes:
            print(f"note: {note}", file=sys.stderr)
        rows = done.stored.rows
        kept = rows[(rows[:, 0] >= since) & (rows[:, 0] + bar_ms <= until)]
        if not len(kept):
            raise InputError(f"{feed.name} {symbol}: no candles from {iso_minute(since)} to {iso_minute(until)}")
        found.append(to_raw(symbol, str(done.path), done.stored._replace(rows=kept), done.notes))
    return found
