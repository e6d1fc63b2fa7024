"""The clock of a trial: it runs while a contestant trains and stands while it is scored."""

import time
from collections.abc import Callable
from typing import Any, Protocol

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Racer(Protocol):
    """A contestant as the clock sees it: it trains in small advances and scores its policy."""

    compile_seconds: float
    most_steps: float  # after which it would stop by itself

    def advance(self) -> int:
        """Trains a little and waits for the device; returns the bars played."""
        ...

    def score(self) -> float:
        """Share of the optimum of the deterministic policy of this moment."""
        ...


def race(racer: Racer, limit: float, goal: float, now: Callable[[], float]) -> dict[str, Any]:
    """Trains until the goal, the limit in seconds of training, or the contestant's own end.

    Scored after the first update, then whenever a quarter of a second or 5 % of the clock has passed.

    Returns:
        `seconds` and `steps` to the goal (None where it was not reached), `curve` of (seconds, steps, ratio).
    """
    clock, steps, due, ratio = 0.0, 0, 0.0, float("-inf")
    curve: list[tuple[float, int, float]] = []
    while True:
        begun = now()
        steps += racer.advance()
        clock += now() - begun
        over = clock >= limit or steps >= racer.most_steps
        if clock >= due or over:
            ratio = racer.score()
            curve.append((clock, steps, ratio))
            due = max(clock + 0.25, clock * 1.05)
        if over or ratio >= goal:
            break
    reached = ratio >= goal
    return {
        "seconds": clock if reached else None,
        "steps": steps if reached else None,
        "ratio": ratio,
        "best_ratio": max(point[2] for point in curve),
        "played": steps,
        "clock": clock,
        "curve": curve,
    }


def pace(racer: Racer, limit: float, now: Callable[[], float]) -> dict[str, Any]:
    """Bars a second over at least `limit` seconds of training, after one update to warm up."""
    racer.advance()
    begun, steps = now(), 0
    while now() - begun < limit:
        steps += racer.advance()
    return {"steps_per_second": steps / (now() - begun), "played": steps}
