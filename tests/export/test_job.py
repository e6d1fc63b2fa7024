"""The job of the training image: signals reach the training, the bundle is the run's, or is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import ROOT
from worlds import TINY_RUN

import export.job
from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.storage import RemoteFolder, list_files

pytest_plugins = ["buckets"]

AIP = {"AIP_CHECKPOINT_DIR": "gs://desk/m/checkpoints/", "AIP_MODEL_DIR": "gs://desk/m/model/"}
RELAY = "import sys\nfrom export.job import Relay\nsys.exit(Relay().run('http.server', '0', '--bind', '127.0.0.1'))"


def make_bundle(folder, step=1, graph="graph"):
    """Something with the shape of a bundle."""
    folder.mkdir()
    (folder / "policy.onnx").write_text(graph)
    manifest = {"checkpoint": {"step": step}, "config": {}, "data": {}, "made_by": str(time.time())}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_bundle_is_published_once_and_another_model_never_replaces_it(bucket, tmp_path, capsys):
    export.job.publish(make_bundle(tmp_path / "one"), "gs://desk/m/model")
    export.job.publish(make_bundle(tmp_path / "again", graph="rounded"), "gs://desk/m/model")
    assert "is there already" in capsys.readouterr().out
    with pytest.raises(InputError, match="the bundle of another model is there"):
        export.job.publish(make_bundle(tmp_path / "longer", step=2), "gs://desk/m/model")
    assert RemoteFolder("gs://desk/m/model").read("policy.onnx") == b"graph"


def test_a_bundle_whose_upload_broke_off_is_replaced(bucket, tmp_path):
    remote = RemoteFolder("gs://desk/m/model")
    remote.write("policy.onnx", b"half")
    remote.write("golden.npz", b"half")
    export.job.publish(make_bundle(tmp_path / "one"), "gs://desk/m/model")
    assert set(list_files("gs://desk/m/model")) == {"policy.onnx", "manifest.json"}


class FakeRelay:
    """Runs no command: writes down which, and answers with a code."""

    def __init__(self, code=0):
        self.code, self.ran = code, []

    def run(self, module, *args):
        self.ran.append((module, *args))
        if module == "export.bundle":
            make_bundle(Path(args[args.index("--out") + 1]))
        return self.code


@pytest.mark.parametrize(
    ("args", "more", "code", "ran"),
    [
        ([], {}, 0, ["train.ppo", "export.bundle"]),
        ([], {}, 75, ["train.ppo"]),
        (["--env", "merton"], {}, 0, ["train.ppo"]),
        ([], {"AIP_MODEL_DIR": ""}, 0, ["train.ppo"]),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "1"], {}, 0, ["train.ppo"]),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "0"], {}, 0, ["train.ppo", "export.bundle"]),
    ],
)
def test_the_process_that_writes_exports_what_was_trained(args, more, code, ran, bucket, monkeypatch):
    for name, value in (AIP | more).items():
        monkeypatch.setenv(name, value)
    relay = FakeRelay(code)
    monkeypatch.setattr(export.job, "Relay", lambda: relay)
    assert run_command(export.job.main, args) == code
    assert [module for module, *_ in relay.ran] == ran
    assert relay.ran[0] == ("train.ppo", *args)
    assert ("manifest.json" in list_files("gs://desk/m/model")) == (len(ran) == 2)
    if len(ran) == 2:
        assert relay.ran[1][1] == "gs://desk/m"


@pytest.mark.parametrize("args", [["--resume"], ["--run-dir", "runs/x"], ["--gamma", "2"]])
def test_what_no_job_can_do_is_one_line_before_anything_runs(args, monkeypatch, capsys):
    for name, value in AIP.items():
        monkeypatch.setenv(name, value)
    relay = FakeRelay()
    monkeypatch.setattr(export.job, "Relay", lambda: relay)
    assert run_command(export.job.main, args) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert relay.ran == []


def test_a_signal_to_the_first_process_reaches_the_command_and_its_end_is_the_answer():
    with subprocess.Popen([sys.executable, "-c", RELAY], cwd=ROOT, stdout=subprocess.PIPE, text=True) as job:
        assert "Serving" in job.stdout.readline()
        job.send_signal(signal.SIGTERM)
        assert job.wait(30) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_job_that_was_stopped_ends_when_it_is_started_again_and_leaves_run_events_and_bundle(bucket, tmp_path):
    words = [sys.executable, "-u", "-m", "export.job", *TINY_RUN, "--synthetic.num-bars", "6000"]
    env = os.environ | AIP | {"AIP_TENSORBOARD_LOG_DIR": "gs://desk/m/logs/", "PYTHONPATH": str(ROOT)}
    for stop in (True, False):
        place = tmp_path / str(stop)  # another machine
        place.mkdir()
        longer = [] if not stop else ["--total-steps", "2000000"]
        with subprocess.Popen([*words, *longer], cwd=place, env=env, stdout=subprocess.PIPE, text=True) as job:
            if stop:
                next(line for line in job.stdout if line.startswith("run folder"))
                job.send_signal(signal.SIGTERM)
            job.communicate(timeout=300)
        assert job.returncode == (75 if stop else 0)
    names = list_files("gs://desk/m")
    assert {"result.json", "model/manifest.json", "model/policy.onnx"} <= set(names)
    assert any(name.startswith("logs/events.out.tfevents.") for name in names)
