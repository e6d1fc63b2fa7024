"""The paging loop: closed candles from a moment to another, each once, whatever a source answers."""

from collections.abc import Callable, Iterator

import numpy as np

from himari_jax.errors import InputError, SourceError
from himari_jax.live.clock import Clock
from himari_jax.live.feed import Feed, Page, in_order
from himari_jax.live.retries import retry
from himari_jax.times import DAY_MS, bar_name, iso_minute, rough_span

REREAD = 2  # newest candles that are read again each time: sources revise them
SKEW_MS = 5_000  # clocks that differ by more are reported
FIRST_MS = 1_577_836_800_000  # 2020-01-01: start of a history without --since


def read_pages(
    feed: Feed, symbol: str, bar_ms: int, since: int, until: int, clock: Clock, note: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """Closed candles that open from `since` on and close by `until`, (K, 6) a page, K 0 or more, each candle once.

    A candle is closed when both clocks, ours and that of the source, say so. The next page begins a bar after the last
    candle; where a page is empty, as of a market in which nobody traded, a page's length later.

    Args:
        feed: the source.
        symbol: as the source spells it.
        bar_ms: length of a bar.
        since: epoch milliseconds; the first candle opens at or after it.
        until: epoch milliseconds.
        clock: ours.
        note: receives what an operator should know, a line each.

    Raises:
        SourceError: the source does not answer, or answers the same again and again.
    """
    at = -(-since // bar_ms) * bar_ms
    noted = False
    while at + bar_ms <= min(until, clock.now_ms()):
        page = whole_page(feed, symbol, bar_ms, at, clock)
        rows = in_order(page.rows)
        if not noted and (line := skew_line(feed, page, clock)):
            note(line)
            noted = True
        closed = rows[rows[:, 0] + bar_ms <= min(until, closed_by(page, clock))]
        fresh = closed[closed[:, 0] >= at]
        if len(rows) and rows[-1, 0] < at:
            raise SourceError(
                f"{feed.name} {symbol}: asked for candles from {iso_minute(at)} on, it answers with some up to "
                f"{iso_minute(rows[-1, 0])} again; nothing advances: leave --since out, or take another exchange"
            )
        if len(rows) == 0:
            at += feed.page_bars(bar_ms) * bar_ms
        else:
            at = int(rows[-1, 0]) + bar_ms
        yield fresh


def whole_page(feed: Feed, symbol: str, bar_ms: int, since: int, clock: Clock) -> Page:
    """Fetches one page with its beginning.

    An exchange that has fewer candles in a call than it was asked for may leave out the oldest: what lacks before the
    first candle is asked for once more by itself.
    """
    page = ask(feed, symbol, bar_ms, since, clock)
    lacking = 0 if not len(page.rows) else int(page.rows[:, 0].min() - since) // bar_ms
    if feed.newest(bar_ms) is not None or not 0 < lacking < feed.page_bars(bar_ms):
        return page
    before = ask(feed, symbol, bar_ms, since, clock, lacking)
    return page._replace(rows=np.concatenate([before.rows, page.rows]))


def ask(feed: Feed, symbol: str, bar_ms: int, since: int, clock: Clock, bars: int | None = None) -> Page:
    """Fetches one page; a failure that may pass is tried again."""
    return retry(lambda: feed.fetch(symbol, bar_ms, since, bars), clock, f"{feed.name} {symbol}")


def closed_by(page: Page, clock: Clock) -> int:
    """The moment by which candles are closed for sure: the earlier of both clocks."""
    now = clock.now_ms()
    return now if page.now_ms is None else min(now, page.now_ms)


def skew_line(feed: Feed, page: Page, clock: Clock) -> str:
    """Says by how much the clocks differ; empty where that does not matter."""
    ahead = 0 if page.now_ms is None else clock.now_ms() - page.now_ms
    if abs(ahead) <= SKEW_MS:
        return ""
    way = "ahead of" if ahead > 0 else "behind"
    return f"the clock here is {rough_span(abs(ahead))} {way} that of {feed.name}; the earlier one decides"


def first_moment(feed: Feed, bar_ms: int, since: int | None, until: int, now: int) -> int:
    """Start of a history that is to be downloaded, epoch milliseconds.

    Args:
        feed: the source.
        bar_ms: length of a bar.
        since: as it was asked for; None: 2020, or what the source still has, less the day that `until` may be old.
        until: where it ends.
        now: epoch milliseconds.

    Raises:
        InputError: the source no longer has candles from then on.
    """
    newest = feed.newest(bar_ms)
    if newest is None:
        return FIRST_MS if since is None else since
    if since is None:
        return until - max(newest * bar_ms - DAY_MS, bar_ms)
    if since < (first := (now // bar_ms - newest + 1) * bar_ms):
        raise InputError(
            f"--since {iso_minute(since)}: {feed.name} has the newest {newest:,} candles alone, bars of "
            f"{bar_name(bar_ms)} from {iso_minute(first)} on; allowed: a later --since, longer bars or another source"
        )
    return since
