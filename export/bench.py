"""`python -m export.bench`: how fast a bundle answers, in process and over HTTP, and what the server takes."""

import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from export.benchmarks.processes import processor_seconds, resident, weigh
from export.loadgen import ask, generator
from himari_jax.cli import invocation
from himari_jax.command import parse, require, run_command
from himari_jax.errors import InputError, last_line

PROG = invocation("export.bench")
POLICIES = ("mlp", "lstm")
TINY = "--source synthetic --synthetic.num-bars 6000 --symbols SYN1 --num-envs 16 --total-steps 4096 --device cpu"
CANDLES = 500  # of a request, or as many as the model needs
LARGEST = 2**26  # bytes of a request
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
    """Of each measurement over HTTP."""
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

        print(f"{processor()}, {os.cpu_count()} cores, {interpreter(bench)}; median of {bench.repeats}")
        busy = f"; load average before: {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        print(f"load by {generator()}, on the same cores as the server{busy}")
        for bundle in bundles:
            measure(bundle, folder, bench)
    if bench.venv is not None:
        say("serving environment, without pip", f"{weigh(bench.venv):.0f} MB", "< 200 MB")
    return 0


def interpreter(bench: BenchConfig) -> str:
    """Version of the Python that serves."""
    return subprocess.check_output([python_of(bench), "--version"], text=True).strip()


def python_of(bench: BenchConfig) -> str:
    """The Python that serves."""
    return sys.executable if bench.venv is None else str((bench.venv / "bin" / "python").absolute())


def make_bundle(policy: str, folder: Path) -> Path:
    """A bundle of the default sizes, hardly trained: its speed is that of any other.

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


def measure(bundle: Path, folder: Path, bench: BenchConfig) -> None:
    """Measures one bundle and prints the results line by line."""
    from export.loading import load

    model = load(bundle, bench.allow_features_code)
    policy = str(model.manifest["policy"])
    observation, candles = folder / "observation.json", folder / "candles.json"
    write_bodies(model, observation, candles)
    whole = "one of " if model.is_pool else ""
    print(f"\n{model.name} {model.version}: {policy}, {whole}{len(model.symbols)} symbols", flush=True)
    say("one observation in process, p50", f"{middle(bench, lambda: alone(model)):.0f} us", IN_PROCESS.get(policy, ""))
    starts, sizes = [], []
    for _ in range(bench.repeats):
        with served(bundle, folder, bench, 1) as (port, ready, process):
            starts.append(ready)
            ask(port, candles, 1, 0.3)
            sizes.append(resident(process))
    say("start to ready", f"{statistics.median(starts):.2f} s", "< 1 s")
    say("resident after some requests with candles", f"{statistics.median(sizes):.0f} MB", "< 120 MB")
    with served(bundle, folder, bench, 1) as (port, _, _):
        say_times(f"/predict, {request_rows(model)} candles, 1 connection", bench, port, candles, 1, "p50 < 1.5 ms")
        say_times("/predict, observation, 1 connection", bench, port, observation, 1, "p50 < 0.3 ms")
        say_times("/predict, observation, 16 connections", bench, port, observation, 16, "p99 < 3 ms")
        say("saturated, 1 worker", saturated(bench, port, observation), "")
    workers = os.cpu_count() or 1
    with served(bundle, folder, bench, workers) as (port, _, _):
        say_times(f"16 connections, {workers} workers", bench, port, observation, 16, "p99 < 3 ms")
        say(f"saturated, {workers} workers", saturated(bench, port, observation), "> 8,000 /s")
    if model.carry_shapes or model.is_pool or model.features.files:  # what the minimal app does not do
        return
    if find_spec("fastapi") is None:
        say("beside a minimal FastAPI app", "not measured: it needs `pip install fastapi`", "")
        return
    with peers(bundle, folder, bench) as both:
        for what, body in (("an observation", observation), (f"{request_rows(model)} candles", candles)):
            say(f"beside FastAPI, {what}", beside(bench, both, body), "x2")


@contextlib.contextmanager
def peers(bundle: Path, folder: Path, bench: BenchConfig) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Port and process of our server and of a minimal FastAPI app that answers alike, both of this environment."""
    command = [sys.executable, "-m", "export.benchmarks.fastapi_app", str(bundle.absolute())]
    with served(bundle, folder, replace(bench, venv=None), 1) as (port, _, process):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout is not None
            there = json.loads(other.stdout.readline() or "{}").get("port")
            if there is None:
                raise InputError(f"{bundle}: the FastAPI app did not start")
            yield (port, process), (there, other.pid)
        finally:
            other.kill()
            other.wait()


