import http.client
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from processes import ask, free_port, ready, started
from serving import Desk, copy_bundle, multipliers, point, wait_for

pytest_plugins = ["server_fixtures"]


def balancer(port, body, answers, lost, stop):
    """Sends requests as long as the server says that it is ready, like a load balancer would."""
    while not stop.is_set():
        try:
            if not ready(port):
                return
            answers.append(ask(port, "POST", "/predict", body))
        except Exception as error:
            lost.append(error)


def test_sigterm_under_load_loses_no_request_and_exits_0_within_8_seconds(bundles):
    body = json.dumps({"instances": [Desk(bundles["mlp"]).seen()]}).encode()
    with started(bundles["mlp"], "--port", 0) as (process, port, lines):
        wait_for(lambda: ready(port))
        answers, lost, stop = [], [], threading.Event()
        threads = [threading.Thread(target=balancer, args=(port, body, answers, lost, stop)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(answers) > 50)
        # A request whose body is still on its way when the signal comes.
        slow = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        slow.putrequest("POST", "/predict")
        slow.putheader("content-length", str(len(body)))
        slow.endheaders(body[:100])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        wait_for(lambda: not ready(port))
        assert ask(port, "GET", "/health/live")[0] == 200
        assert ask(port, "GET", "/health/ready")[0] == 503
        time.sleep(2)
        slow.send(body[100:])
        assert slow.getresponse().status == 200
        assert process.wait(8) == 0
        assert time.monotonic() - start < 8
        stop.set()
        for thread in threads:
            thread.join()
        assert not lost
        assert {status for status, _ in answers} == {200}
    assert lines[-1]["event"] == "stopped"


def test_an_idle_server_ends_at_once_and_the_second_signal_ends_any(bundles):
    for signals in ([signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]):
        with started(bundles["mlp"], "--port", 0, "--drain-seconds", 1) as (process, port, _):
            wait_for(lambda port=port: ready(port))
            for number in signals:
                process.send_signal(number)
                time.sleep(0.1)
            assert process.wait(6) == 0
            assert process.stderr.read() == ""


def test_current_is_watched_and_answers_come_from_the_new_version(bundles, tmp_path):
    with started(tmp_path, "--port", 0) as (process, port, lines):
        assert ask(port, "GET", "/health/live")[0] == 200
        assert ask(port, "GET", "/health/ready")[0] == 503
        assert ask(port, "POST", "/predict", b"{}")[0] == 503
        for name in ("one", "two"):
            copy_bundle(bundles["mlp"], tmp_path / f"{name}.part", version=name).rename(tmp_path / name)
            point(tmp_path, name)
            wait_for(lambda name=name: [x["version"] for x in lines if x["event"] == "model"][-1:] == [name])
        assert json.loads(ask(port, "GET", "/manifest")[1])["version"] == "two"
        (tmp_path / "three").mkdir()
        point(tmp_path, "three")
        wait_for(lambda: any(x["event"] == "bundle_refused" for x in lines))
        assert ready(port)
        assert b"himari_rejected_bundles_total" in ask(port, "GET", "/metrics")[1]
        assert process.poll() is None


def test_the_environment_of_vertex_and_cloud_run_is_followed(bundles, tmp_path):
    key = tmp_path / "key"
    key.write_text("correct horse\n")
    free = {"AIP_HTTP_PORT": str(free_port()), "PORT": "1"}
    routes = {"AIP_PREDICT_ROUTE": "/v1:predict", "AIP_HEALTH_ROUTE": "/v1/health"}
    body = json.dumps({"instances": [Desk(bundles["mlp"]).seen()]}).encode()
    with started(bundles["mlp"], "--api-key-file", key, **free, **routes) as (_, port, _lines):
        assert str(port) == free["AIP_HTTP_PORT"]
        wait_for(lambda: ready(port))
        assert ask(port, "GET", "/v1/health")[0] == 200
        assert ask(port, "POST", "/v1:predict", body)[0] == 401
        assert ask(port, "POST", "/v1:predict", body, {"X-API-Key": "correct horse"})[0] == 200


def test_replicas_with_one_key_take_each_others_tokens(bundles, tmp_path):
    key, desk = tmp_path / "key", Desk(bundles["lstm"])
    key.write_bytes(os.urandom(32).hex().encode())
    args = (bundles["lstm"], "--port", 0, "--token-key-file", key)
    with started(*args) as (_, one, _a), started(*args) as (_, two, _b):
        token = None
        for k in range(4):
            port = (one, two)[k % 2]
            wait_for(lambda port=port: ready(port))
            instance = desk.seen(k) | ({} if token is None else {"carry": token})
            status, answer = ask(port, "POST", "/predict", json.dumps({"instances": [instance]}))
            assert status == 200
            prediction = json.loads(answer)["predictions"][0]
            token = prediction["carry"]
            assert multipliers(prediction) == pytest.approx(desk.golden["multiplier"][k], abs=1e-6)


def test_workers_share_key_socket_and_numbers_and_one_that_falls_is_started_again(bundles, tmp_path):
    key, desk = tmp_path / "key", Desk(bundles["lstm"])
    key.write_bytes(os.urandom(32).hex().encode())
    with started(bundles["lstm"], "--port", 0, "--workers", 2, "--token-key-file", key) as (process, port, lines):
        wait_for(lambda: sum(x["event"] == "model" for x in lines) == 2)
        token = {}
        for k in range(20):
            status, answer = ask(port, "POST", "/predict", json.dumps({"instances": [desk.seen(k, **token)]}))
            assert status == 200
            token = {"carry": json.loads(answer)["predictions"][0]["carry"]}
        assert b"himari_predictions_total 20.0" in ask(port, "GET", "/metrics")[1]
        child = int(subprocess.check_output(["pgrep", "-P", str(process.pid)]).split()[0])
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: sum(x["event"] == "model" for x in lines) == 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(8) == 0


BAD_FLAGS = {
    "no such folder": (["/nowhere/at/all"], {}, 2, "no such folder"),
    "a port too far": ([".", "--port", "70000"], {}, 2, "--port"),
    "workers without a key": ([".", "--workers", "2"], {}, 2, "--token-key-file"),
    "a key that is not there": ([".", "--port", "0", "--api-key-file", "/nowhere"], {}, 2, "--api-key-file"),
    "a short key": ([".", "--port", "0", "--token-key-file", "/dev/null"], {}, 2, "--token-key-file"),
    "a variable that is no port": (["."], {"AIP_HTTP_PORT": "x"}, 2, "AIP_HTTP_PORT"),
    "a route that is none": ([".", "--port", "0"], {"AIP_PREDICT_ROUTE": "predict"}, 2, "AIP_PREDICT_ROUTE"),
    "a flag misspelt": ([".", "--max-age-bar", "2"], {}, 2, "--max-age-bars"),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_bad_settings_are_one_line_and_an_exit_code(name, monkeypatch, capsys):
    from export.server import main
    from himari_jax.command import run_command

    args, environment, code, word = BAD_FLAGS[name]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert run_command(main, args) == code
    info = capsys.readouterr().err
    assert info.startswith("error: ")
    assert word in info
    assert info.count("\n") == 1


def test_a_port_that_is_taken_is_said(bundles, capsys):
    import socket

    from export.server import main
    from himari_jax.command import run_command

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        assert run_command(main, [str(bundles["mlp"]), "--host", "127.0.0.1", "--port", str(port)]) == 5
    assert f"--port {port}" in capsys.readouterr().err
