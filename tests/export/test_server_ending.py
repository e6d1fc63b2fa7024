"""The end of the server: nothing that was accepted or could connect is lost, alone and with workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import ask, children, free_port, ready, started
from reconnecting import Clients, request_of
from serving import ROOT, Desk, wait_for

from export.serving.telemetry.telemetry import QueuedLog

pytest_plugins = ["server_fixtures"]


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text(os.urandom(32).hex())
    path.chmod(0o600)
    return path


def body_of(bundle):
    return json.dumps({"instances": [Desk(bundle).seen()]}).encode()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_loses_no_connection_that_stands_and_drains_before_it_closes(bundles, key, workers):
    flags = ("--port", 0, "--quiet", "--drain-seconds", 1, "--workers", workers, "--token-key-file", key)
    with started(bundles["mlp"], *flags) as (process, port, lines):
        wait_for(lambda: sum(x["event"] == "model" for x in lines) == workers)
        clients = [Clients(port, request_of(body_of(bundles["mlp"])), 8, kept) for kept in (False, True)]
        wait_for(lambda: min(some.answered for some in clients) > 50)
        before, start = sum(some.answered for some in clients), time.monotonic()
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not ready(port))
        assert ask(port, "GET", "/health/ready")[0] == 503  # new connections are accepted and answered
        assert process.wait(10) == 0
        assert time.monotonic() - start >= 1
        for some in clients:
            some.join()
        assert [some.lost for some in clients] == [[], []]
        assert {status for some in clients for status in some.statuses} == {200}
        assert sum(some.answered for some in clients) > before
    assert sum(x["event"] == "stopped" for x in lines) == workers


def test_a_connection_that_was_accepted_before_the_end_may_still_ask_after_it(bundles):
    with started(bundles["mlp"], "--port", 0, "--drain-seconds", 0.2) as (process, port, _):
        wait_for(lambda: ready(port))
        with socket.create_connection(("127.0.0.1", port)) as fresh:
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            time.sleep(1.2)  # the listener is closed
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            fresh.sendall(request_of(body_of(bundles["mlp"])))
            answer = fresh.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
        assert process.wait(5) == 0


def test_a_second_signal_ends_workers_at_once_and_ctrl_c_of_a_terminal_is_one_signal(bundles, key):
    flags = ("--port", 0, "--drain-seconds", 60, "--workers", 2, "--token-key-file", key)
    with started(bundles["mlp"], *flags) as (process, port, lines):
        wait_for(lambda: sum(x["event"] == "model" for x in lines) == 2)
        group = [process.pid, *children(process.pid)]
        wait_for(lambda: ready(port) and not any(map(ignores_ctrl_c, group)))
        for pid in group:  # as a terminal signals every process of its group
            os.kill(pid, signal.SIGINT)
        wait_for(lambda: sum(x["event"] == "draining" for x in lines) == 2)
        assert ask(port, "GET", "/health/live")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(4) == 0
        assert process.stderr.read() == ""
        assert not any(alive(pid) for pid in group)


def ignores_ctrl_c(pid):
    """Whether a worker has not begun to serve."""
    masks = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(masks["SigIgn"], 16) >> (signal.SIGINT - 1) & 1)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_their_supervisor_however_it_ended(bundles, key):
    flags = ("--port", 0, "--workers", 2, "--token-key-file", key, "--drain-seconds", 60)
    with started(bundles["mlp"], *flags) as (process, _, lines):
        wait_for(lambda: sum(x["event"] == "model" for x in lines) == 2)
        workers = children(process.pid)
        assert len(workers) == 2
        process.kill()
        wait_for(lambda: not any(alive(pid) for pid in workers), 8)


def test_a_server_whose_output_is_not_read_goes_on_and_its_lines_are_there_when_it_is(bundles):
    port = free_port()
    command = [sys.executable, "-m", "export.server", bundles["mlp"], "--port", str(port), "--drain-seconds", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        wait_for(lambda: ready(port))
        clients = Clients(port, request_of(body_of(bundles["mlp"])), 4, kept=True)
        wait_for(lambda: clients.answered > 1500)  # 64 KiB of a pipe are a few hundred lines
        assert ask(port, "GET", "/health/live")[0] == 200
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.stdout]
        clients.join()
        assert process.wait(10) == 0
    finally:
        process.kill()
    assert not clients.lost
    assert sum(x["event"] == "request" for x in lines) == clients.answered
    assert lines[-1]["event"] == "stopped"


def test_what_the_output_does_not_take_is_dropped_counted_and_told_when_it_flows_again():
    flows, written, dropped = threading.Event(), [], []

    def write(data):
        flows.wait(10)
        written.append(data)

    log = QueuedLog(write)
    log.output.most = 10
    log.output.on_drop = lambda: dropped.append(1)
    for k in range(100):
        log("INFO", "one", k=k)
    flows.set()
    log.close()
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    kept = [x["k"] for x in lines if x["event"] == "one"]
    assert kept == list(range(len(kept)))
    assert sum(x["lines"] for x in lines if x["event"] == "log_dropped") == len(dropped) == 100 - len(kept) > 50
    assert all(len(data) <= 4096 for data in written)  # a pipe takes so much whole


def test_an_output_that_is_closed_ends_no_server():
    def write(data):
        raise BrokenPipeError

    log = QueuedLog(write)
    log("INFO", "one")
    log.close()
    assert not log.output.thread.is_alive()
