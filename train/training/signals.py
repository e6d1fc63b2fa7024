"""Stops long commands at SIGINT and SIGTERM between two pieces of work."""

import os
import signal
import sys
from types import TracebackType
from typing import Any

from himari_jax.errors import Preempted


class StopSignals:
    """Catches the signals while it is entered: the first asks to stop, the second exits at once.

    Args:
        line: what is said when the work stops: what is kept and how it goes on.
    """

    def __init__(self, line: str):
        self.line, self.came = line, False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.before = {number: signal.signal(number, self.catch) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def catch(self, number: int, frame: Any) -> None:
        """Remembers a signal."""
        if self.came:
            os._exit(75)
        self.came = True
        print("\nstopping; once more to exit at once", file=sys.stderr)

    def check(self) -> None:
        """Stops the work where a signal came.

        Raises:
            Preempted: it did.
        """
        if self.came:
            raise Preempted(self.line)
