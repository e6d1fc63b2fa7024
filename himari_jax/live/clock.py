"""Clocks: the machine's own, and one that a test or a demo sets."""

import time
from typing import Protocol


def now_ms() -> int:
    """The machine's time, epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Clock(Protocol):
    """A source of time that can wait."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""

    def sleep(self, seconds: float) -> None:
        """Waits."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return now_ms()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


class SimulatedClock:
    """A clock that stands still until `sleep` is called or it is set.

    Args:
        now_ms: epoch milliseconds.
    """

    def __init__(self, now_ms: int):
        self.time_ms = now_ms
        self.slept: list[float] = []  # seconds of each wait

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return self.time_ms

    def sleep(self, seconds: float) -> None:
        """Lets the time pass at once."""
        self.slept.append(seconds)
        self.time_ms += round(1000 * seconds)


class ScaledClock:
    """A clock that begins at a moment and runs faster than the machine's: an hour a second, for demos.

    Args:
        start_ms: epoch milliseconds.
        speed: seconds of it that pass in one of ours.
    """

    def __init__(self, start_ms: int, speed: float):
        self.start_ms, self.speed = start_ms, speed
        self.began = time.monotonic()

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return self.start_ms + round(1000 * self.speed * (time.monotonic() - self.began))

    def sleep(self, seconds: float) -> None:
        """Waits until so many of its seconds have passed."""
        time.sleep(seconds / self.speed)
