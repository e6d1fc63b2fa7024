"""Answers SIGINT and SIGTERM, even where the main thread is inside one long call of a library.

Python runs a handler between two bytecodes of the main thread; a simulation of a million bars, or the compiler, is one
call of seconds or minutes. The signal itself wakes a thread, which ends the process where nobody else does in time.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from himari_jax.errors import Preempted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 75  # exit code, EX_TEMPFAIL
PATIENCE = 8.0  # seconds that the main thread has to hear of a signal; who stops processes kills them after 10 or 30


class Answer:
    """A handler that a thread stands in for where the main thread is busy too long.

    Args:
        line: what is said when the thread ends the process: what is kept, and how it goes on.
        act: is called in the main thread; None: the process ends at once.
        patience: seconds that the main thread has.
    """

    def __init__(self, line: str, act: Callable[[], None] | None = None, patience: float = 0.0):
        self.line, self.act, self.patience = line, act, patience
        self.heard = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Acts in the main thread."""
        if self.act is None:
            leave(self.line)
        else:
            self.act()

    def stand_in(self) -> None:
        """Ends the process unless somebody says in time that the signal was heard."""
        if not self.heard.wait(self.patience):
            leave(self.line)


_leaving = threading.Lock()  # the main thread and the one that stands in for it may leave at once; one line is said


def leave(line: str) -> None:
    """Says a line and ends the process at once."""
    _leaving.acquire()
    os.write(2, f"{line}\n".encode())
    os._exit(STOPPED)


def answer(handler: Any) -> dict[int, Any]:
    """Installs a handler of both signals and returns those before it; nothing in a thread, where none can be."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    watch()
    return {number: signal.signal(number, handler) for number in SIGNALS}


def exit_at_signals(line: str) -> None:
    """Until another handler is installed, SIGINT and SIGTERM print a line and exit 75."""
    answer(Answer(line))


def stop_at_signals(line: str) -> None:
    """SIGINT and SIGTERM end the command with a line and 75, after it has cleaned up; a second one exits at once."""

    def act() -> None:
        handler.heard.set()
        answer(lambda *_: os._exit(STOPPED))
        raise Preempted(line)

    handler = Answer(line, act, PATIENCE)
    answer(handler)


_watched: set[int] = set()  # the process whose signals are watched: a fork has no thread


def watch() -> None:
    """Starts the thread that signals wake, once in a process."""
    if os.getpid() in _watched:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=stand_by, args=(reading,), name="signals", daemon=True).start()
    if not _watched:
        os.register_at_fork(after_in_child=forget)
    _watched.add(os.getpid())


def forget() -> None:
    """Wakes the parent's thread no more."""
    signal.set_wakeup_fd(-1)


def stand_by(reading: int) -> None:
    """Reads the numbers of signals as they come, and stands in for the handler that is installed."""
    while number := os.read(reading, 1):
        handler = signal.getsignal(number[0]) if number[0] in SIGNALS else None
        if isinstance(handler, Answer):
            threading.Thread(target=handler.stand_in, daemon=True).start()
