"""Workers: what their metrics say after one fell, why it fell, and when the server gives up."""

import json
import os
import signal
import subprocess
import sys

from processes import ask, children, metrics_of, ready, started
from serving import KEY, Desk, copy_bundle, point, wait_for

from export.serving.processes.exits import explain_exit, last_words, read_last_words

pytest_plugins = ["server_fixtures"]


def count(lines, event):
    return sum(x["event"] == event for x in lines)


def test_metrics_stay_true_when_a_worker_dies_and_the_model_is_swapped(bundles, tmp_path):
    folder, key = tmp_path / "bundles", tmp_path / "key"
    key.write_bytes(KEY)
    for name in ("one", "two"):
        copy_bundle(bundles["mlp"], folder / name, version=name)
    point(folder, "one")
    body = json.dumps({"instances": [Desk(folder).seen_of("one")]}).encode()
    with started(folder, "--port", 0, "--workers", 2, "--token-key-file", key) as (process, port, lines):
        wait_for(lambda: count(lines, "model") == 2)
        for _ in range(10):
            assert ask(port, "POST", "/predict", body)[0] == 200
        worker = children(process.pid)[0]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: count(lines, "model") == 3)
        point(folder, "two")
        wait_for(lambda: count(lines, "model") == 5)
        found = metrics_of(port)
        assert [name for name in found if name.startswith("himari_model_info")] == [
            name for name in found if 'version="two"' in name and name.startswith("himari_model_info")
        ]
        assert found["himari_predictions_total"] == 10  # those of the dead one, too
        assert found["himari_ready"] == 1
        for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
            seen = {key: value for key, value in found.items() if key.startswith(name)}
            assert set(seen) == {f'{name}{{worker="{who}"}}' for who in ("supervisor", "0", "1")}
            assert min(seen.values()) > 0
        (fell,) = [x for x in lines if x["event"] == "worker_fell"]
        assert (fell["pid"], fell["exit"]) == (worker, -9)
        assert fell["message"].startswith("SIGKILL")
        assert 0 < fell["pause"] <= 1


FAILING = """
import os, signal, socket, sys
from pathlib import Path
from export.serving.processes import workers
from export.serving.telemetry.telemetry import QueuedLog
from himari_jax.command import run_command
workers.FIRST_PAUSE = 0.0005
tries = Path(sys.argv[1])
def fail(place, link):
    if place == 0:
        signal.pause()  # only a signal ends this one
    tries.write_text(tries.read_text() + "x")
    how = len(tries.read_text()) % 4
    if how == 1:
        raise ValueError("out of\\nideas")
    if how == 2:
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV if how == 3 else signal.SIGKILL)
log, sock = QueuedLog(), socket.socket()
def main(args):
    try:
        return workers.Supervisor(2, fail, sock, log, 0.0).run()
    finally:
        log.close()
sys.exit(run_command(main, []))
"""
WHY = (
    (1, "exit code 1; ValueError: out of (<string>:"),
    (3, "exit code 3"),
    (-11, "SIGSEGV; Fatal Python error: Segmentation fault"),
    (-9, "SIGKILL: "),
)


def test_a_failed_worker_is_logged_with_its_cause_and_after_some_failures_the_server_gives_up(tmp_path):
    (tmp_path / "tries").touch()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", FAILING, str(tmp_path / "tries")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [x for x in lines if x["event"] == "worker_fell"]
    assert len(failures) == 10
    for k, failure in enumerate(failures):
        code, why = WHY[k % 4]
        assert failure["exit"] == code
        assert failure["message"].startswith(why)
        assert failure["pause"] == 0.0005 * 2**k
    assert done.returncode == 1
    assert done.stderr.startswith("error: workers fell 11 times within 60 s, the last by SIGSEGV; Fatal")
    assert done.stderr.count("\n") == 1


def test_the_reason_of_a_fall_is_one_line():
    try:
        raise MemoryError("no room\nfor more")
    except MemoryError as error:
        words = last_words(error)
    assert words.startswith("MemoryError: no room (")
    assert "\n" not in words
    assert explain_exit(1, words, None, None) == f"exit code 1; {words}"
    assert "out of memory" in explain_exit(-9, "", 2, 3)
    assert "out of memory" not in explain_exit(-9, "", 3, 3)
    assert "want of memory" in explain_exit(-9, "", None, None)
    read, write = os.pipe()
    os.set_blocking(read, False)
    assert read_last_words(read) == ""
    os.close(write)
    assert read_last_words(read) == ""


def test_a_worker_that_is_told_to_end_alone_finishes_and_is_replaced(bundles, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(KEY)
    flags = ("--port", 0, "--workers", 2, "--token-key-file", key, "--drain-seconds", 0.1)
    with started(bundles["mlp"], *flags) as (process, port, lines):
        wait_for(lambda: count(lines, "model") == 2 and ready(port))
        os.kill(children(process.pid)[1], signal.SIGTERM)
        wait_for(lambda: count(lines, "model") == 3)
        assert ready(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
