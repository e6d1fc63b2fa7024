"""Handles SIGINT and SIGTERM, even where the main thread is inside one long call of a library.

Python runs a handler between two bytecodes of the main thread; a simulation of a million bars, or the compiler, is one
call of seconds or minutes. The signal itself wakes a thread, which ends the process if the handler has not run in time.
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
PATIENCE = 8.0  # seconds that the main thread has to handle a signal; supervisors kill a process after 10 or 30


class SignalHandler:
    """A handler of a signal; where the main thread is busy for too long, another thread ends the process.

    Args:
        line: printed when the process is ended: what is kept, and how it goes on.
        act: is called in the main thread; None: the process ends at once.
        patience: seconds that the main thread has.
    """

    def __init__(self, line: str, act: Callable[[], None] | None = None, patience: float = 0.0):
        self.line, self.act, self.patience = line, act, patience
        self.handled = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Acts in the main thread."""
        if self.act is None:
            exit_with(self.line)
        else:
            self.act()

    def exit_unless_handled(self) -> None:
        """Ends the process unless the signal is handled in time."""
        if not self.handled.wait(self.patience):
            exit_with(self.line)


_exiting = threading.Lock()  # both threads may end the process at the same time; one line is printed


def exit_with(line: str) -> None:
    """Prints a line and ends the process at once."""
    _exiting.acquire()
    os.write(2, f"{line}\n".encode())
    os._exit(STOPPED)


def install_handler(handler: Any) -> dict[int, Any]:
    """Installs a handler of both signals and returns those before it; nothing in a thread, where none can be."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    start_watching()
    return {number: signal.signal(number, handler) for number in SIGNALS}


def exit_at_signals(line: str) -> None:
    """Until another handler is installed, SIGINT and SIGTERM print a line and exit 75."""
    install_handler(SignalHandler(line))


def stop_at_signals(line: str) -> None:
    """SIGINT and SIGTERM end the command with a line and 75, after it has cleaned up; a second one exits at once."""

    def act() -> None:
        handler.handled.set()
        install_handler(lambda *_: os._exit(STOPPED))
        raise Preempted(line)

    handler = SignalHandler(line, act, PATIENCE)
    install_handler(handler)


_watched: set[int] = set()  # the process whose signals are watched: a fork has no thread


def start_watching() -> None:
    """Starts the thread that signals wake, once in a process."""
    if os.getpid() in _watched:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch_signals, args=(reading,), name="signals", daemon=True).start()
    if not _watched:
        os.register_at_fork(after_in_child=forget_wakeup)
    _watched.add(os.getpid())


def forget_wakeup() -> None:
    """Takes the wake-up descriptor of the parent away: a fork has no thread that reads it."""
    signal.set_wakeup_fd(-1)


def watch_signals(reading: int) -> None:
    """Reads the numbers of signals as they come, and starts the deadline of the installed handler."""
    while number := os.read(reading, 1):
        handler = signal.getsignal(number[0]) if number[0] in SIGNALS else None
        if isinstance(handler, SignalHandler):
            threading.Thread(target=handler.exit_unless_handled, daemon=True).start()
