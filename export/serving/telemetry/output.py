"""Standard output behind a bounded queue, so that no request waits for its reader."""

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable

MOST_LINES = 8192  # that wait; more are dropped and counted
ATOMIC = 4096  # bytes that a pipe takes whole, so that the lines of several processes do not mix


def write_stdout(data: bytes) -> None:
    """Writes all of the bytes to file descriptor 1; waits as long as its reader does not read."""
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # another process made it non-blocking
            select.select([], [1], [])


class Output:
    """A text stream that never blocks its writer: a thread writes; lines beyond the limit are dropped and counted.

    Args:
        on_flow: called with the number of dropped lines, once lines are written again.
        write: of bytes, which may block or fail.
        most: lines that may wait.
    """

    def __init__(
        self, on_flow: Callable[[int], None], write: Callable[[bytes], None] = write_stdout, most: int = MOST_LINES
    ):
        self.on_flow, self.put, self.most = on_flow, write, most
        self.on_drop: Callable[[], None] = lambda: None
        self.waiting: deque[bytes] = deque()
        self.dropped = 0  # lines since the last report
        self.closed = False
        self.change = threading.Condition()
        self.thread = threading.Thread(target=self.work, name="log", daemon=True)
        self.thread.start()

    def write(self, text: str) -> None:
        """Queues a line, or drops it where too many wait."""
        line = text.encode()
        with self.change:
            kept = len(self.waiting) < self.most
            if kept:
                self.waiting.append(line)
                self.change.notify()
            else:
                self.dropped += 1
        if not kept:
            self.on_drop()

    def flush(self) -> None:
        """Does nothing: the thread writes as soon as it can."""

    def work(self) -> None:
        """Writes until the output is closed and nothing waits."""
        while batch := self.take():
            with contextlib.suppress(OSError):  # a closed pipe or a full disk ends no server
                self.put(batch)
            with self.change:
                dropped, self.dropped = self.dropped, 0
            if dropped:
                self.on_flow(dropped)

    def take(self) -> bytes:
        """Waits for lines and returns as many as a pipe takes whole; empty at the end."""
        with self.change:
            while not self.waiting and not self.closed:
                self.change.wait()
            parts, size = list[bytes](), 0
            while self.waiting and (not parts or size + len(self.waiting[0]) <= ATOMIC):
                parts.append(self.waiting.popleft())
                size += len(parts[-1])
            return b"".join(parts)

    def close(self, seconds: float) -> None:
        """Writes the queued lines, for so many seconds at most."""
        with self.change:
            self.closed = True
            self.change.notify()
        self.thread.join(seconds)
