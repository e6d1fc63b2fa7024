"""Candidates are verified in a process of their own, within limits; what passes is tried again, what is damaged not."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from mutations import inflate
from serving import ROOT, Desk, copy_bundle, point

from export.serving.models import candidates as module
from export.serving.models import model_store
from export.serving.models.candidates import Abandoned, Candidates, Limits, Verdicts
from himari_jax.errors import InputError, StorageError

pytest_plugins = ["server_fixtures"]

SIGNATURE = (("a", 1, 2, 3),)


def ask(folder, limits=module.LIMITS, is_abandoned=lambda: False):
    return Candidates(limits=limits).load(folder, SIGNATURE, is_abandoned)


def test_a_candidate_that_holds_is_served_and_one_that_fills_memory_is_not(versions):
    desk = Desk(versions, candidates=Candidates())
    before = desk.predict(desk.seen_of("one"))
    inflate(versions / "two")
    point(versions, "two")
    start = time.monotonic()
    assert not desk.store.refresh()
    assert not desk.store.refresh()
    assert time.monotonic() - start < Limits().seconds
    assert desk.refused == [f"{versions / 'two'}: verifying it takes more than 512 MB; --candidate-mb allows more"]
    assert desk.predict(desk.seen_of("one")) == before


def instead(monkeypatch, code):
    """Runs other code in the place of the process that verifies."""
    monkeypatch.setattr(
        module, "START", f"import json, os, signal, sys, time; sys.path[:] = json.loads(sys.argv[1]); {code}"
    )


LIMITED = "from export.serving.models.candidate_process import limit_resources; limit_resources(64, 0); "


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (LIMITED + "exec('while True: pass')", "more than 20 s of the processor"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
    ],
)
def test_a_candidate_that_ends_its_process_is_refused(bundles, monkeypatch, code, says):
    instead(monkeypatch, code)
    with pytest.raises(InputError, match=says):
        ask(bundles["mlp"])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed"),
        ("time.sleep(60)", "not verified within 0.5 s"),
        ("raise SystemExit('no library')", "ended with 1: no library"),
        ("print(json.dumps({'passing': 'the bucket does not answer'}))", "the bucket does not answer"),
    ],
)
def test_what_is_no_fault_of_the_candidate_may_pass(bundles, monkeypatch, code, says):
    instead(monkeypatch, code)
    with pytest.raises(StorageError, match=says):
        ask(bundles["mlp"], Limits(seconds=0.5 if "sleep" in code else 60))


def test_no_process_is_left_where_nobody_waits_any_more(bundles, monkeypatch):
    started = []
    honest = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: started.append(honest(*args, **more)) or started[-1])
    instead(monkeypatch, "time.sleep(60)")
    with pytest.raises(Abandoned):
        ask(bundles["mlp"], is_abandoned=lambda: True)
    assert started[0].returncode == -signal.SIGKILL


def test_the_process_that_verifies_may_write_no_file(tmp_path):
    code = LIMITED + "os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), b'x')"
    command = [sys.executable, "-c", f"import os, sys; {code}", str(tmp_path / "file")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "File too large" in found.stderr
    assert not (tmp_path / "file").read_bytes()


def test_the_bytes_that_are_loaded_are_those_that_were_verified(versions, monkeypatch):
    two, honest = versions / "two", Candidates.ask

    def change_after(self, folder, is_abandoned):
        verdict = honest(self, folder, is_abandoned)
        shutil.rmtree(two)
        copy_bundle(versions / "one", two, version="three")
        return verdict

    monkeypatch.setattr(Candidates, "ask", change_after)
    with pytest.raises(StorageError, match="changed while it was verified"):
        ask(two)
    graph = (two / "policy.onnx").read_bytes()
    monkeypatch.setattr(Candidates, "ask", lambda *_: {"digest": "whatever was verified"})
    (two / "policy.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    with pytest.raises(InputError, match="its SHA-256 is not the one"):
        ask(two)


def test_a_verdict_is_of_one_state_of_the_files():
    verdicts = Verdicts()
    with verdicts.alone():
        assert verdicts.find(SIGNATURE) is None
        verdicts.keep(SIGNATURE, {"refused": "x" * 1000})
        assert verdicts.find(SIGNATURE) == {"refused": "x" * 1000}
        assert verdicts.find((("a", 2, 2, 3),)) is None
        verdicts.keep((), {"digest": "0"})
        assert verdicts.find(()) == {"digest": "0"}


def test_of_several_workers_one_verifies(tmp_path):
    code = """
import os, sys, time
from pathlib import Path
from export.serving.models.candidates import Candidates, Verdicts
def ask(self, folder, is_abandoned):
    with open(sys.argv[1], "a") as file:
        file.write("asked ")
    time.sleep(0.3)
    return {"refused": "too bad"}
Candidates.ask = ask
candidates, parent = Candidates(verdicts=Verdicts()), os.getpid()
for _ in range(3):
    if os.getpid() == parent:
        os.fork()
os.write(1, (candidates.verify(Path("there"), (("a", 1, 2, 3),), bool)["refused"] + "\\n").encode())  # a line at once
if os.getpid() == parent:
    for _ in range(3):
        os.wait()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "asked")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.split("\n")[:4] == ["too bad"] * 4
    assert (tmp_path / "asked").read_text() == "asked "


class Bucket(Candidates):
    """A mounted bucket that cannot be read at first."""

    failures = 7

    def load(self, folder, signature, is_abandoned):
        if Bucket.failures:
            Bucket.failures -= 1
            raise StorageError(f"{folder}: Input/output error")
        return super().load(folder, signature, is_abandoned)


def test_a_candidate_that_cannot_be_read_is_tried_again_each_time_later(versions, monkeypatch):
    desk = Desk(versions, candidates=Candidates())
    desk.store.candidates = Bucket()
    now, tries = [1000.0], []
    monkeypatch.setattr(model_store.time, "monotonic", lambda: now[0])
    point(versions, "two")
    left = Bucket.failures
    while not desk.store.refresh():
        if Bucket.failures < left:
            left, tries = Bucket.failures, [*tries, now[0] - 1000.0]
        now[0] += 0.5
    assert tries == [0, 1, 3, 7, 15, 31, 63]
    assert now[0] - 1000.0 == 63 + model_store.MOST_PAUSE
    assert desk.model.version == "two"
    assert desk.refused == [f"{versions / 'two'}: Input/output error; it is tried again"]


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize(
    "make",
    [huge, os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to("/dev/zero")],
)
def test_a_pointer_that_is_none_is_refused_at_once(versions, make):
    desk = Desk(versions)
    (versions / "CURRENT").unlink()
    make(versions / "CURRENT")
    start = time.monotonic()
    assert not desk.store.refresh()
    assert time.monotonic() - start < 2
    assert len(desk.refused) == 1
    assert desk.model.version == "one"
