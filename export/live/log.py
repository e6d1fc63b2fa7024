"""The decision log: a line of JSON for each bar, appended and synced; a line that a kill tore off is cut away."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from himari_jax.errors import InputError, StorageError
from himari_jax.times import bars_per_year

FORMAT = 1
NEEDED = {  # fields of each kind of record that resuming and replaying need
    "start": {"bundle", "symbols", "lanes", "bar_ms", "calendar", "source", "fill", "step", "phase_ms", "late_ms"}
    | {"costs", "trained", "now", "first", "candles", "digest"},
    "bar": {"time", "close", "decided", "bundle", "candles", "revised", "refused", "failures", "digest"}
    | {"late", "lanes", "state", "counted"},
    "restart": {"now"},
}
BLOCK = 1 << 16  # bytes read at a time to find where the last whole line ends


class DecisionLog:
    """A log that one process appends to; a line is whole on the disk before the loop goes on.

    A new log that stays empty, because the start is refused, is removed with the folders that were made for it.

    Raises:
        InputError: another process has it, or a line that is not the last one is damaged.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, sync: bool = True):
        self.path, self.sync = path, sync
        self.is_new = not path.exists()
        self.new_folders = [folder for folder in path.parents if not folder.exists()]  # the innermost first
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("a+b", buffering=0)  # a failed write leaves nothing in a buffer
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}; name another --log") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.close()
            raise InputError(f"{path}: another paper loop writes it; end that one, or name another --log") from None
        self.torn = self.cut_torn_line()

    def cut_torn_line(self) -> int:
        """Cuts off a last line without an end, which a kill left; returns its length in bytes."""
        size = whole = self.file.seek(0, os.SEEK_END)
        while whole and os.pread(self.file.fileno(), 1, whole - 1) != b"\n":
            begin = max(0, whole - BLOCK)
            whole = begin + os.pread(self.file.fileno(), whole - begin, begin).rfind(b"\n") + 1
        if whole < size:
            self.file.truncate(whole)
        return size - whole

    def append(self, record: dict[str, Any]) -> None:
        """Writes a record as one line.

        Raises:
            StorageError: it cannot be written; nothing of it stays.
        """
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        begin = self.file.seek(0, os.SEEK_END)
        try:
            left = memoryview(line)
            while left:
                left = left[self.file.write(left) :]
            if self.sync:
                os.fsync(self.file.fileno())
        except OSError as error:
            self.file.truncate(begin)
            raise StorageError(f"{self.path}: {error.strerror or error}; make room, then start again") from error

    def close(self) -> None:
        """Closes and unlocks the file."""
        if self.is_new and not os.fstat(self.file.fileno()).st_size:
            with contextlib.suppress(OSError):  # a folder that has other files stays
                self.path.unlink()
                for folder in self.new_folders:
                    folder.rmdir()
        self.file.close()

    def __enter__(self) -> "DecisionLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads the records of a log, the first one `start`; ignores a last line without an end.

    Raises:
        InputError: no log, or one that is damaged; names the line.
    """
    records = list(lines_of(path))
    if not records:
        raise InputError(f"{path}: empty; no bar was decided yet")
    first = records[0]
    if first.get("kind") != "start" or first.get("format") != FORMAT:
        raise InputError(f"{path}: line 1 begins no decision log of format {FORMAT}; name the log of export.paper")
    for number, record in enumerate(records, 1):
        if problem := problem_of(record, number == 1):
            raise InputError(f"{path}: line {number} {problem}: another version wrote it, or it was edited")
    return records


def yearly_bars(start: dict[str, Any]) -> float:
    """Returns the bars of a year by the first record of a log: as its candles show, where the market closes."""
    times, bar = {row[1] for row in start["candles"]}, start["bar_ms"]
    return bars_per_year(start["calendar"], bar, len(times), max(times) - min(times) + bar)


def problem_of(record: dict[str, Any], first: bool) -> str:
    """Describes the fault of a record; empty where it has none."""
    kind = record["kind"]
    if kind not in NEEDED or (kind == "start") != first:
        return f"is a {kind} there"
    lacking = sorted(NEEDED[kind] - record.keys())
    return f"lacks {' '.join(lacking)}" if lacking else ""


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the record of every whole line of a log."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; name the decision log of export.paper") from error
    *lines, _ = text.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "kind" not in record:
            raise InputError(f"{path}: line {number} is damaged; the log can be used up to the line before")
        yield record
