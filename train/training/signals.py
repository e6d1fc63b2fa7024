"""Stops long commands at SIGINT and SIGTERM between two pieces of work."""

import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from himari_jax.errors import Preempted
from himari_jax.pasting import command_line
from himari_jax.stopping import PATIENCE, STOPPED, SignalHandler, install_handler


def go_on(place: str | Path, module: str = "train.ppo") -> str:
    """Words the command that goes on with a folder or bucket, to be pasted."""
    return f"go on with: {command_line(module, '--resume', '--run-dir', place)}"


class StopSignals:
    """Catches the signals while it is entered: the first asks to stop, the second exits at once.

    Work that does not call `check` in time, as it is one long call, is ended as by a crash; kept files stay.

    Args:
        line: printed when the work stops: what is kept, and how to go on.
    """

    def __init__(self, line: str):
        self.line, self.came = line, False
        self.handler = SignalHandler(line, self.catch, PATIENCE)
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.before = install_handler(self.handler)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def catch(self) -> None:
        """Records a signal; the second one exits."""
        if self.came:
            os._exit(STOPPED)
        self.came = True
        print("\nstopping; once more to exit at once", file=sys.stderr)

    def check(self) -> None:
        """Stops the work where a signal came.

        Raises:
            Preempted: it did.
        """
        if self.came:
            self.handler.handled.set()
            raise Preempted(self.line)
