"""Clocks: the machine's, and one that is as fast as the loop."""

import time
from typing import Protocol


class Clock(Protocol):
    """Says what time it is and waits."""

    real: bool  # whether others see this time pass, too

    def now(self) -> int:
        """Epoch milliseconds."""
        ...

    def wait_until(self, moment: int) -> None:
        """Returns when `now()` is at least `moment`, epoch milliseconds."""
        ...


class SystemClock:
    """The clock of this machine."""

    real = True

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(time.time() * 1000)

    def wait_until(self, moment: int) -> None:
        """Sleeps, in short pieces, so that a clock that was set or a machine that slept is noticed."""
        while (left := moment - self.now()) > 0:
            time.sleep(min(left / 1000, 5.0))


class SimulatedClock:
    """A clock that jumps to whatever is waited for: a year of bars in a minute."""

    real = False

    def __init__(self, start: int):
        self.time = start

    def now(self) -> int:
        """Epoch milliseconds."""
        return self.time

    def wait_until(self, moment: int) -> None:
        """Jumps there."""
        self.time = max(self.time, moment)