def beside(bench: BenchConfig, both: tuple[tuple[int, int], tuple[int, int]], body: Path) -> str:
    """Server time of an answer, ours against the other's in turns, four connections: medians, and of their ratios."""
    times = [[answer_time(bench, *one, body) for one in both] for _ in range(bench.repeats + 1)][1:]  # the first warms
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(other / own for own, other in times)
    return f"{ours:.0f} us against {theirs:.0f} us: x{ratio:.2f}"


def answer_time(bench: BenchConfig, port: int, process: int, body: Path) -> float:
    """Microseconds of a processor that a server takes for an answer: what else runs on the machine counts little."""
    before = processor_seconds(process)
    rate = ask(port, body, 4, bench.seconds).rate
    return 1e6 * (processor_seconds(process) - before) / (rate * bench.seconds)


def say(what: str, found: str, target: str) -> None:
    """One line of the table."""
    print(f"{what:43} {found:37} {target}".rstrip(), flush=True)


def say_times(what: str, bench: BenchConfig, port: int, body: Path, connections: int, target: str) -> None:
    """A line of median, 99th percentile and rate."""
    found = [ask(port, body, connections, bench.seconds) for _ in range(bench.repeats)]
    rate, p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
    say(what, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {rate:,.0f} /s", target)


def saturated(bench: BenchConfig, port: int, body: Path) -> str:
    """Answers a second at many connections."""
    return f"{middle(bench, lambda: ask(port, body, bench.saturating, bench.seconds).rate):,.0f} /s"


def middle(bench: BenchConfig, run: Callable[[], float]) -> float:
    """Median of the repeats."""
    return statistics.median(run() for _ in range(bench.repeats))


def request_rows(model: Any) -> int:
    """Candles of a request."""
    return max(CANDLES, model.min_candles)


def write_bodies(model: Any, observation: Path, candles: Path) -> None:
    """Requests out of the golden rows: a finished observation, and candles with an account."""
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


def alone(model: Any) -> float:
    """Median microseconds of one prediction in this process."""
    import numpy as np

    row, carry, times = np.zeros((1, model.width), np.float32), model.initial_carry(1), []
    for _ in range(ALONE):
        start = time.perf_counter()
        model.predict(row, carry)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


@contextlib.contextmanager
def served(bundle: Path, folder: Path, bench: BenchConfig, workers: int) -> Iterator[tuple[int, float, int]]:
    """A quiet server in its own process: its port, seconds from start to ready, its id.

    Raises:
        InputError: it does not become ready.
    """
    key = folder / "token.key"
    key.write_bytes(b"of the benchmark alone")
    flags = ["--port", "0", "--host", "127.0.0.1", "--quiet", "--max-age-bars", "0"]
    flags += ["--max-body-bytes", str(LARGEST)]
    flags += ["--workers", str(workers), "--token-key-file", str(key)]
    flags += ["--allow-features-code"] if bench.allow_features_code else []
    command = [python_of(bench), "-m", "export.server", str(bundle.absolute()), *flags]
    start = time.perf_counter()
    # From a folder without our packages, so that a given environment uses its own.
    where = None if bench.venv is None else folder
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=where)
    try:
        assert process.stdout is not None
        port = next((json.loads(line)["port"] for line in process.stdout if '"listening"' in line), None)
        if port is None:
            raise InputError(f"{bundle}: the server did not start")
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - start > 60:
                raise InputError(f"{bundle}: the server is not ready after a minute, or it ended")
            time.sleep(0.005)
        yield port, time.perf_counter() - start, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def is_ready(port: int) -> bool:
    """Whether the server wants requests."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/health/ready")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


if __name__ == "__main__":
    sys.exit(run_command(main))
