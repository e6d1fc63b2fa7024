"""Fuzzed requests to every route: no crash, no 500, no leak, and the same answers afterwards, bit for bit."""

import asyncio
import gc
import json
import os
import socket
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from serving import Desk, running

from export.benchmarks.processes import resident

pytest_plugins = ["server_fixtures"]

MOST_GROWTH = 16  # megabytes of memory after a warm-up; a leak of 1 kB a request would be 20
ODD = [None, True, -1, 0, 1e39, 10**30, "", "NaN", "\u0000", [], {}, [[]], {"a": None}, 0.5, -0.0, 1e-320]
RAW = [b"NaN", b"-Infinity", b"\xef\xbb\xbf", b"\xff", b"\x00", b"[" * 2000, b'"\\ud800"', b"1e999", b"{", b"}", b","]
WORDS = ["mlp", "other", "versions", "config", "ready", "infer", "stats", "%00", "..", "é", "x" * 300, "", "load"]
HEADERS = {
    "inference-header-content-length": ["0", "-1", "7", "9" * 20, "x", "", "²"],
    "content-encoding": ["gzip", "deflate", "br", "identity", "", "gzip, gzip"],
    "content-length": ["0", "-1", "99999999999", "x", "²"],
    "authorization": ["Bearer", "Bearer x", "basic \xff"],
    "x-request-id": ["a", "\r\nx: y", "x" * 1000, "\xff"],
    "origin": ["http://a.b", "null", "\xff"],
    "access-control-request-method": ["POST", ""],
}


def good_requests(desk):
    """Paths with bodies that are answered, by every way of asking."""
    name = desk.model.name
    rows = desk.golden["observation"][-2:]
    tensors = {"observation": rows}
    tensors |= {f"carry_{i}": np.zeros((2, *shape), np.float32) for i, shape in enumerate(desk.model.carry_shapes)}
    text = [
        {"name": key, "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
        for key, x in tensors.items()
    ]
    bodies = [[desk.asked()], [desk.seen()], [desk.seen(0), desk.seen(5)], [desk.asked(history=[desk.account(-2)])]]
    found = [("/predict", msgspec.json.encode({"instances": x})) for x in bodies]
    found.append((f"/v2/models/{name}/infer", msgspec.json.encode({"inputs": text})))
    return [*found, ("/manifest", None), ("/openapi.json", None), ("/docs", None), (f"/v2/models/{name}/config", None)]


def answers(desk):
    """The bytes of their answers."""
    found = [desk.ask(path, body) for path, body in good_requests(desk)]
    assert [status for status, *_ in found] == [200] * len(found)
    return [body for *_, body in found]


def spoil(rng, value):
    """Changes one thing somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[rng.integers(len(value))]
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: spoil(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        k = int(rng.integers(len(value)))
        return [*value[:k], spoil(rng, value[k]), *value[k + 1 :]]
    if isinstance(value, float) and rng.random() < 0.3:
        return float(value * 10.0 ** rng.integers(-40, 40))
    return ODD[rng.integers(len(ODD))]


def spoil_bytes(rng, body):
    """Cuts, doubles, flips or puts something odd between bytes."""
    at, to = sorted(int(x) for x in rng.integers(0, len(body) + 1, 2))
    raw = RAW[rng.integers(len(RAW))]
    return [body[:at], body[:at] + body[to:], body[:at] + raw + body[at:], body[:at] + bytes(rng.bytes(4)) + body[to:]][
        rng.integers(4)
    ]


def fuzzed(rng, good):
    """Method, path, body and headers of a request that is nearly one that is answered."""
    path, body = good[rng.integers(len(good))]
    method = "POST" if body is not None else "GET"
    if body is not None:
        if rng.random() < 0.6:
            body = msgspec.json.encode(spoil(rng, msgspec.json.decode(body)))
        if rng.random() < 0.4:
            body = spoil_bytes(rng, body)
    if rng.random() < 0.15:
        path = "/v2/" + "/".join(WORDS[k] for k in rng.integers(0, len(WORDS), rng.integers(0, 6)))
    if rng.random() < 0.1:
        method = ["GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE", "BREW"][rng.integers(7)]
    headers = {}
    for name in rng.permutation(list(HEADERS))[: rng.integers(0, 3)]:
        headers[str(name)] = HEADERS[name][rng.integers(len(HEADERS[name]))]
    return method, path, body, headers


def collected():
    """Megabytes of memory of this process, without garbage."""
    gc.collect()
    return resident(os.getpid())


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_fuzzed_requests_are_answered_or_refused_and_leave_no_trace(bundles, policy, count):
    desk = Desk(bundles[policy], log_requests=False, cors_origins=("http://a.b",))
    rng, good, before = np.random.default_rng(0), good_requests(desk), answers(desk)

    async def ask(rounds):
        for _ in range(rounds):
            method, path, body, headers = fuzzed(rng, good)
            status, _, answer = await desk.call(path, body, headers, method, None)
            statuses.append(status)
            assert status < 500, (method, path, headers, answer)
            if status >= 400:
                error = json.loads(answer)["error"]
                assert isinstance(error, str) == path.startswith("/v2/")

    statuses = []
    asyncio.run(ask(count // 4))
    memory = collected()
    asyncio.run(ask(count - count // 4))
    assert collected() - memory < MOST_GROWTH
    assert answers(desk) == before
    assert {200, 400, 404, 405} <= set(statuses)
    assert desk.metrics.errors._value.get() == 0


def send_all(port, data):
    """Sends bytes, closes the sending side, and returns all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, suppress(ConnectionError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))
    return b""


@pytest.mark.parametrize("count", [30, pytest.param(2_000, marks=pytest.mark.slow)])
def test_bytes_that_are_nearly_http_do_not_end_the_server(bundles, count):
    desk = Desk(bundles["mlp"], log_requests=False)
    rng, before = np.random.default_rng(1), answers(desk)
    body = good_requests(desk)[1][1]
    head = b"POST /predict HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    with running(desk.app) as port:
        for _ in range(count):
            assert b" 500 " not in send_all(port, spoil_bytes(rng, head) + body).partition(b"\r\n")[0]
        assert send_all(port, head + body).startswith(b"HTTP/1.1 200")
    assert answers(desk) == before
