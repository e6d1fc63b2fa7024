"""`python -m train.bench_gpu`: one table of all programs on a GPU, within a quarter of an hour."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.stopping import stop_at_signals
from train.benchmarks.gpu.config import GPUConfig

PROG = invocation("train.bench_gpu")


def main(args: Sequence[str]) -> int:
    """Compiles, times, prints a line for each row, keeps them; ends in time."""
    begun = time.monotonic()
    bench = parse(GPUConfig, args, PROG)
    stop_at_signals(f"stopped; {bench.out} keeps the rows that were measured")
    from train.distributed.devices import choose_device

    choose_device(bench.device)
    import jax

    from train.benchmarks.gpu.schedule import COMPILING, WAITING, Compiling, time_all
    from train.benchmarks.gpu.table import HEAD, Kept, describe, line_of, missed, retrainings
    from train.benchmarks.gpu.work import jobs_of, retraining_of
    from train.diagnosis.machine import device_memory

    jobs = jobs_of(bench)
    threads = bench.threads or min(12, os.cpu_count() or 1)
    kept = Kept(bench.out, describe(bench, threads))
    print(kept.about["summary"])
    print(f"compiling {len(jobs)} programs, {threads} at a time", flush=True)
    budget = 60 * bench.minutes
    compiled = Compiling(jobs, threads, lambda line: print(f"  {line}", flush=True))
    compiled.wait(begun + COMPILING * budget, begun + WAITING * budget)
    print(HEAD, flush=True)
    rows = []
    for row in time_all(jobs, compiled, begun + budget, device_memory(jax.devices()[0])):
        rows.append(row)
        kept.add(asdict(row))
        print(line_of(row), flush=True)
    wanted = retraining_of(bench)
    if wanted is not None:
        line, found = retrainings(*wanted, begun + budget)
        kept.add(found)
        print(line, flush=True)
    print(*missed(rows), f"{time.monotonic() - begun:.0f} s of {budget:.0f}; rows in {bench.out}", sep="\n", flush=True)
    return end(compiled, 0 if any(row.rate for row in rows) or not rows else 1)


def end(compiled: Any, code: int) -> int:
    """The exit code; where a thread still compiles, which nothing can interrupt, the process ends here."""
    if compiled.busy:
        sys.stdout.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
