"""The direct way and ASGI agree: bytes, log, counts."""

import gzip
import json
import re
import socket
import time
import zlib
from contextlib import ExitStack

import numpy as np
import pytest
from serving import Desk, http, running, talk, wait_for

from export.runtime import Prediction

pytest_plugins = ["server_fixtures"]
KEY, PAGE = "correct horse battery", "https://desk.example.com"
MOST = 100_000
GIVEN = {"x_request_id": "given-1", "x_api_key": KEY}


@pytest.fixture(scope="module")
def pair(bundles):
    """Two servers that differ in nothing but the direct way: their desks and ports."""
    with ExitStack() as stack:
        found = []
        for has_direct in (True, False):
            desk = Desk(bundles["mlp"], api_key=KEY.encode(), cors_origins=(PAGE,), max_body=MOST, read_seconds=0.5)
            if not has_direct:
                desk.app.direct = {}
            found.append((desk, stack.enter_context(running(desk.app))))
        yield found


def requests(desk):
    """Bytes of requests, or parts of them, by what they are."""
    newest = {"candles": desk.candles(rows=420), "account": desk.account()}
    seen, asked = (json.dumps({"instances": [x]}).encode() for x in (desk.seen(), newest))
    post = lambda body=seen, path="/predict", **more: http(path, body, **(GIVEN | more))  # noqa: E731
    chunked = post(b"", transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"")
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (100, seen[:100], len(seen) - 100, seen[100:])
    cut = len(post()) - 50
    kept = post().replace(b"connection: close\r\n", b"")
    swap = lambda old, new: post(seen.replace(old, new))  # noqa: E731
    return {
        "an observation": post(),
        "candles": post(asked),
        "candles in parts": [post(asked)[:30_000], post(asked)[30_000:60_000], post(asked)[60_000:]],
        "a body after its headers": [post()[: -len(seen)], post()[-len(seen) :]],
        "two in a row": [kept, post()],
        "three at once": kept + kept + post(),
        "one at once with the head of another": [kept + post()[:40], post()[40:]],
        "what follows the end": post() + kept,
        "nothing": post(b""),
        "no JSON": post(b"{"),
        "no text": post(b"\xff\xfe{}"),
        "NaN": swap(b"[", b"[NaN,"),
        "no instances": post(b'{"instances": []}'),
        "an unknown member": swap(b'"observation"', b'"observations"'),
        "another hash": swap(b'"features_hash": "', b'"features_hash": "x'),
        "a token of another model": post(json.dumps({"instances": [desk.seen(carry="AAAA")]}).encode()),
        "no key": post(x_api_key=""),
        "a wrong key": post(x_api_key="wrong"),
        "a bearer": post(x_api_key="", authorization=f"Bearer {KEY}"),
        "a page": post(origin=PAGE),
        "a page that is refused": post(b"{", origin=PAGE),
        "another page": post(origin="https://other.example.com"),
        "a preflight": post(origin=PAGE, access_control_request_method="POST").replace(b"POST", b"OPTIONS", 1),
        "GET": post().replace(b"POST", b"GET", 1),
        "a query": post(path="/predict?x=1"),
        "another path": post(path="/predicts"),
        "HTTP/1.0": post().replace(b"HTTP/1.1", b"HTTP/1.0"),
        "no host": post().replace(b"host: here\r\n", b""),
        "gzip": post(gzip.compress(asked), content_encoding="gzip"),
        "deflate": post(zlib.compress(seen), content_encoding="Deflate"),
        "no gzip": post(seen, content_encoding="gzip"),
        "a bomb": post(gzip.compress(b" " * (MOST + 1)), content_encoding="gzip"),
        "an unknown coding": post(content_encoding="br"),
        "too long": post(b" " * (MOST + 1)),
        "chunks": chunked + chunks,
        "chunks in parts": [chunked, chunks[:150], chunks[150:]],
        "chunks that are too long": chunked + b"%x\r\n" % (MOST + 1) + b" " * (MOST + 1) + b"\r\n0\r\n\r\n",
        "a body that does not come": [post()[:cut], b""],
        "an upgrade": post().replace(b"connection: close", b"connection: upgrade, close\r\nupgrade: h2c"),
        "to be continued": [post(expect="100-continue")[: -len(seen)], seen],
        "an odd id": post(x_request_id="no id, no id"),
    }


