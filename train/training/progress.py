"""Logs of a training run: JSON lines, TensorBoard events, progress bar."""

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from train.artifacts.metrics_file import NAME, cut_metrics
from train.reporting.console import console

QUIET_SECONDS = 10.0  # between two lines of a long command


class MetricsLog:
    """`metrics.jsonl` (the source of truth) and TensorBoard events; a logger that fails never stops training.

    Args:
        folder: the run folder.
        update: updates done; lines beyond it belong to a future that was lost and are cut.
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
            self.complain(error)

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
            self.complain(error)

    def complain(self, error: OSError) -> None:
        """Says once that logging failed."""
        if not self.failed:
            print(f"warning: {self.path} cannot be written ({error}); training goes on", file=sys.stderr)
        self.failed = True

    def close(self) -> None:
        """Ends the event file."""
        if self.events is not None:
            self.events.close()


class Bar:
    """A live bar on a terminal; elsewhere one line for each evaluation."""

    def __init__(self, total: int, done: int):
        self.console = console()
        self.live = self.console.is_terminal
        self.said = time.monotonic()
        self.progress = Progress(
            SpinnerColumn(),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self.task = self.progress.add_task("updates", total=total, completed=done, text="")

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def update(self, done: int, text: str) -> None:
        """Moves the bar."""
        self.progress.update(self.task, completed=done, text=text)

    def tell(self, what: str, done: int, number: int, text: str) -> None:
        """Moves the bar; where it is not live, a line now and then, and one at the end.

        Args:
            what: is counted.
            done: of them.
            number: in all.
            text: beside it.
        """
        self.update(done, text)
        now = time.monotonic()
        if not self.live and (done == number or now - self.said >= QUIET_SECONDS):
            self.line(f"{what} {done:>4} of {number}  {text}")
            self.said = now

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text)
