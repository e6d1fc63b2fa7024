"""Compiles in threads until a share of the time is over, then times one program after the other until the end."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from himari_jax.command import code_of
from train.benchmarks.gpu.programs import Job, Program

COMPILING = 0.6  # share of the time after which no compilation begins
WAITING = 0.7  # share after which running compilations are not waited for
SECONDS = 1.5  # over which a program is timed, about
REPEATS = 5  # at most


@dataclass(frozen=True)
class Row:
    """Measurement of a job, or the reason that there is none."""

    name: str
    size: int
    of: str
    unit: str
    rate: float | None = None  # units a second, median
    repeats: int = 0
    compile_seconds: float | None = None
    program_mb: float | None = None
    why: str = ""  # it has no rate


def row_of(job: Job, **found: Any) -> Row:
    """Makes the row of a job."""
    return Row(job.name, job.size, job.of, job.unit, **found)


class Compiling:
    """Builds jobs in threads, in their order.

    The threads are daemons: a compilation cannot be interrupted, and must not keep the process at its end.

    Args:
        jobs: to build.
        threads: at a time.
        report: receives a line for each program that is ready.
    """

    def __init__(self, jobs: Sequence[Job], threads: int, report: Callable[[str], None]):
        self.left, self.report, self.lock = list(jobs), report, threading.Lock()
        self.ready: dict[Job, Program] = {}
        self.failed: dict[Job, str] = {}
        self.building: set[Job] = set()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(min(threads, len(jobs)))]
        for thread in self.threads:
            thread.start()

    def work(self) -> None:
        """Takes jobs until none is left."""
        while True:
            with self.lock:
                if not self.left:
                    return
                job = self.left.pop(0)
                self.building.add(job)
            began = time.perf_counter()
            try:
                self.ready[job] = job.build()
            except Exception as error:  # one program that does not compile is a row, and no end of the others
                self.failed[job] = code_of(error)[1]
            seconds = time.perf_counter() - began
            self.building.discard(job)
            self.report(f"{'failed' if job in self.failed else 'ready'} after {seconds:.1f} s: {job.title}")

    def wait(self, begin: float, end: float) -> None:
        """Waits until all are built, or the time is over.

        Args:
            begin: on `time.monotonic`, from when on nothing new begins.
            end: from when on it does not wait.
        """
        while self.busy and time.monotonic() < end:
            if time.monotonic() > begin:
                with self.lock:
                    self.left.clear()
            time.sleep(0.05)
        with self.lock:
            self.left.clear()

    @property
    def busy(self) -> bool:
        """Whether a thread still builds."""
        return any(thread.is_alive() for thread in self.threads)


def time_all(jobs: Sequence[Job], compiled: Compiling, end: float, most_mb: float | None) -> Iterator[Row]:
    """Times the jobs in order, those that still compile last; yields a row for each.

    Args:
        jobs: all.
        compiled: what has been built of them.
        end: on `time.monotonic`.
        most_mb: memory of the device; None: not known.
    """
    slowness: dict[str, float] = {}  # seconds of a run for each environment, column or lane, by name
    late = [job for job in jobs if job in compiled.building]
    for job in [*(job for job in jobs if job not in late), *late]:
        while job in compiled.building and time.monotonic() < end:
            time.sleep(0.05)
        yield time_job(job, compiled, end - time.monotonic(), most_mb, slowness)


def time_job(job: Job, compiled: Compiling, left: float, most_mb: float | None, slowness: dict[str, float]) -> Row:
    """Times a job; returns its row.

    Args:
        job: of which.
        compiled: what has been built.
        left: seconds that there are.
        most_mb: memory of the device; None: not known.
        slowness: seconds of a run for each environment, column or lane, by name; is added to.
    """
    program = compiled.ready.get(job)
    if program is None:
        return row_of(job, why=compiled.failed.get(job, "not compiled in time"))
    known: dict[str, Any] = {"compile_seconds": program.compile_seconds, "program_mb": program.program_mb}
    if most_mb is not None and program.program_mb is not None and program.program_mb > most_mb:
        return row_of(job, **known, why=f"needs {program.program_mb:,.0f} MB of {most_mb:,.0f}")
    if left <= 0 or 2 * slowness.get(job.name, 0.0) * job.size > left:
        return row_of(job, **known, why="not reached in time")
    try:
        seconds = time_program(program, left)
    except Exception as error:  # as above
        return row_of(job, **known, why=code_of(error)[1])
    middle = statistics.median(seconds)
    slowness[job.name] = middle / job.size
    return row_of(job, **known, rate=program.work / middle, repeats=len(seconds))


def time_program(program: Program, left: float) -> list[float]:
    """Seconds of a run, several times, after one to warm up.

    Args:
        program: compiled.
        left: seconds that there are.
    """
    began = time.perf_counter()
    jax.block_until_ready(program.run())
    once = time.perf_counter() - began
    calls = max(1, min(50, int(0.1 / max(once, 1e-5))))  # a run of a millisecond is made several times in a row
    seconds: list[float] = []
    while len(seconds) < REPEATS and (not seconds or sum(seconds) * calls < min(SECONDS, left / 4)):
        began = time.perf_counter()
        for _ in range(calls):
            done = program.run()
        jax.block_until_ready(done)
        seconds.append((time.perf_counter() - began) / calls)
    return seconds
