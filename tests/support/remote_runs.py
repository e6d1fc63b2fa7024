"""Runs in a bucket that nobody had to train."""

import json

from himari_jax.command import parse
from train.artifacts.downloads import fetch
from train.artifacts.uploads import Uploads, mirror_of
from train.config.ppo import Config
from train.config.serialize import to_json
from train.training.resume import PROG

PLACE = "gs://desk/models/run"
FILES = {"_METADATA": b"about", "state/d/one": bytes(range(256)) * 40, "state/d/two": b"2" * 999, "state/empty": b""}


def headers(folder, seed=0, fingerprint="f"):
    """The beginning of a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = to_json(parse(Config, ["--seed", str(seed), "--run-dir", PLACE], PROG))
    data = {"fingerprint": fingerprint, "symbols": ["A"], "bar": "1h"}
    (folder / "config.json").write_text(json.dumps({"flags": flags, "data": data}))


def checkpoint(folder, step):
    """Something with the shape of a checkpoint, and the line that its evaluation wrote."""
    for name, content in FILES.items():
        path = folder / "checkpoints" / str(step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + str(step).encode())
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"update": step}) + "\n")


def begin(*steps, **options):
    """A run that was uploaded at each of these steps."""
    mirror = mirror_of(PLACE)
    headers(mirror, **options)
    with Uploads(PLACE, mirror, keep=3) as uploads:
        for step in steps:
            checkpoint(mirror, step)
            uploads.push()
    return mirror


def content(folder):
    """Every file of a run folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def fetch_elsewhere(machine):
    machine("elsewhere")
    return fetch(PLACE)
