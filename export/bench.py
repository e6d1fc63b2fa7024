"""`python -m export.bench`: speed of a bundle's answers, in process and over HTTP, and resource use of the server."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from export.benchmarks.processes import family, processor_seconds, resident, weigh
from export.benchmarks.servers import LaunchSettings, peers, served
from export.loadgen import ask, generator
from himari_jax.cli import invocation
from himari_jax.command import parse, require, run_command
from himari_jax.errors import InputError, last_line

PROG = invocation("export.bench")
POLICIES = ("mlp", "lstm")
TINY = "--source synthetic --synthetic.num-bars 6000 --symbols SYN1 --num-envs 16 --total-steps 4096 --device cpu"
CANDLES = 500  # of a request, or as many as the model needs
ALONE = 2000  # predictions in process
IN_PROCESS = {"mlp": "< 30 us", "lstm": "< 60 us"}


@dataclass(frozen=True)
class BenchConfig:
    """Measure served bundles; without one, two of the default sizes are made, mlp and lstm."""

    bundle: tuple[Path, ...] = ()
    """Bundles."""
    venv: Path | None = None
    """Serving environment to start the server from and to weigh; by default the server runs in this one."""
    seconds: float = 2.0
    """Seconds of each measurement over HTTP."""
    saturating: int = 64
    """Connections at which the rate is measured."""
    repeats: int = 5
    """Measurements, of which the median counts."""
    allow_features_code: bool = False
    """Run the code for features that a bundle carries."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(self.seconds >= 0.05, "--seconds", self.seconds, "0.05 or more")
        require(self.saturating >= 1, "--saturating", self.saturating, "1 or more")
        require(self.repeats >= 1, "--repeats", self.repeats, "1 or more")
        there = self.venv is None or (self.venv / "bin" / "python").exists()
        require(there, "--venv", self.venv, "a virtual environment")


def main(args: Sequence[str]) -> int:
    """Prints a table for each bundle."""
    bench = parse(BenchConfig, args, PROG)
    with tempfile.TemporaryDirectory(prefix="himari-bench-") as scratch:
        folder = Path(scratch)
        bundles = bench.bundle or [make_bundle(name, folder) for name in POLICIES]
        from train.benchmarks.models.machine import processor  # which imports jax

        launch = launch_settings(bench, folder)
        version = subprocess.check_output([launch.python, "--version"], text=True).strip()
        print(f"{processor()}, {os.cpu_count()} cores, {version}; median of {bench.repeats}")
        busy = f"; load average before: {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        print(f"load by {generator()}, on the same cores as the server{busy}")
        for bundle in bundles:
            measure(bundle, launch, bench)
    if bench.venv is not None:
        print_row("size of the environment", f"{weigh(bench.venv):.0f} MB", "< 200 MB")
    return 0


def launch_settings(bench: BenchConfig, folder: Path) -> LaunchSettings:
    """Makes the settings for the servers that are started."""
    if bench.venv is None:
        return LaunchSettings(folder, allow_code=bench.allow_features_code)
    return LaunchSettings(folder, str((bench.venv / "bin" / "python").absolute()), False, bench.allow_features_code)


def make_bundle(policy: str, folder: Path) -> Path:
    """Trains a policy of the default sizes for a moment and exports it: training does not change its speed.

    Raises:
        InputError: it could not be made.
    """
    run, out = folder / f"run-{policy}", folder / policy
    train = ["train.ppo", *TINY.split(), "--policy", policy, "--run-dir", str(run)]
    for command in (train, ["export.bundle", str(run), "--out", str(out)]):
        found = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        if found.returncode:
            info = last_line(found.stderr, f"exit {found.returncode}")
            raise InputError(f"no bundle could be made: {info.removeprefix('error: ')}")
    return out


def measure(bundle: Path, launch: LaunchSettings, bench: BenchConfig) -> None:
    """Measures one bundle and prints the results line by line."""
    from export.loading import load

    model = load(bundle, bench.allow_features_code)
    policy = str(model.manifest["policy"])
    observation, candles = launch.folder / "observation.json", launch.folder / "candles.json"
    write_bodies(model, observation, candles)
    whole = "one of " if model.is_pool else ""
    print(f"\n{model.name} {model.version}: {policy}, {whole}{len(model.symbols)} symbols", flush=True)
    microseconds = median_of(bench, lambda: predict_microseconds(model))
    print_row("one observation in process", f"p50 {microseconds:.0f} us", IN_PROCESS.get(policy, ""))
    starts, sizes = [], []
    for _ in range(bench.repeats):
        with served(bundle, launch, 1) as (port, ready, process):
            starts.append(ready)
            ask(port, candles, 1, 0.3)
            sizes.append(resident(process))
    print_row("start to ready", f"{statistics.median(starts):.2f} s", "< 1 s")
    print_row("resident after some candles", f"{statistics.median(sizes):.0f} MB", "< 120 MB")
    rows, workers = request_rows(model), os.cpu_count() or 1
    with served(bundle, launch, 1) as (port, _, process), served(bundle, launch, workers) as (many, _, supervisor):
        print_times(f"{rows} candles, 1 connection", bench, port, candles, 1, "< 1.5 ms")
        print_times("observation, 1 connection", bench, port, observation, 1, "< 0.3 ms")
        print_times("observation, 16 connections", bench, port, observation, 16, "p99 x3")
        print_times(f"the same, {workers} workers", bench, many, observation, 16, "p99 x3")
        if workers > 1:
            print_growth(bench, observation, workers, (port, process), (many, supervisor))
    if model.carry_shapes or model.is_pool or model.features.files:  # the minimal app has none of these
        return
    if find_spec("fastapi") is None:
        print_row("beside a minimal FastAPI app", "not measured: it needs `pip install fastapi`", "")
        return
    with peers(bundle, launch) as both:
        for what, body in (("an observation", observation), (f"{rows} candles", candles)):
            print_row(f"beside FastAPI, {what}", compare_servers(bench, both, body), "x2")