CASES = """an observation, candles, candles in parts, a body after its headers, two in a row, three at once,
one at once with the head of another, what follows the end, nothing, no JSON, no text, NaN, no instances,
an unknown member, another hash, a token of another model, no key, a wrong key, a bearer, a page,
a page that is refused, another page, a preflight, GET, a query, another path, HTTP/1.0, no host, gzip, deflate,
no gzip, a bomb, an unknown coding, too long, chunks, chunks in parts, chunks that are too long,
a body that does not come, an upgrade, to be continued, an odd id"""


def exchange(desk, port, data):
    """Answer, log lines and counts of a request, without what is never twice the same."""
    desk.lines.truncate(desk.lines.seek(0))
    before = counts(desk)
    answer = re.sub(rb"\r\n(date|x-request-id): (?!given)[^\r]*", rb"\r\n\1", talk(port, data, pause=0.03))
    lines = [json.loads(line) for line in desk.lines.getvalue().splitlines()]
    known = [{k: v for k, v in line.items() if k not in ("ms", "time", "request_id")} for line in lines]
    return answer, known, {k: v - before.get(k, 0) for k, v in counts(desk).items() if v != before.get(k, 0)}


def counts(desk):
    """Counters by name and labels, those of times left out."""
    rows = [line.rpartition(" ") for line in desk.metrics.page().decode().splitlines() if line.startswith("himari_")]
    timed = ("_created", "seconds_bucket", "seconds_sum")
    return {name: float(value) for name, _, value in rows if not any(word in name for word in timed)}


def test_there_is_a_case_for_each_request(mlp):
    assert CASES.replace("\n", " ").split(", ") == list(requests(mlp))


@pytest.mark.parametrize("case", CASES.replace("\n", " ").split(", "))
def test_the_direct_way_answers_logs_and_counts_as_asgi_does(pair, case):
    direct, asgi = (exchange(desk, port, requests(desk)[case]) for desk, port in pair)
    assert direct == asgi
    assert direct[0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("state", ["draining", "no model", "a fault", "no numbers"])
def test_both_ways_agree_whatever_the_state_of_the_server(pair, monkeypatch, state):
    bodies = [json.dumps({"instances": [desk.seen()]}).encode() for desk, _ in pair]
    change_state(pair, monkeypatch, state)
    found = [exchange(*one, http("/predict", body, **GIVEN)) for one, body in zip(pair, bodies, strict=True)]
    for _, lines, _ in found:
        lines[0].pop("stack_trace", None)  # names the way
    assert found[0] == found[1]
    assert found[0][0][9:12] == {"draining": b"200", "no model": b"503"}.get(state, b"500")


def change_state(pair, monkeypatch, state):
    """Brings both servers into a state."""
    for desk, _ in pair:
        if state == "draining":
            monkeypatch.setattr(desk.app, "draining", True)
        elif state == "no model":
            monkeypatch.setattr(desk.store, "current", None)
        else:
            wrong = None if state == "a fault" else Prediction(np.full((1, 2), np.nan), np.zeros(1), ())
            monkeypatch.setattr(type(desk.model), "predict", lambda *_, wrong=wrong: wrong)


def test_asgi_sees_only_what_the_direct_way_leaves(pair, monkeypatch):
    asked = []
    desk, port = pair[0]
    whole = type(desk.app).__call__

    async def listen(self, scope, receive, send):
        asked.append(scope["path"])
        await whole(self, scope, receive, send)

    monkeypatch.setattr(type(desk.app), "__call__", listen)
    for case in ("an observation", "candles in parts", "chunks", "gzip", "a page", "no JSON", "HTTP/1.0"):
        answer = talk(port, requests(desk)[case], pause=0.03)
        assert answer.startswith(b"HTTP/1.1 200") or case == "no JSON"
        assert asked == [], case
    talk(port, requests(desk)["three at once"])
    assert asked == ["/predict", "/predict"]  # one of each read is answered at once, the others in turn
    talk(port, requests(desk)["a wrong key"])
    assert len(asked) == 3


def test_a_caller_who_leaves_within_a_body_is_forgotten(pair):
    desk, port = pair[0]
    data = requests(desk)["an observation"]
    before = counts(desk)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(data[:-10])
        time.sleep(0.1)
    time.sleep(0.7)  # longer than a body may take
    assert counts(desk) == before
    answer = []
    wait_for(lambda: answer.append(talk(port, data)) or answer[-1].startswith(b"HTTP/1.1 200"))
