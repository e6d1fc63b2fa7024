"""`train.submit`: the job is of the official message type, its container trains what was typed, faults are one line."""

import json
import sys

import pytest
import yaml
from google_messages import check, messages
from serving import ROOT

from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.storage import RemoteFolder, list_files
from train import submit
from train.artifacts.uploads import Uploads
from train.config.ppo import Config
from train.config.vertex import VertexConfig
from train.distributed.vertex import custom_job, output_folders
from train.training.resume import PROG, begin_flags, read_flags

pytest_plugins = ["buckets"]

WHERE = ["--project", "desk-1234", "--region", "us-central1", "--image=us-docker.pkg.dev/desk/himari/train@sha256:0"]
OLD = ["--bucket-name", "desk", "--model-dir", "models/base", "--num-episodes", "2000", "--save-interval", "100"]
AIP = {
    "AIP_CHECKPOINT_DIR": "gs://desk/models/base/checkpoints/",
    "AIP_MODEL_DIR": "gs://desk/models/base/model/",
    "AIP_TENSORBOARD_LOG_DIR": "gs://desk/models/base/logs/",
}


def printed(capsys, *args):
    """The job that a dry run prints."""
    assert run_command(submit.main, [*WHERE, *args, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "not sent (--dry-run)" in shown.err
    return json.loads(shown.out)


def container(job):
    return job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--replicas", "4", "--strategy", "standard", "--accelerator", "none", "--max-hours", "0.5"],
        [
            *("--tensorboard", "projects/1/locations/us-central1/tensorboards/2"),
            *("--service-account", "a@desk.iam.gserviceaccount.com", "--network", "projects/1/global/networks/n"),
        ],
    ],
)
def test_a_job_is_of_the_official_message_type(more, capsys):
    job, types = printed(capsys, *OLD, *more), messages("aiplatform.v1")
    check(job, types["GoogleCloudAiplatformV1CustomJob"], types)
    assert job["jobSpec"]["scheduling"]["strategy"] == ("STANDARD" if "standard" in more else "SPOT")
    counts = [int(pool["replicaCount"]) for pool in job["jobSpec"]["workerPoolSpecs"]]
    assert counts == ([1, 3] if "--replicas" in more else [1])
    assert job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == "gs://desk/models/base"


def test_the_file_by_hand_is_the_job_that_the_command_makes():
    by_hand = yaml.safe_load((ROOT / "export" / "deploy" / "vertex-train.yaml").read_text())
    found = container(by_hand)
    where = submit.machines(VertexConfig(image=found["imageUri"]))
    output = by_hand["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"]
    assert custom_job("himari-train", where, output, found["args"]) == by_hand
    parse(Config, found["args"], PROG)


