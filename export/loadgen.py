"""Load on `/predict`: by wrk where it is installed, else by `python -m export.loadgen`, a small generator of our own.

Both run beside the server, on the same cores. Every connection asks again when its answer is here.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from himari_jax.errors import InputError, last_line

GRACE = 20.0  # seconds beyond the measurement after which a generator is ended
LUA = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open("{body}"):read("*a")
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\n{{"rate": %f, "p50": %f, "p99": %f, "failed": %d}}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
"""


class Load(NamedTuple):
    """Throughput and latency that a load generator measured."""

    rate: float  # answers a second
    p50: float  # ms
    p99: float  # ms


def generator() -> str:
    """Returns the name of the load generator in use."""
    return "wrk" if shutil.which("wrk") else "a load generator in Python"


def ask(port: int, body: Path, connections: int, seconds: float) -> Load:
    """Sends requests to a server on this machine for some seconds.

    Raises:
        InputError: a request was not answered with 200, or the generator did not end.
    """
    if shutil.which("wrk"):
        script = body.with_suffix(".lua")
        script.write_text(LUA.format(body=body))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        command.append(f"http://127.0.0.1:{port}/predict")
    else:
        command = [sys.executable, "-m", "export.loadgen", str(port), str(body), str(connections), str(seconds)]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: did not end within {seconds + GRACE:g} s") from None
    lines = found.stdout.strip().splitlines()
    if found.returncode or not lines:
        raise InputError(f"{command[0]}: {last_line(found.stderr, 'no result')}")
    info = json.loads(lines[-1])
    if failed := info.pop("failed", 0):
        raise InputError(f"{failed} requests were not answered with 200")
    return Load(**info)


class Caller(asyncio.Protocol):
    """One connection, which sends its request again after each answer."""

    def __init__(self, request: bytes, until: float, times: list[float]):
        self.request, self.until, self.times = request, until, times
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Sends the first request."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Sends the request."""
        self.buffer, self.asked = b"", time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Sends again when an answer is complete; any status but 200 ends the connection."""
        self.buffer += data
        head, gap, body = self.buffer.partition(b"\r\n\r\n")
        if not gap or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self.times.append(now - self.asked)
        if not head.startswith(b"HTTP/1.1 200"):
            self.finish(RuntimeError(f"not answered: {self.buffer[:300]!r}"))
        elif now < self.until:
            self.ask()
        else:
            self.finish(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Ends: the server closed the connection."""
        self.finish(ConnectionError("the server closed the connection"))

    def finish(self, error: Exception | None) -> None:
        """Ends this connection."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self.transport.close()


async def load(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Runs the connections; gives up after the grace period."""
    loop, times = asyncio.get_running_loop(), list[float]()
    start = time.perf_counter()
    callers = []
    async with asyncio.timeout(seconds + GRACE / 2):
        for _ in range(connections):
            made = lambda: Caller(request, start + seconds, times)  # noqa: E731
            callers.append((await loop.create_connection(made, "127.0.0.1", port))[1])
        await asyncio.gather(*(caller.done for caller in callers))
    spent = time.perf_counter() - start
    times.sort()
    p50, p99 = (1e3 * times[int(len(times) * q)] for q in (0.5, 0.99))
    return Load(len(times) / spent, p50, p99)


def main(args: list[str]) -> int:
    """Prints the load as JSON; the arguments are port, file of the body, connections, seconds."""
    port, body, connections, seconds = args
    data = Path(body).read_bytes()
    head = f"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    request = head.encode() + b"\r\n\r\n" + data
    print(json.dumps(uvloop.run(load(int(port), request, int(connections), float(seconds)))._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
