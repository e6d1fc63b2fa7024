"""The paper loop: waits for a close, asks the feed, plays the bar, appends to the log; resumes from the log alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.live.book import Row
from export.live.desk import Desk
from export.live.feeds import Feed
from export.live.log import FORMAT, DecisionLog
from himari_jax.checking.alignment import MAX_FILL
from himari_jax.errors import InputError, StorageError
from himari_jax.live.clock import Clock
from himari_jax.live.paging import REREAD
from himari_jax.times import iso_minute, iso_second

PARITY = 1e-6  # of multipliers, between the log and the bundle at a restart


NAP = 60.0  # seconds at a time: a clock that was set, or a machine that slept, is noticed


class Stopped(KeyboardInterrupt):
    """Interrupts a wait of the loop, during which nothing is written."""


def wait_until(clock: Clock, moment: int) -> None:
    """Waits until a clock has reached `moment`, epoch milliseconds."""
    while (left := moment - clock.now_ms()) > 0:
        clock.sleep(min(left / 1000, NAP))


def since_swap(bars: list[dict[str, Any]], bundle: str) -> list[dict[str, Any]]:
    """Returns the newest bars that one bundle played in a row."""
    others = [k for k, record in enumerate(bars) if record["bundle"] != bundle]
    return bars[others[-1] + 1 :] if others else bars


@dataclass(frozen=True)
class Pace:
    """Times at which the loop asks the feed, milliseconds."""

    settle_ms: int = 5_000  # from a close to the first request: candles are revised right after it
    every_ms: int = 15_000  # from request to request while a candle is awaited


@dataclass
class Pending:
    """Candles and failures since the last record of the log."""

    entered: list[Row] = field(default_factory=list)
    refused: list[tuple[Row, str]] = field(default_factory=list)
    revised: int = 0
    failures: int = 0  # requests that the source did not answer
    known: int = 0  # when the newest of it came, epoch ms


class PaperLoop:
    """Plays every bar once, in order, from where the log ends.

    Args:
        desk: with its book, both empty or as `resume` left them.
        feed: of candles.
        clock: to wait by.
        log: to append to.
        pace: of the questions.
        note: called with each line for the operator.
    """

    def __init__(
        self, desk: Desk, feed: Feed, clock: Clock, log: DecisionLog, pace: Pace, note: Callable[[str], None] = print
    ):
        self.desk, self.book, self.feed, self.clock = desk, desk.book, feed, clock
        self.log, self.pace, self.note = log, pace, note
        self.next, self.pending, self.stopped = -1, Pending(), False
        self.idle = False  # whether it waits and can be interrupted
        self.refused: set[Row] = set()  # so that each is reported once

    def start(self, facts: dict[str, Any]) -> None:
        """Reads the candles before the first bar, and begins the log with them.

        Raises:
            InputError: the source has too few candles.
        """
        now, bar = self.clock.now_ms(), self.book.bar_ms
        entered = self.book.take(self.before(now), now).entered
        if lacking := [symbol for symbol in self.book.symbols if self.book.newest(symbol) < 0]:
            raise InputError(
                f"--source {self.feed.name}: no candle of {' '.join(lacking)} in the look-back up to "
                f"{iso_minute(now)}; begin at another moment, or leave them out of --symbols"
            )
        newest = max(map(self.book.newest, self.book.symbols))
        self.next = newest + bar * ((now - newest) // bar if self.desk.model.never_closes else 1)
        begin = {"kind": "start", "format": FORMAT, "began": iso_second(now), "now": now, "first": self.next}
        candles = [tuple(row) for row in entered]
        self.log.append(begin | facts | {"candles": candles, "digest": self.book.digest})

    def before(self, now: int) -> list[Row]:
        """Fetches the candles that the first decision looks back on: all where the base sizing has unbounded memory."""
        bars = self.desk.bars
        if bars is None:
            return self.feed.fetch(0, now)
        if self.desk.model.never_closes:
            return self.feed.fetch(now - (bars + 1) * self.book.bar_ms, now)
        rows = self.feed.fetch(0, now)  # where a market closes, only its candles show how long so many bars take
        since = sorted({row.time for row in rows})[-bars - 1 :]
        return [row for row in rows if row.time >= since[0]]

    def resume(self, records: list[dict[str, Any]], bundle: str) -> None:
        """Takes up the log where it ends: candles, accounts, orders, memory.

        Raises:
            InputError: the log's candles were altered, or the bundle does not reproduce its newest multiplier.
        """
        for record in records:
            self.book.enter_record(record)
        bars = [record for record in records if record["kind"] == "bar"]
        written = bars[-1] if bars else records[0]
        if written["digest"] != self.book.digest:
            raise InputError(f"{self.log.path}: its candles are not those that were decided on; it was altered")
        self.next = bars[-1]["time"] + self.book.bar_ms if bars else records[0]["first"]
        if bars:
            self.desk.restore(bars[-1]["state"], bars[-1]["counted"])
            self.restore_memory(bars, bundle)
        now = self.clock.now_ms()
        self.log.append({"kind": "restart", "at": iso_second(now), "now": now, "bundle": bundle, "torn": self.log.torn})

    def restore_memory(self, bars: list[dict[str, Any]], bundle: str) -> None:
        """Steps the recurrent state of each lane over the log's observations."""
        for k, lane in enumerate(self.desk.lanes):
            decided = [record for record in since_swap(bars, bundle) if "multiplier" in record["lanes"][k]]
            if not decided:
                lane.remembered = -1  # the recurrent state of another model cannot be used
                continue
            if lane.drift is not None:
                lane.drift.add([record["lanes"][k]["observation"] for record in decided])
            if self.desk.model.carry_shapes:
                begin = max(i for i, record in enumerate(decided) if record["lanes"][k]["begins"])
                decided = decided[begin:]
            else:
                decided = decided[-1:]
            for record in decided:
                entry = record["lanes"][k]
                multiplier = self.desk.step_memory(lane, entry["observation"], entry["begins"])
            gap = float(np.abs(multiplier - np.array(entry["multiplier"])).max())
            if gap > PARITY:
                raise InputError(
                    f"{self.log.path}: the bundle now says {multiplier.tolist()} where it said {entry['multiplier']}; "
                    "begin a new --log, or serve with the versions of before"
                )

    def run(self, until: int | None = None) -> Iterator[dict[str, Any]]:
        """Plays bars until a moment, or until `stop` is called; yields each record once it is on the disk."""
        after = self.book.bar_ms + self.pace.settle_ms  # from the open of a bar to the first request for it
        while not self.stopped and (until is None or self.next + after <= until):
            self.wait_stoppable(self.ask, self.next + after)
            while not self.stopped and (time := self.due()) is not None:
                yield self.play(time)
            if self.next + after <= (now := self.clock.now_ms()):
                self.wait_stoppable(self.wait, now + self.pace.every_ms)

    def stop(self) -> None:
        """Ends the loop: at once where it waits, else when the bar that is played is on the disk.

        Raises:
            Stopped: out of a wait.
        """
        first, self.stopped = not self.stopped, True
        if self.idle and first:
            raise Stopped

    def wait_stoppable(self, wait: Callable[[int], None], moment: int) -> None:
        """Calls a wait that `stop`, called by a signal, can interrupt."""
        try:
            self.idle = True
            if not self.stopped:
                wait(moment)
            self.idle = False  # inside: a signal that comes before is caught below
        except Stopped:
            self.idle = False

    def ask(self, moment: int) -> None:
        """Waits for a moment, then polls."""
        self.wait(moment)
        self.poll()

    def wait(self, moment: int) -> None:
        """Waits for a moment on the loop's clock."""
        wait_until(self.clock, moment)

    def due(self) -> int | None:
        """Returns the open time of the next bar that is due: its candles are there, or no time is left to ask again."""
        now, known = self.clock.now_ms(), self.next
        if not self.desk.model.never_closes:
            later = [time for time in self.book.times(self.next) if time + self.book.bar_ms <= now]
            if not later:
                return None
            known = later[0]
        close = known + self.book.bar_ms
        if now < close + self.pace.settle_ms:
            return None
        # In time for the symbols that have candles: a delisted symbol of a pool makes no other one late.
        last = now + self.pace.every_ms > close + self.desk.terms.late_ms
        return known if last or all(self.book.newest(symbol) >= known for symbol in self.awaited(known)) else None

    def awaited(self, time: int) -> tuple[str, ...]:
        """Returns the symbols whose candle is waited for: not those without one for longer than gaps are filled."""
        since = time - (MAX_FILL + 1) * self.book.bar_ms
        return tuple(s for s in self.book.symbols if self.book.newest(s) >= since) or self.book.symbols

    def poll(self) -> None:
        """Asks the feed; a failed request is counted and repeated at the next poll."""
        now, pending = self.clock.now_ms(), self.pending
        newest = min((self.book.newest(symbol) for symbol in self.book.symbols), default=0)
        since = min(newest, self.next) - (REREAD - 1) * self.book.bar_ms
        try:
            rows = self.feed.fetch(max(since, self.next - 24 * self.book.bar_ms), now)
        except StorageError as error:
            pending.failures += 1
            if pending.failures in (1, 10, 100):
                self.note(f"{iso_second(now)} {error}; asked again")
            return
        found = self.book.take(rows, now)
        pending.entered += found.entered
        pending.refused += [each for each in found.refused if each[0] not in self.refused]
        self.refused |= {row for row, _ in found.refused}
        pending.revised += len(found.revised)
        if found.entered:
            pending.known = now

    def play(self, time: int) -> dict[str, Any]:
        """Plays a bar and appends its record to the log."""
        now, pending = self.clock.now_ms(), self.pending
        played = self.desk.play(time, now)
        record = {
            "kind": "bar",
            "time": time,
            "close": iso_second(time + self.book.bar_ms),
            "known": pending.known,
            "decided": now,
            "bundle": self.desk.model.digest,
            "candles": [tuple(row) for row in pending.entered],
            "revised": pending.revised,
            "refused": [[*row, why] for row, why in pending.refused],
            "failures": pending.failures,
            "quotes": self.feed.quotes(time + self.book.bar_ms),
            "digest": self.book.digest,
            **played,
            "state": self.desk.state(),
            "counted": self.desk.counted,
        }
        self.log.append(record)
        self.next = time + self.book.bar_ms
        self.pending = Pending(known=pending.known)
        return record