@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_the_container_trains_what_was_typed_and_a_spot_machine_saves_often(policy, capsys):
    typed = [*OLD, "--policy", policy, "--display-name", "x"]
    args = container(printed(capsys, *typed))["args"]
    wanted = parse(Config, [*OLD, "--policy", policy, "--save-seconds", "120"], PROG)
    assert parse(Config, args, PROG) == wanted
    args = container(printed(capsys, *typed, "--save-seconds=30"))["args"]
    assert parse(Config, args, PROG).run.save_seconds == 30
    args = container(printed(capsys, *typed, "--strategy", "standard"))["args"]
    assert parse(Config, args, PROG).run.save_seconds == 600


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "missing: --run-dir gs://BUCKET/PREFIX"),
        (["--run-dir", "runs/x"], "missing: --run-dir gs://BUCKET/PREFIX"),
        ([*OLD, "--fresh"], "--fresh: "),
        ([*OLD, "--resume"], "--resume: "),
        ([*OLD, "--config", "x.json"], "--config x.json: the job does not have this file"),
        ([*OLD, "--gamma", "2"], "--gamma 2"),
        ([*OLD, "--no-such"], "--no-such: no such flag"),
        ([*OLD, "--region", "here"], "--region here: must be a region"),
        ([*OLD, "--tensorboard", "projects/1/locations/r/tensorboards/2"], "with --service-account"),
    ],
)
def test_what_could_not_train_is_refused_before_it_costs_anything(args, message, capsys):
    assert run_command(submit.main, [*WHERE, *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


class Answer:
    def __init__(self, status, content):
        self.status_code, self.text = status, content if isinstance(content, str) else json.dumps(content)


class Session:
    """A session that records requests and returns one answer."""

    def __init__(self, status, content):
        self.answer, self.asked = Answer(status, content), []

    def request(self, method, address, json, timeout):
        self.asked.append((method, address, json))
        return self.answer


def test_with_credentials_the_job_is_sent_and_where_to_watch_it_is_said(capsys, monkeypatch):
    wanted = printed(capsys, *OLD)
    answer = {"name": "projects/1/locations/us-central1/customJobs/77", "state": "JOB_STATE_PENDING"}
    session = Session(200, answer)
    monkeypatch.setattr(submit, "open_session", lambda: session)
    assert run_command(submit.main, [*WHERE, *OLD]) == 0
    place = "https://us-central1-aiplatform.googleapis.com/v1/projects/desk-1234/locations/us-central1/customJobs"
    assert session.asked == [("POST", place, wanted)]
    shown = capsys.readouterr().out
    assert "sent: projects/1/locations/us-central1/customJobs/77, JOB_STATE_PENDING" in shown
    assert "stream-logs 77" in shown


@pytest.mark.parametrize(
    ("status", "content", "code", "message"),
    [
        (403, {"error": {"message": "no\npermission"}}, 5, "permission denied (no permission); the account needs"),
        (400, {"error": {"message": "machine type"}}, 2, "refused (400: machine type)"),
        (429, "too many", 2, "refused (429: too many)"),
        (503, "<html>busy</html>", 5, "503: <html>busy</html>; try again"),
    ],
)
def test_a_refused_job_is_one_line(status, content, code, message, capsys, monkeypatch):
    monkeypatch.setattr(submit, "open_session", lambda: Session(status, content))
    assert run_command(submit.main, [*WHERE, *OLD]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_without_credentials_or_library_the_job_is_printed_and_it_is_said_that_nothing_was_sent(
    capsys, monkeypatch, tmp_path
):
    wanted = printed(capsys, *OLD)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    for reason in ("no credentials of Google Cloud were found", "google-auth is not installed"):
        assert run_command(submit.main, [*WHERE, *OLD, "--data", "candles"]) == 0
        shown = capsys.readouterr()
        assert container(json.loads(shown.out))["args"][-4:-2] == ["--data", "candles"]
        assert json.loads(shown.out)["jobSpec"]["scheduling"] == wanted["jobSpec"]["scheduling"]
        assert f"not sent ({reason}" in shown.err
        assert "gcloud ai custom-jobs create --project=desk-1234 --region=us-central1" in shown.err
        assert "note: --data candles: is looked for in the image" in shown.err
        monkeypatch.setitem(sys.modules, "google.auth", None)


def test_vertex_ai_names_the_run_folder_whose_checkpoints_it_means_and_flags_win(monkeypatch):
    assert output_folders({}) == (None, None, None)
    assert output_folders(AIP) == tuple(f"gs://desk/models/base{end}" for end in ("", "/model", "/logs"))
    assert begin_flags([], AIP).run.address == "gs://desk/models/base"
    for args in (["--run-dir", "runs/x"], ["--bucket-name", "desk", "--model-dir", "m"]):
        assert begin_flags(args, AIP) == begin_flags(args, {})
    for name, value in AIP.items():
        monkeypatch.setenv(name, value)
    assert read_flags([])[0].run.run_dir == "gs://desk/models/base"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AIP_CHECKPOINT_DIR", "gs://desk/saved/", "gs://BUCKET/.../checkpoints, or give --run-dir"),
        ("AIP_CHECKPOINT_DIR", "gs://checkpoints", "or give --run-dir"),
        ("AIP_MODEL_DIR", "/models", "must be gs://BUCKET/PREFIX"),
        ("AIP_TENSORBOARD_LOG_DIR", "gs://", "must be gs://BUCKET/PREFIX"),
    ],
)
def test_a_variable_that_names_no_such_folder_is_one_line_that_names_it(name, value, message):
    with pytest.raises(InputError) as found:
        output_folders({name: value})
    assert str(found.value).startswith(f"${name} ")
    assert message in str(found.value)


def test_events_go_to_the_folder_for_tensorboard_as_well_and_nothing_else_does(bucket, tmp_path):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"one")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with Uploads("gs://desk/run", tmp_path, 3, logs="gs://desk/run/logs") as sending:
        sending.push()
        sending.finish()
        (tmp_path / "events.out.tfevents.1.host").write_bytes(b"one, two")
    assert list_files("gs://desk/run/logs") == {"events.out.tfevents.1.host": 8}
    assert RemoteFolder("gs://desk/run").read("events.out.tfevents.1.host") == b"one, two"
