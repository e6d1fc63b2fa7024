"""Servers that the benchmark starts in processes of their own: ours, and a minimal FastAPI app beside it."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from himari_jax.errors import InputError

LARGEST = 2**26  # bytes of a request
START_SECONDS = 60


@dataclass(frozen=True)
class LaunchSettings:
    """Settings for starting servers.

    Args:
        folder: for scratch files.
        python: that serves.
        is_own: whether that is this environment, with our packages in the working folder.
        allow_code: whether to run code for features that a bundle carries.
    """

    folder: Path
    python: str = sys.executable
    is_own: bool = True
    allow_code: bool = False


@contextlib.contextmanager
def served(bundle: Path, launch: LaunchSettings, workers: int) -> Iterator[tuple[int, float, int]]:
    """Starts a server in a process of its own; yields its port, seconds from start to ready, process id.

    Raises:
        InputError: it does not become ready.
    """
    key = launch.folder / "token.key"
    key.write_bytes(b"of the benchmark alone")
    flags = ["--port", "0", "--host", "127.0.0.1", "--quiet", "--max-age-bars", "0"]
    flags += ["--max-body-bytes", str(LARGEST)]
    flags += ["--workers", str(workers), "--token-key-file", str(key)]
    flags += ["--allow-features-code"] if launch.allow_code else []
    command = [launch.python, "-m", "export.server", str(bundle.absolute()), *flags]
    start = time.perf_counter()
    # From a folder without our packages, so that a given environment uses its own.
    where = None if launch.is_own else launch.folder
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=where)
    try:
        assert process.stdout is not None
        port = next((json.loads(line)["port"] for line in process.stdout if '"listening"' in line), None)
        if port is None:
            raise InputError(f"{bundle}: the server did not start")
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - start > START_SECONDS:
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
    """Whether the server is ready."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/health/ready")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


@contextlib.contextmanager
def peers(bundle: Path, launch: LaunchSettings) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Starts our server and a minimal FastAPI app that answers alike; yields port and process id of each."""
    command = [sys.executable, "-m", "export.benchmarks.fastapi_app", str(bundle.absolute())]
    with served(bundle, LaunchSettings(launch.folder, allow_code=launch.allow_code), 1) as (port, _, process):
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
