"""A walk-forward test that is stopped or killed anywhere ends as it would have ended, and null markets are kept."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from walks import COMMON, walk_command

from train.studies.walk_forward import nulls
from train.training.kept import Kept
from train.training.nulls import Results

ROOT = Path(__file__).parents[2]
# Null markets are trained one by one, with as many members as the test itself: one program serves all.
FLAGS = [*COMMON, "--num-seeds", "2", "--batch-size", "6", "--permutations", "3", "--placebo", "25d"]


class Killed(BaseException):
    """Raised to kill a walk-forward test in its own process."""


def outcome(folder):
    """result.json without times."""
    result = json.loads((folder / "result.json").read_text())
    del result["timings"], result["walk_forward"]["timings"]
    return result


def drawn(folder):
    """Lines of nulls.jsonl."""
    return [json.loads(line) for line in (folder / "nulls.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a test that nothing disturbed; only to be read."""
    folder = tmp_path_factory.mktemp("whole") / "test"
    assert walk_command(*FLAGS, "--run-dir", str(folder)) == 0
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Numbers of the permuted markets that are made."""
    made, permuted = [], nulls.permuted

    def watched(prepared, kind, seed, draw):
        made.append(draw)
        return permuted(prepared, kind, seed, draw)

    monkeypatch.setattr(nulls, "permuted", watched)
    return made


def die_at(patch, owner, name, call, after=False, harm=None):
    """Kills at the n-th call of a method, before or after it is done; harm is done to what it wrote."""
    method, calls = getattr(owner, name), []

    def dying(self, *args):
        calls.append(args)
        if len(calls) == call and not after:
            raise Killed
        method(self, *args)
        if len(calls) == call:
            if harm:
                harm(self)
            raise Killed

    patch.setattr(owner, name, dying)


def tear(results):
    results.path.write_bytes(results.path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("owner", "name", "call", "more", "left"),
    [
        (Kept, "keep", 1, {}, [0, 1, 2]),
        (Kept, "keep", 6, {"after": True}, [0, 1, 2]),
        (Results, "add", 1, {}, [0, 1, 2]),  # the placebo
        (Results, "add", 3, {"after": True}, [2]),
        (Results, "add", 3, {"after": True, "harm": tear}, [1, 2]),
    ],
)
def test_a_test_that_dies_anywhere_ends_as_it_would_have(whole, trained, tmp_path, owner, name, call, more, left):
    folder = tmp_path / "test"
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, owner, name, call, **more)
        with pytest.raises(Killed):
            walk_command(*FLAGS, "--run-dir", str(folder))
    assert not (folder / "result.json").exists()
    trained.clear()
    assert walk_command("--resume", "--run-dir", str(folder)) == 0
    assert trained == left
    assert outcome(folder) == outcome(whole)


def test_a_signal_stops_it_with_75_and_the_command_to_go_on(whole, trained, tmp_path, monkeypatch, capsys):
    watched = nulls.permuted

    def signalled(prepared, kind, seed, draw):
        if draw == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return watched(prepared, kind, seed, draw)

    monkeypatch.setattr(nulls, "permuted", signalled)
    before = signal.getsignal(signal.SIGTERM)
    assert walk_command(*FLAGS, "--run-dir", str(tmp_path / "test")) == 75
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err.strip().splitlines()[-1]
    command = re.search(r"go on with: \S+ -m train\.walk_forward (.*)", said)
    assert command is not None
    monkeypatch.setattr(nulls, "permuted", watched)
    trained.clear()
    assert walk_command(*command[1].split()) == 0
    assert trained == [1, 2]
    assert outcome(tmp_path / "test") == outcome(whole)


def test_more_permutations_keep_those_that_were_drawn(whole, trained, tmp_path):
    folder = tmp_path / "test"
    subprocess.run(["cp", "-r", whole, folder], check=True)
    known = outcome(whole)["walk_forward"]["permutations"]
    assert walk_command(*FLAGS, "--run-dir", str(folder), "--permutations", "5") == 0
    assert trained == [3, 4]
    found = outcome(folder)["walk_forward"]["permutations"]
    assert found["null"][:3] == known["null"]
    assert found["p"] == (1 + sum(x >= found["value"] for x in found["null"])) / 6
    assert outcome(folder)["trials"] == outcome(whole)["trials"], "the same trial is counted once"
    assert [each.get("draw") for each in drawn(folder)] == [None, 0, 1, 2, 3, 4]
    assert walk_command(*FLAGS, "--run-dir", str(folder), "--permutations", "4") == 0
    assert trained == [3, 4]
    assert walk_command(*FLAGS, "--run-dir", str(folder), "--permute", "blocks", "--permutations", "1") == 0
    assert trained == [3, 4, 0], "another kind of permutation is another test"
    assert outcome(folder)["walk_forward"]["permutations"]["kind"] == "blocks"


def test_damaged_trainings_are_trained_anew(whole, tmp_path, capsys):
    folder = tmp_path / "test"
    subprocess.run(["cp", "-r", whole, folder], check=True)
    (folder / "result.json").unlink()
    for path in (folder / "members").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert walk_command("--resume", "--run-dir", str(folder)) == 0
    assert len(set(re.findall(r"/(\w+)\.npz is damaged", capsys.readouterr().err))) == 6
    assert outcome(folder) == outcome(whole)


def start(folder, *more):
    words = [sys.executable, "-u", "-m", "train.walk_forward", *FLAGS, "--run-dir", str(folder), *more]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_test_that_is_killed_twice_at_random_ends_as_it_would_have(tmp_path):
    more = ["--batch-size", "2", "--permutations", "20"]
    begun = time.monotonic()
    undisturbed = start(tmp_path / "whole" / "test", *more)
    assert undisturbed.wait() == 0, undisturbed.stderr.read()
    seconds, rng = time.monotonic() - begun, random.Random(os.environ.get("SEED", 0))
    for _ in range(2):
        cut = start(tmp_path / "cut" / "test", *more)
        time.sleep(rng.uniform(0.2, 0.7) * seconds)
        cut.send_signal(signal.SIGKILL)
        cut.wait()
    cut = start(tmp_path / "cut" / "test", *more)
    assert cut.wait() == 0, cut.stderr.read()
    assert outcome(tmp_path / "cut" / "test") == outcome(tmp_path / "whole" / "test")


@pytest.mark.slow
def test_a_process_that_is_asked_to_stop_says_how_it_goes_on(tmp_path):
    process = start(tmp_path / "test", "--permutations", "5000")
    while "permuted" not in process.stdout.readline():
        assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 75
    assert f"--resume --run-dir {tmp_path / 'test'}" in process.stderr.read()
