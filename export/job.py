"""`python -m export.job`: command of the image of export/deploy/Dockerfile.train: trains, then exports the bundle.

The flags are those of `train.ppo`. The bundle goes to AIP_MODEL_DIR, which Vertex AI sets; without it, there is
none.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from himari_jax.command import run_command
from himari_jax.errors import InputError, Preempted
from himari_jax.storage import RemoteFolder, upload_folder
from train.distributed.processes import find_place
from train.distributed.vertex import MODEL, output_folders
from train.training.resume import begin_flags, hyphened

MANIFEST = "manifest.json"  # is written last
SAME = ("checkpoint", "config", "data")  # of two manifests of one model


def main(args: Sequence[str]) -> int:
    """Trains, and exports where this is the process that writes; returns the exit code of what failed."""
    relay = Relay()
    args = [hyphened(word) for word in args]
    if "--resume" in args:
        raise InputError("--resume: a job goes on with its run folder by itself; give the flags of the run")
    config = begin_flags(args, os.environ)
    run, target = config.run, output_folders(os.environ).model
    place = find_place(run.coordinator, run.num_processes, run.process_id, os.environ)
    if target is not None and run.address is None:
        raise InputError(f"${MODEL} {target}: a bundle needs a run in a bucket; give --run-dir gs://BUCKET/PREFIX")
    code = relay.run("train.ppo", *args)
    writes = place is None or not place.process_id
    if code or target is None or not writes:
        return code
    if config.data.env is not None:
        print(f"--env {config.data.env}: a known optimum has no bundle")
        return 0
    with tempfile.TemporaryDirectory(prefix="himari-") as scratch:
        out = Path(scratch) / "bundle"
        code = relay.run("export.bundle", str(run.address), "--out", str(out))
        if code == 0:
            publish(out, target)
    return code


def publish(bundle: Path, target: str) -> None:
    """Uploads a bundle; one of the same model stays, one whose upload broke off is replaced.

    Args:
        bundle: folder.
        target: gs://BUCKET/PREFIX.

    Raises:
        InputError: the bundle of another model is there.
        StorageError: the bucket cannot be used.
    """
    remote = RemoteFolder(target)
    names = list(remote.list())
    if MANIFEST in names:
        mine, theirs = read_manifest((bundle / MANIFEST).read_bytes()), read_manifest(remote.read(MANIFEST))
        if any(mine.get(key) != theirs.get(key) for key in SAME):
            raise InputError(f"{target}: the bundle of another model is there; give the job another folder")
        print(f"{target}: the bundle is there already")
        return
    for name in names:
        remote.remove(name)
    print(f"{target}: {', '.join(upload_folder(bundle, target, last=[MANIFEST]))}")


def read_manifest(content: bytes) -> dict[str, Any]:
    """Parses a manifest; empty where it cannot be read, and so equal to no other."""
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        return {}


class Relay:
    """Runs commands one after the other and forwards signals to them, as the first process of a container must."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.stopped = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.hand_on)

    def hand_on(self, number: int, frame: FrameType | None) -> None:
        """Sends a signal to the command that runs."""
        self.stopped = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    def run(self, module: str, *args: str) -> int:
        """Runs a command to its end; returns its exit code, 128 + N where signal N ended it.

        Raises:
            Preempted: a signal came before it.
        """
        if self.stopped:
            raise Preempted("stopped between two commands; start the same job again")
        # In a session of its own: a terminal's Ctrl-C comes from here alone.
        self.child = subprocess.Popen([sys.executable, "-m", module, *args], start_new_session=True)
        if self.stopped:  # the signal came while it began
            self.child.send_signal(signal.SIGTERM)
        code = self.child.wait()
        return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(run_command(main))