def compare_servers(bench: BenchConfig, both: tuple[tuple[int, int], tuple[int, int]], body: Path) -> str:
    """Compares the processor time of an answer, ours and the other's in turns, four connections: medians and ratio."""
    times = [[rate_and_cost(bench, *one, body, 4)[1] for one in both] for _ in range(bench.repeats + 1)]
    times = times[1:]  # the first is a warm-up
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(other / own for own, other in times)
    return f"{ours:.0f} us against {theirs:.0f} us: x{ratio:.2f}"


def rate_and_cost(bench: BenchConfig, port: int, process: int, body: Path, connections: int) -> tuple[float, float]:
    """Measures answers a second, and processor time of an answer, microseconds, which other load hardly changes.

    Args:
        bench: how long.
        port: of the server.
        process: of the server; its children count, too.
        body: of the request.
        connections: that ask.
    """
    before = sum(map(processor_seconds, family(process)))
    rate = ask(port, body, connections, bench.seconds).rate
    return rate, 1e6 * (sum(map(processor_seconds, family(process))) - before) / (rate * bench.seconds)


def print_row(what: str, found: str, target: str) -> None:
    """Prints a row of the table."""
    print(f"{what:30} {found:41} {target}".rstrip(), flush=True)


def print_times(what: str, bench: BenchConfig, port: int, body: Path, connections: int, target: str) -> None:
    """Prints a row: median, 99th percentile, their ratio, and rate."""
    found = [ask(port, body, connections, bench.seconds) for _ in range(bench.repeats)]
    rate, p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
    tail = statistics.median(each.p99 / each.p50 for each in found)
    print_row(what, f"p50 {p50:.2f} ms, p99 {p99:.2f} (x{tail:.1f}), {rate:,.0f} /s", target)


def print_growth(bench: BenchConfig, body: Path, workers: int, one: tuple[int, int], many: tuple[int, int]) -> None:
    """Prints rows that compare several workers with one, asked in turns over many connections.

    By the rate, in which the load generator has its share of the same cores, and by the processors' time of an answer,
    which it does not count in.
    """
    found = [
        [rate_and_cost(bench, port, process, body, bench.saturating) for port, process in (one, many)]
        for _ in range(bench.repeats)
    ]
    rates, times = ([[each[k] for each in pair] for pair in found] for k in (0, 1))
    alone, together = (statistics.median(column) for column in zip(*rates, strict=True))
    growth = statistics.median(b / a for a, b in rates)
    print_row(f"{bench.saturating} connections, 1 worker", f"{alone:,.0f} /s", "")
    print_row(f"the same, {workers} workers", f"{together:,.0f} /s: x{growth:.2f}, generator included", "> 8,000 /s")
    alone, together = (statistics.median(column) for column in zip(*times, strict=True))
    growth = statistics.median(workers * a / b for a, b in times)
    print_row(
        "processor time of an answer", f"{alone:.0f} us, {together:.0f} us: x{growth:.2f}", f"x{0.9 * workers:.1f}"
    )


def median_of(bench: BenchConfig, run: Callable[[], float]) -> float:
    """Measures as often as the settings say; returns the median."""
    return statistics.median(run() for _ in range(bench.repeats))


def request_rows(model: Any) -> int:
    """Returns the number of candles of a request."""
    return max(CANDLES, model.min_candles)


def write_bodies(model: Any, observation: Path, candles: Path) -> None:
    """Writes two requests out of the golden rows: a finished observation, and candles with an account."""
    import numpy as np

    from himari_jax.candles import COLUMNS

    with np.load(model.folder / "golden.npz", allow_pickle=False) as stored:
        golden = {name: stored[name] for name in stored.files}
    flat: dict[str, Any] = {"account": {"equity": 1e5, "positions": {}}}
    symbols, rows = golden["symbols"].tolist() if model.is_pool else model.symbols, request_rows(model)
    flat["base_position"] = dict.fromkeys(symbols, 1e4)
    seen = {"observation": golden["observation"][-1].tolist(), "features_hash": model.features_hash}
    newest = {
        symbol: {"time": golden["time"][-rows:].tolist()} | {name: golden[name][-rows:, n].tolist() for name in COLUMNS}
        for n, symbol in enumerate(symbols)
    }
    observation.write_text(json.dumps({"instances": [seen | flat]}))
    candles.write_text(json.dumps({"instances": [{"candles": newest} | flat]}))


def predict_microseconds(model: Any) -> float:
    """Measures a prediction in this process; returns the median, microseconds."""
    import numpy as np

    row, carry, times = np.zeros((1, model.width), np.float32), model.initial_carry(1), []
    for _ in range(ALONE):
        start = time.perf_counter()
        model.predict(row, carry)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


if __name__ == "__main__":
    sys.exit(run_command(main))
