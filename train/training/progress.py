"""Logs of a training run: JSON lines, TensorBoard events, lines of progress."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn

from train.artifacts.metrics_file import NAME, cut_metrics
from train.distributed.processes import is_first
from train.reporting.console import console

QUIET_SECONDS = 10.0  # between two lines of a long command
WIDTH = 80  # columns of a line of progress
SPINNER = 2  # columns before a line that is live


class MetricsLog:
    """`metrics.jsonl` (the source of truth) and TensorBoard events; a logger that fails never stops training.

    Args:
        folder: the run folder.
        update: updates done; lines of later updates, which no checkpoint holds, are cut.
    """

    def __init__(self, folder: Path, update: int):
        self.path = folder / NAME
        self.failed = False
        self.events = None
        from tensorboardX import SummaryWriter

        try:
            cut_metrics(folder, update)
            self.events = SummaryWriter(str(folder), purge_step=update + 1)
        except OSError as error:
            self.warn(error)

    def write(self, record: dict[str, Any]) -> None:
        """Appends one line and its scalars."""
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            if self.events is None:
                return
            for name, value in record.items():
                if isinstance(value, int | float) and name != "update":
                    self.events.add_scalar(name, value, record["update"])
            self.events.flush()
        except OSError as error:
            self.warn(error)

    def warn(self, error: OSError) -> None:
        """Warns once that logging failed."""
        if not self.failed:
            print(f"warning: {self.path} cannot be written ({error}); training goes on", file=sys.stderr)
        self.failed = True

    def close(self) -> None:
        """Ends the event file."""
        if self.events is not None:
            self.events.close()


class ProgressBar:
    """Progress: a live line on a terminal; elsewhere a line that stays for each evaluation.

    Args:
        total: of what is counted.
        done: of it, before this process began.
        what: is counted.
    """

    def __init__(self, total: int, done: int, what: str = ""):
        self.console = console()
        self.live = self.console.is_terminal
        self.what, self.total, self.first = what, total, done
        self.under_way, self.within = 0.0, False
        self.began = self.printed = time.monotonic()
        # At most as wide as the terminal: a wrapped line could not be drawn over.
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False)
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.live)
        self.task = self.progress.add_task(self.text(done))

    def __enter__(self) -> "ProgressBar":
        self.progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def text(self, done: int, text: str = "") -> str:
        """Words count, total, share, time gone and time left, and as much of the text as fits."""
        gone = time.monotonic() - self.began
        took = clock(gone)
        reached = done + self.under_way
        if self.first < reached < self.total:
            took += f", {clock(gone / (reached - self.first) * (self.total - reached))} left"
        share = reached / self.total if self.total else 1.0
        counted = f"{self.what} {short(done)}/{short(self.total)} {int(100 * share)}%".strip()
        width = self.console.width - SPINNER if self.live else min(self.console.width, WIDTH)
        return fitting([counted, took, *text.split("  ")], width)

    def update(self, done: int, text: str) -> None:
        """Moves the live line."""
        self.progress.update(self.task, description=self.text(done, text))

    def report(self, what: str, done: int, number: int, text: str, under_way: float = 0.0) -> None:
        """Moves the live line; elsewhere prints a line every 10 seconds and at the end.

        Args:
            what: is counted.
            done: count.
            number: total.
            text: parts with two blanks between them, the most important first.
            under_way: what the work on those that are not done is worth, in the same unit.
        """
        self.what, self.total, self.under_way = what, number, under_way
        if under_way and not self.within:
            self.first, self.within = done, True  # before the first part under way, all that is done was kept
        self.update(done, text)
        now = time.monotonic()
        if not self.live and (done == number or now - self.printed >= QUIET_SECONDS):
            self.line(done, text)
            self.printed = now

    def line(self, done: int, text: str) -> None:
        """Prints a line that stays."""
        self.console.print(self.text(done, text), soft_wrap=True)


def fitting(parts: Sequence[str], width: int) -> str:
    """Joins the first parts that fit a width; the first one in any case; none is cut."""
    text, *rest = [part for part in parts if part]
    for part in rest:
        if len(text) + 2 + len(part) > width:
            break
        text += f"  {part}"
    return text


def short(number: int) -> str:
    """Words a count in three digits: 9,999, 12.3k, 1.97M; below ten thousand it is exact."""
    if number < 10_000:
        return f"{number:,}"
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{letter}"
    raise AssertionError("unreachable")


def clock(seconds: float) -> str:
    """Words seconds as 9:59 minutes, or as 1h59m."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours}h{left:02}m" if hours else f"{minutes}:{rest:02}"


def warn(text: str) -> None:
    """Prints a warning on stderr, in the first process alone."""
    if is_first():
        print(f"warning: {text}", file=sys.stderr)
