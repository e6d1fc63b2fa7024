"""Refusals before any handler, keys that change, and a working directory that is not trusted."""

import json
import os
import signal
import socket
from contextlib import ExitStack

import pytest
from processes import ask, ready, started
from serving import KEY, Desk, running, talk, wait_for

from export.server import main
from export.serving.protocol import MOST_HEADER
from export.serving.requests.keys import KeyFile
from himari_jax.command import run_command
from himari_jax.errors import InputError

pytest_plugins = ["server_fixtures"]


@pytest.fixture
def mlp_port(mlp):
    with running(mlp.app) as port:
        yield port


def error_of(answer):
    """Status and error of a refusal, which closes its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"application/json" in head
    return int(head[9:12]), json.loads(body)["error"]


@pytest.mark.parametrize(("size", "passes"), [(MOST_HEADER, True), (MOST_HEADER + 1, False), (70_000, False)])
def test_headers_are_bounded_to_the_byte_whether_they_come_at_once_or_in_parts(mlp_port, size, passes):
    line = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: "
    request = line + b"y" * (size - len(line) - 4) + b"\r\n\r\n"
    for parts in ([request], [request[: size // 2], request[size // 2 :]]):
        answer = talk(mlp_port, parts, pause=0.05)
        if passes:
            assert answer.startswith(b"HTTP/1.1 200")
        else:
            assert error_of(answer)[0] == 431


@pytest.mark.parametrize(
    ("version", "hosts", "passes"),
    [("1.1", 1, True), ("1.1", 0, False), ("1.1", 2, False), ("1.0", 0, True), ("1.0", 2, False)],
)
def test_a_request_has_one_host(mlp_port, version, hosts, passes):
    head = f"GET /health/live HTTP/{version}\r\n" + "Host: x\r\n" * hosts + "connection: close\r\n\r\n"
    answer = talk(mlp_port, head.encode())
    if passes:
        assert b" 200 OK" in answer
    else:
        status, error = error_of(answer)
        assert (status, error["field"]) == (400, "host")


def test_beyond_the_most_connections_all_but_probes_get_the_usual_kind_of_error(bundles):
    desk = Desk(bundles["mlp"], max_connections=2)
    with running(desk.app) as port, ExitStack() as held:
        for _ in range(2):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        for path, busy in (("/manifest", True), ("/predict", True), ("/health/live", False), ("/health/ready", False)):
            answer = talk(port, f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            if busy:
                status, error = error_of(answer)
                assert (status, error["code"], error["field"]) == (503, "busy", "connections")
            else:
                assert b" 200 OK" in answer
    assert 'himari_refusals_total{code="busy"} 2.0' in desk.metrics.page().decode()


def test_not_to_be_ready_is_no_fault_in_the_log(mlp):
    mlp.app.drain()
    assert mlp.ask("/health/ready")[0] == 503
    assert mlp.lines.getvalue() == ""


TAKEN = [
    *(("AIP_PREDICT_ROUTE", path) for path in ("/metrics", "/health/live", "/docs", "/v2/models/a/infer")),
    *(("AIP_HEALTH_ROUTE", path) for path in ("/metrics", "/predict", "/v2")),
]


@pytest.mark.parametrize(("name", "path"), TAKEN)
def test_a_route_of_vertex_never_takes_the_place_of_another(bundles, monkeypatch, capfd, name, path):
    monkeypatch.setenv(name, path)
    assert run_command(main, [str(bundles["mlp"]), "--port", "0"]) == 2
    line = capfd.readouterr().err
    assert line.startswith(f"error: ${name} {path}: ")
    assert line.count("\n") == 1


def test_one_path_cannot_answer_both_questions_of_vertex(bundles, monkeypatch, capfd):
    for name in ("AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE"):
        monkeypatch.setenv(name, "/same")
    assert run_command(main, [str(bundles["mlp"]), "--port", "0"]) == 2
    assert "/same" in capfd.readouterr().err


def test_keys_are_one_a_line_the_first_signs_and_bytes_that_are_no_text_are_one_key(tmp_path):
    path = tmp_path / "keys"
    path.write_text("  first key of all\n\nsecond key of all\r\n")
    keys = KeyFile(path, "--api-key-file", 8)
    assert keys.accepted == (b"first key of all", b"second key of all")
    assert keys.first == b"first key of all"
    assert keys.accept(b"second key of all")
    assert not keys.accept(b"second key of al")
    path.write_bytes(bytes(range(128, 160)) + b"\nmore")
    assert KeyFile(path, "--api-key-file", 8).accepted == (bytes(range(128, 160)) + b"\nmore",)
    for bad in ("", "\n", "long enough\nshort"):
        path.write_text(bad)
        with pytest.raises(InputError, match="at least 8 bytes"):
            KeyFile(path, "--api-key-file", 8)


def test_a_changed_key_file_is_taken_and_a_spoiled_one_leaves_the_old_keys(tmp_path):
    path, events = tmp_path / "keys", []
    path.write_text("the first key")
    keys = KeyFile(path, "--api-key-file", 8)
    log = lambda severity, event, **more: events.append(event)  # noqa: E731
    keys.refresh(log)
    path.write_text("the second key\nthe first key")
    keys.refresh(log)
    assert keys.accepted == (b"the second key", b"the first key")
    for _ in range(2):
        path.write_text("short")
        os.utime(path)
        keys.refresh(log)
    path.unlink()
    keys.refresh(log)
    keys.refresh(log)
    assert keys.accepted == (b"the second key", b"the first key")
    assert events == ["keys", "keys_refused", "keys_refused"]
    path.write_text("the third key")
    keys.refresh(log)
    assert keys.accepted == (b"the third key",)


def test_keys_change_hands_without_a_restart_and_tokens_of_the_old_one_go_on(bundles, tmp_path):
    tokens, api, desk = tmp_path / "tokens", tmp_path / "api", Desk(bundles["lstm"])
    tokens.write_bytes(KEY)
    tokens.chmod(0o600)
    api.write_text("the old key")
    api.chmod(0o644)
    flags = ("--port", 0, "--token-key-file", tokens, "--api-key-file", api, "--drain-seconds", 0)

    def predict(key, k, **more):
        body = json.dumps({"instances": [desk.seen(k, **more)]})
        status, answer = ask(port, "POST", "/predict", body, {"X-API-Key": key})
        return status, json.loads(answer)

    with started(bundles["lstm"], *flags) as (process, port, lines):
        wait_for(lambda: ready(port))
        warned = [x["message"] for x in lines if x["event"] == "key_file"]
        assert len(warned) == 1
        assert str(api) in warned[0]
        token = predict("the old key", 0)[1]["predictions"][0]["carry"]
        assert predict("the new key", 0)[0] == 401
        tokens.write_bytes(b"another key of 32 bytes, as long\n" + KEY)
        api.write_text("the new key\nthe old key")
        wait_for(lambda: sum(x["event"] == "keys" for x in lines) == 2)
        for key in ("the old key", "the new key"):
            status, answer = predict(key, 1, carry=token)
            assert status == 200
        newer = answer["predictions"][0]["carry"]
        api.write_text("the new key")
        tokens.write_bytes(b"another key of 32 bytes, as long")
        wait_for(lambda: sum(x["event"] == "keys" for x in lines) == 4)
        assert predict("the old key", 2)[0] == 401
        assert predict("the new key", 1, carry=token)[0] == 409
        assert predict("the new key", 2, carry=newer)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_modules_in_the_working_directory_are_never_imported(bundles, tmp_path):
    for name in ("tempfile", "difflib", "numpy", "uvicorn", "talib", "tyro"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hijacked')")
    with started(bundles["mlp"], "--port", 0, cwd=tmp_path) as (process, port, _):
        wait_for(lambda: process.poll() is not None or ready(port))
        assert process.poll() is None, process.stderr.read()
