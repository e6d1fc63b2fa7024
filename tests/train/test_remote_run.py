"""`--run-dir gs://...` from outside: refusals, resuming, and the other commands on it."""

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from remote_runs import PLACE, begin, checkpoint, fetch_elsewhere
from worlds import TINY_RUN

from himari_jax.command import parse, run_command
from himari_jax.errors import InputError, StorageError
from himari_jax.storage import RemoteFolder, list_files, named_address
from train.artifacts.downloads import fetch, refuse_mirror
from train.artifacts.run_folder import local_steps
from train.artifacts.uploads import Uploads, mirror_of
from train.config.ppo import Config
from train.ppo import main
from train.training.resume import PROG, read_flags

pytest_plugins = ["buckets"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--bucket-name", "desk"], "--bucket-name: goes with --model-dir"),
        (["--model-dir", "m"], "--model-dir: goes with --bucket-name"),
        (["--bucket-name", "desk", "--model-dir", "m", "--run-dir", "runs/x"], "--run-dir and --bucket-name"),
        (["--bucket-name", "gs://desk", "--model-dir", "m"], "without gs://"),
        (["--bucket-name", "desk", "--model-dir", "../m"], "gs://BUCKET/PREFIX"),
        (["--run-dir", "gs://"], "gs://: must be gs://BUCKET/PREFIX"),
        (["--run-dir", "gs://desk/a//b"], "gs://BUCKET/PREFIX"),
        (["--resume", "--bucket-name", "desk"], "goes with --model-dir"),
        (["--resume", "--run-dir", "gs://desk/none"], "gs://desk/none: no run is there"),
        (["--run-dir", "gs://desk/foreign"], "not empty and no run"),
    ],
)
def test_addresses_that_name_nothing_are_one_line(machine, capsys, args, message):
    RemoteFolder("gs://desk/foreign").write("letter.txt", b"dear")
    assert run_command(main, args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_bucket_that_cannot_be_used_is_one_line_before_anything_is_trained(machine, capsys, monkeypatch, tmp_path):
    def refused(*args):
        assert run_command(main, list(args)) == 5
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert not Path("runs").exists()
        return error

    assert "gs://none/x: not there" in refused("--run-dir", "gs://none/x")
    monkeypatch.setattr("himari_jax.storage.PATIENCE", 0.1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    assert "check the network" in refused("--run-dir", PLACE)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert "no credentials" in refused("--bucket-name", "desk", "--model-dir", "m")
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    monkeypatch.delitem(sys.modules, "google.cloud.storage", raising=False)
    assert "pip install -e '.[cloud]'" in refused("--resume", "--run-dir", PLACE)


def test_permission_denied_is_one_line_that_names_the_role(machine, monkeypatch):
    from google.api_core.exceptions import Forbidden
    from google.cloud import storage

    def deny(*args, **more):
        raise Forbidden("desk@example.iam does not have storage.objects.create access")

    mirror = begin(1)
    monkeypatch.setattr(storage.Blob, "upload_from_string", deny)
    with pytest.raises(StorageError, match=r"permission denied .*objects.create.*objectUser") as found:
        Uploads(PLACE, mirror, keep=3).__enter__()
    assert "\n" not in str(found.value)


def test_two_spellings_of_an_address_are_one():
    assert named_address("desk", "/models/run/") == PLACE
    spelled = parse(Config, ["--bucket-name", "desk", "--model-dir", "models/run"], PROG).run
    assert spelled.address == parse(Config, ["--run-dir", PLACE + "/"], PROG).run.address == PLACE
    assert parse(Config, ["--run-dir", "runs/x"], PROG).run.address is None


def test_resume_needs_no_other_flag_whatever_the_spelling(machine, capsys):
    begin(1, seed=7)
    for args in (["--run-dir", PLACE], ["--bucket-name", "desk", "--model-dir", "models/run"]):
        machine(args[0])
        config, folder = read_flags(["--resume", *args])
        assert (config.run.seed, config.run.address, folder) == (7, PLACE, mirror_of(PLACE))
    assert capsys.readouterr().out == f"resuming {PLACE}\n" * 2


def test_resume_alone_finds_a_mirror_and_asks_its_bucket(machine):
    begin(1)
    second = machine("second")
    fetch(PLACE)
    machine("first")
    with Uploads(PLACE, mirror_of(PLACE), keep=3):
        checkpoint(mirror_of(PLACE), 2)
    machine("second")
    config, folder = read_flags(["--resume"])
    assert (config.run.address, folder, local_steps(folder)) == (PLACE, second, [1, 2])


def test_a_mirror_is_not_trained_in_behind_the_back_of_its_bucket(machine, tmp_path):
    mirror = begin(1)
    refuse_mirror(mirror, PLACE)
    with pytest.raises(InputError, match=f"the mirror of {PLACE}; name that address"):
        refuse_mirror(mirror, None)
    shutil.copytree(mirror, tmp_path / "copy")
    refuse_mirror(tmp_path / "copy", None)


def train(*args):
    """Trains here: the exit code."""
    return run_command(main, [*TINY_RUN, "--save-interval", "5", *args])


def leaves_at(folder, step):
    """Digests of the state of a checkpoint."""
    from train.artifacts.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder / "checkpoints")
    leaves = checkpoints.meta(step)["leaves"]
    checkpoints.close()
    return leaves


def stop_at(monkeypatch, update):
    """Sends SIGTERM after some updates."""
    from train.training.trainer import Trainer

    whole = Trainer.advance

    def advance(self, updates):
        seconds = whole(self, updates)
        if self.done >= update and self.signal is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return seconds

    monkeypatch.setattr(Trainer, "advance", advance)


@pytest.mark.slow
def test_a_run_stopped_on_one_machine_ends_on_another_as_if_it_had_never_stopped(machine, monkeypatch, capsys):
    assert train("--run-dir", "runs/whole") == 0
    wanted, result = leaves_at(Path("runs/whole"), 8), json.loads(Path("runs/whole/result.json").read_text())
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert train("--run-dir", PLACE) == 75
    output = capsys.readouterr()
    assert re.search(rf"saved in {PLACE}; go on with: \S+ -m train.ppo --resume --run-dir {PLACE}\n", output.err)
    assert f"run folder: {PLACE} (mirror: runs/gs+desk+models+run)" in output.out
    assert "complete/4.json" in list_files(PLACE)
    second = machine("second")
    assert run_command(main, ["--resume", "--bucket-name", "desk", "--model-dir", "models/run"]) == 0
    assert "continuing at update 4" in capsys.readouterr().out
    assert leaves_at(second, 8) == wanted
    third = machine("third")
    assert train("--run-dir", PLACE) == 0  # a finished run prints its table
    assert leaves_at(third, 8) == wanted
    found = json.loads((third / "result.json").read_text())
    assert {k: v for k, v in found.items() if k != "timings"} == {k: v for k, v in result.items() if k != "timings"}
    updates = [json.loads(line)["update"] for line in (third / "metrics.jsonl").read_text().splitlines()]
    assert updates == list(range(1, 9))


@pytest.mark.slow
@pytest.mark.parametrize("requests", [3, 15, 40, 75])
def test_a_bucket_that_goes_away_is_exit_5_and_the_same_command_ends_as_if_it_had_not(
    machine, line, monkeypatch, capsys, requests
):
    assert train("--run-dir", "runs/whole") == 0
    line.left = requests
    assert train("--run-dir", PLACE) == 5
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith(("error: ", "warning: "))]
    assert len(errors) == 1  # beside what the emulator says of its broken pipes
    assert errors[0].startswith(f"error: {PLACE}")
    line.left = None
    if requests == 40:  # what the bucket has is enough on another machine
        machine("second")
        assert "is intact there" in errors[0]
    assert train("--run-dir", PLACE) == 0
    found = leaves_at(fetch_elsewhere(machine), 8)
    machine("first")
    assert found == leaves_at(Path("runs/whole"), 8)


@pytest.mark.slow
def test_a_report_a_backtest_and_a_bundle_are_made_of_a_run_in_a_bucket(machine, capsys):
    from export.bundle import main as bundle
    from train.backtest import main as backtest
    from train.report import main as report

    longer = ["--synthetic.num-bars", "6000"]
    assert train("--bucket-name", "desk", "--model-dir", "models/run", *longer) == 0
    machine("second")
    assert run_command(report, [PLACE]) == 0
    assert run_command(backtest, [PLACE]) == 0
    assert (mirror_of(PLACE) / "backtest" / "report.html").exists()
    machine("third")
    assert run_command(bundle, [PLACE, "--out", "out", "--bucket-name", "desk", "--model-dir", "models/run"]) == 0
    assert json.loads(Path("out/manifest.json").read_text())["name"] == "run"
    assert set(list_files(f"{PLACE}/bundle")) == {"policy.onnx", "golden.npz", "manifest.json"}
    capsys.readouterr()
    assert run_command(bundle, [PLACE, "--out", "two", "--bucket-name", "desk", "--model-dir", "models/run"]) == 2
    assert "is there already" in capsys.readouterr().err
