"""The programs that jax compiles for a run, and what each costs: what a start of training is made of."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
from rich.console import Console

from train.reporting.tables import Grid, print_grid

STEPS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
FROM_CACHE = "/jax/compilation_cache/cache_hits"


@dataclass
class Cost:
    """Counts and seconds of the programs of one name."""

    compiled: int = 0
    cached: int = 0  # that came from the cache on the disk
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS.values(), 0.0))


class Programs:
    """Counts programs while they are made, in whichever thread; the compiler runs in several at once."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self.hit = threading.local()  # whether the thread's newest program came from the cache
        self.lock = threading.Lock()

    def note_event(self, event: str, **_: str | int) -> None:
        """Listens to jax: a program came from the cache; its seconds follow."""
        if event == FROM_CACHE:
            self.hit.now = True

    def note_seconds(self, event: str, duration_secs: float, **info: str | int) -> None:
        """Listens to jax: a step of making a program took some seconds."""
        step = STEPS.get(event)
        if step is None:
            return
        with self.lock:
            cost = self.costs.setdefault(str(info.get("fun_name")).removeprefix("jit(").removesuffix(")"), Cost())
            cost.seconds[step] += duration_secs
            if step == "compile":
                hit, self.hit.now = getattr(self.hit, "now", False), False
                cost.cached += hit
                cost.compiled += not hit

    def timings(self) -> dict[str, Any]:
        """Programs and their seconds, for the timings of a run; those of threads that run at once add up."""
        costs = self.costs.values()
        seconds = {step: sum(cost.seconds[step] for cost in costs) for step in STEPS.values()}
        return {
            "programs_compiled": sum(cost.compiled for cost in costs),
            "programs_from_cache": sum(cost.cached for cost in costs),
            "programs_trace_seconds": seconds["trace"],
            "programs_lower_seconds": seconds["lower"],
            "programs_compile_seconds": seconds["compile"],
        }


@contextlib.contextmanager
def counting_programs() -> Iterator[Programs]:
    """Counts the programs that are made meanwhile."""
    programs = Programs()
    jax.monitoring.register_event_listener(programs.note_event)
    jax.monitoring.register_event_duration_secs_listener(programs.note_seconds)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_listener(programs.note_event)
        jax.monitoring.unregister_event_duration_listener(programs.note_seconds)


def print_programs(out: Console, programs: Programs, import_seconds: float | None) -> None:
    """Prints what each program took, the costly ones first, and what the imports before took."""
    heads = "program", "trace", "lower", "compile", "compiled", "from cache"
    imports = "" if import_seconds is None else f" (imports before: {import_seconds:.1f} s)"
    grid = Grid(f"\nseconds to make the programs of this run{imports}", heads)
    for name, cost in sorted(programs.costs.items(), key=lambda item: -sum(item[1].seconds.values())):
        seconds = (f"{cost.seconds[step]:.2f}" for step in STEPS.values())
        grid.add(name, *seconds, str(cost.compiled), str(cost.cached))
    print_grid(out, grid)
