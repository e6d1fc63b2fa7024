"""`python -m train.submit`: the training that the flags of `train.ppo` name, as a CustomJob of Vertex AI."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import tyro

from himari_jax.cli import invocation
from himari_jax.command import flag, run_command
from himari_jax.errors import InputError, StorageError
from himari_jax.google_api import open_session
from himari_jax.stopping import exit_at_signals
from train.config.ppo import Config
from train.config.vertex import VertexConfig
from train.distributed.vertex import Machines, custom_job, gcloud_line, send_job
from train.training.resume import Flags, fields_of, file_defaults, hyphened, named, parse_kind

PROG = invocation("train.submit")
SAVE_SECONDS = 120  # of a spot machine, which ends within 30 s of a notice, or without one
FILE = "job.json"
FILES = ("--data", "--base-positions")


@dataclass(frozen=True)
class SubmitFlags(Flags):
    """Send a training to Vertex AI as a CustomJob. Its flags are those of train.ppo, and where it runs."""

    vertex: tyro.conf.OmitArgPrefixes[VertexConfig] = field(default_factory=VertexConfig)


def main(args: Sequence[str]) -> int:
    """Builds the job and sends it, or prints what would be sent; returns the exit code."""
    exit_at_signals("stopped; the console says whether the job was sent")
    args = [hyphened(word) for word in args]
    vertex, address = read_flags(args)
    for line in doubts(args):
        print(f"note: {line}", file=sys.stderr)
    job = custom_job(vertex.display_name, machines(vertex), address, training_words(args, vertex.strategy == "spot"))
    project, region = str(vertex.project), str(vertex.region)
    session, reason = (None, "--dry-run") if vertex.dry_run else open_session_or_reason()
    if session is not None:
        print_sent(send_job(session, project, region, job), project, region, address)
        return 0
    print(json.dumps(job, indent=2))
    line = gcloud_line(project, region, vertex.display_name, FILE)
    print(f"not sent ({reason}). With the value of jobSpec in {FILE}, this sends it:\n{line}", file=sys.stderr)
    return 0


def read_flags(args: Sequence[str]) -> tuple[VertexConfig, str]:
    """Reads where the job runs, and the address of the run; checks the flags of the training before it costs anything.

    Raises:
        InputError: one line.
    """
    if "--resume" in args:
        raise InputError("--resume: a job goes on with its run folder by itself; give the flags of the run")
    if "--fresh" in args:
        raise InputError("--fresh: a job that starts again would refuse its own run folder; leave it out")
    if (file := named(args, "--config")) is not None and "--help" not in args:
        raise InputError(f"--config {file}: the job does not have this file; give its settings as flags")
    default = file_defaults(args)
    flags = parse_kind(SubmitFlags, args, PROG, None if default is None else SubmitFlags(**fields_of(default)))
    base, vertex = Config(**fields_of(flags)), flags.vertex
    missing = [flag(name) for name in ("project", "region", "image") if getattr(vertex, name) is None]
    if base.run.address is None:
        missing.append("--run-dir gs://BUCKET/PREFIX (or --bucket-name and --model-dir)")
    if missing:
        raise InputError(f"missing: {', '.join(missing)}; see {PROG} --help")
    return vertex, str(base.run.address)


def machines(config: VertexConfig) -> Machines:
    """Machines that the job runs on."""
    return Machines(
        image=str(config.image),
        machine_type=config.machine_type,
        accelerator=None if config.accelerator == "none" else config.accelerator,
        accelerator_count=config.accelerator_count,
        replicas=config.replicas,
        spot=config.strategy == "spot",
        max_hours=config.max_hours,
        service_account=config.service_account,
        tensorboard=config.tensorboard,
        network=config.network,
    )


def training_words(args: Sequence[str], spot: bool) -> list[str]:
    """Picks the words of a command line that are for `train.ppo`; a spot machine saves often by default.

    Args:
        args: flags with hyphens.
        spot: whether the machine may be taken away.
    """
    own, words, rest = {flag(each.name) for each in fields(VertexConfig)}, [], iter(args)
    for word in rest:
        if word.partition("=")[0] not in own:
            words.append(word)
        elif "=" not in word and word != "--dry-run":
            next(rest)
    if spot and named(args, "--save-seconds") is None:
        words += ["--save-seconds", str(SAVE_SECONDS)]
    return words


def doubts(args: Sequence[str]) -> list[str]:
    """Lines about files that the job may not have: it sees its image, and buckets under /gcs."""
    found = {name: named(args, name) for name in FILES}
    return [
        f"{name} {value}: is looked for in the image; a bucket is /gcs/BUCKET there"
        for name, value in found.items()
        if value is not None and not value.startswith("/gcs/")
    ]


def open_session_or_reason() -> tuple[Any, str]:
    """Opens a session with credentials; None and the reason where there are none."""
    try:
        return open_session(), ""
    except StorageError as error:
        return None, str(error)


def print_sent(answer: dict[str, Any], project: str, region: str, address: str) -> None:
    """Says what was sent, where its results will be and how to watch it."""
    name = str(answer.get("name", ""))
    print(f"sent: {name}, {answer.get('state', 'no state yet')}")
    print(f"run folder: {address}; bundle, when it is done: {address.rstrip('/')}/model")
    number = name.rpartition("/")[2]
    print(f"watch it: gcloud ai custom-jobs stream-logs {number} --project={project} --region={region}")


if __name__ == "__main__":
    sys.exit(run_command(main))
