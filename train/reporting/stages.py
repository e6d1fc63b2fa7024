"""Says what a long piece of work is at, and how long each part of it took."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator

SOON, LATER = 3.0, 30.0  # seconds after which a stage is named, and named again


class Stages:
    """Stages of a piece of work; one that lasts is named on the console, in pipes too.

    Args:
        what: the work, in words.
    """

    def __init__(self, what: str):
        self.what = what
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.perf_counter() - self.began

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Names a stage as long as it lasts."""
        began, over = time.perf_counter(), threading.Event()

        def report() -> None:
            wait = SOON
            while not over.wait(wait):
                print(f"{self.what}: {name} ... {time.perf_counter() - began:.0f} s", flush=True)
                wait = LATER

        thread = threading.Thread(target=report, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def peak_memory_mb() -> float:
    """The most memory that this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
