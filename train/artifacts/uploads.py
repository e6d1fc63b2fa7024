"""Keeps a run folder in a bucket in step with its mirror on this machine. Light: no jax.

All work is done in the mirror, a run folder on this machine. The bucket holds the same files and, for each checkpoint,
`complete/STEP.json`: its files with sizes and SHA-256, written last, so that an upload that broke off never counts.
`owner` is written by whoever starts; it keeps two machines from writing one run.
"""

import base64
import hashlib
import json
import os
import socket
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from himari_jax.errors import HimariError, InputError, NumericalError, StorageError
from himari_jax.storage import RemoteFolder, split_address
from train.artifacts.run_folder import STEPS, local_steps

OWNER = "owner"
MARKERS = "complete"
EVENTS = "events.out.tfevents."  # prefix of TensorBoard's files
RESULTS = ("equity.parquet", "report.html", "result.json")  # they are uploaded after their checkpoint
LONGEST = 200  # letters of a mirror's name
Marker = dict[str, tuple[int, str]]  # size and SHA-256 of each file of a step


def mirror_of(address: str) -> Path:
    """Names the mirror of an address, the folder in which its run is worked on: `runs/gs+BUCKET+PREFIX`."""
    bucket, prefix = split_address(address)
    name = "+".join(["gs", bucket, *(quote(part, safe="") for part in prefix.split("/") if part)])
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 17]}+{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    return Path("runs") / name


def step_files(mirror: Path, step: int) -> dict[str, Path]:
    """Lists the files of a checkpoint by name."""
    place = mirror / STEPS / str(step)
    return {p.relative_to(place).as_posix(): p for p in sorted(place.rglob("*")) if p.is_file()}


def local_marker(mirror: Path, step: int) -> Marker:
    """Makes the marker of a checkpoint as it is in the mirror; empty where it is not there."""
    return {name: size_and_digest(path.read_bytes()) for name, path in step_files(mirror, step).items()}


def size_and_digest(content: bytes) -> tuple[int, str]:
    """Measures size and SHA-256 of a file's content."""
    return len(content), hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    """Hashes a content by MD5, written as a bucket writes it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def run_files(mirror: Path) -> dict[str, bytes]:
    """Reads the files of a run folder beside its checkpoints."""
    found = [path for path in sorted(mirror.iterdir()) if path.is_file()]
    return {p.name: p.read_bytes() for p in found if not p.name.startswith(".") and p.suffix != ".part"}


def read_markers(remote: RemoteFolder, names: Any) -> dict[int, Marker]:
    """Reads the markers in a bucket by step; one that cannot be read is empty: an incomplete checkpoint."""
    found: dict[int, Marker] = {}
    for name in names:
        folder, _, step = name.removesuffix(".json").partition("/")
        if folder == MARKERS and step.isdigit():
            try:
                files = json.loads(remote.read(name))["files"]
                found[int(step)] = {str(k): (int(size), str(digest)) for k, (size, digest) in files.items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                found[int(step)] = {}
    return found


def steps_of(names: Any) -> set[int]:
    """Lists the checkpoints of which a bucket holds any file."""
    parts = [name.split("/") for name in names]
    return {int(p[1]) for p in parts if len(p) > 2 and p[0] == STEPS and p[1].isdigit()}


class Uploads:
    """Keeps a bucket in step with a mirror: one upload at a time, behind the training.

    The error of an upload is raised by the next `push` or `finish`. `__exit__` finishes all uploads, or raises.

    Args:
        address: gs://BUCKET/PREFIX.
        mirror: the run folder on this machine.
        keep: newest checkpoints that stay in the bucket.
        logs: gs:// address to which the events for TensorBoard go as well; None: to none.
    """

    def __init__(self, address: str, mirror: Path, keep: int, logs: str | None = None):
        self.address, self.mirror, self.keep = address, mirror, keep
        self.remote = RemoteFolder(address)
        self.logs = None if logs is None else RemoteFolder(logs)
        self.pool = ThreadPoolExecutor(1)
        self.job: Future[None] | None = None

    def __enter__(self) -> "Uploads":
        """Takes the run over: the process that owned it ends at its next upload."""
        me = {"host": socket.gethostname(), "process": os.getpid(), "time": int(time.time())}
        self.generation = self.remote.write(OWNER, json.dumps(me).encode())
        listed = self.remote.list()
        self.known = {name: entry.md5 for name, entry in listed.items()}
        markers = read_markers(self.remote, listed)
        sizes = {name: entry.size for name, entry in listed.items()}
        here = local_steps(self.mirror)
        # A step that is newer than the mirror's oldest and not in it was found damaged, or is of another machine.
        whole = {step for step, marker in markers.items() if missing_file(marker, step, sizes) is None}
        older = {step for step in whole if not here or step < here[0]}
        self.complete = older | {step for step in whole.intersection(here) if self.is_there(step, markers[step])}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or isinstance(error, NumericalError):
                self.push()
            self.finish()
        except HimariError as failure:
            if error is None:
                raise
            print(f"warning: {failure}", file=sys.stderr)
        finally:
            self.pool.shutdown()

    def is_there(self, step: int, marker: Marker) -> bool:
        """Whether the bucket holds a checkpoint of the mirror byte for byte."""
        files = step_files(self.mirror, step).items()
        same = all(self.known.get(f"{STEPS}/{step}/{name}") == md5(path.read_bytes()) for name, path in files)
        return same and marker == local_marker(self.mirror, step)

    def wait(self) -> None:
        """Waits until no upload reads the mirror; the next `push` or `finish` raises if it failed."""
        if self.job is not None:
            wait([self.job])

    def push(self) -> None:
        """Begins to upload what the bucket does not have yet.

        Raises:
            StorageError: the upload before this one failed.
            InputError: another process took the run over.
        """
        self.finish()
        self.job = self.pool.submit(self.send, run_files(self.mirror), local_steps(self.mirror)[-self.keep :])

    def finish(self) -> None:
        """Waits for the upload under way; raises what `push` raises."""
        job, self.job = self.job, None
        if job is not None:
            job.result()

    def send(self, files: dict[str, bytes], steps: list[int]) -> None:
        """Uploads headers and logs, checkpoints, results, in this order, then removes old checkpoints."""
        changed = {name: content for name, content in files.items() if self.known.get(name) != md5(content)}
        missing = [step for step in steps if step not in self.complete]
        try:
            if changed or missing:
                self.check_owner()
            for name in sorted(changed.keys() - set(RESULTS)):
                self.write(name, changed[name])
            for step in missing:
                self.send_step(step)
            for name in RESULTS:
                if name in changed:
                    self.write(name, changed[name])
            self.prune()
        except StorageError as error:
            intact = f"checkpoint {max(self.complete)} is intact there" if self.complete else "no checkpoint is there"
            raise StorageError(
                f"{error}; {intact}, the newest is in {self.mirror}: run the same command again on this machine"
            ) from error

    def send_step(self, step: int) -> None:
        """Uploads a checkpoint, its marker last; files of an interrupted upload are removed first."""
        self.drop(step)
        marker: Marker = {}
        for name, path in step_files(self.mirror, step).items():
            content = path.read_bytes()
            self.write(f"{STEPS}/{step}/{name}", content)
            marker[name] = size_and_digest(content)
        self.check_owner()
        self.write(f"{MARKERS}/{step}.json", json.dumps({"step": step, "files": marker}).encode())
        self.complete.add(step)

    def prune(self) -> None:
        """Removes complete checkpoints beyond the newest `keep`, and incomplete ones older than the newest."""
        kept = sorted(self.complete)[-self.keep :]
        for step in sorted(steps_of(self.known) | self.complete):
            if kept and step < kept[-1] and step not in kept:
                self.check_owner()
                self.drop(step)

    def drop(self, step: int) -> None:
        """Removes a checkpoint from the bucket, its marker first, so that half of one never counts."""
        self.complete.discard(step)
        inside = [name for name in self.known if name.startswith(f"{STEPS}/{step}/")]
        for name in [f"{MARKERS}/{step}.json", *inside]:
            if name in self.known:
                self.remote.remove(name)
                del self.known[name]

    def write(self, name: str, content: bytes) -> None:
        """Uploads one object and records its digest."""
        if self.logs is not None and name.startswith(EVENTS):
            self.logs.write(name, content)
        self.remote.write(name, content)
        self.known[name] = md5(content)

    def check_owner(self) -> None:
        """Checks that no other process took the run over.

        Raises:
            InputError: one did; nothing more is written.
        """
        if self.remote.generation(OWNER) != self.generation:
            raise InputError(
                f"--run-dir {self.address}: another process took this run over and goes on with it; this one ends, "
                f"what it did since its last upload is in {self.mirror}"
            )


class NoUploads:
    """Takes the place of `Uploads` for a run folder of this machine: does nothing."""

    def __enter__(self) -> "NoUploads":
        return self

    def __exit__(self, *info: object) -> None:
        """Nothing to finish."""

    def wait(self) -> None:
        """Nothing is under way."""

    def push(self) -> None:
        """Nothing is uploaded."""

    def finish(self) -> None:
        """Nothing is under way."""


def uploads(address: str | None, folder: Path, keep: int, logs: str | None = None) -> Uploads | NoUploads:
    """Chooses the uploads of a run: none without an address."""
    return NoUploads() if address is None else Uploads(address, folder, keep, logs)


def finish_upload(address: str | None, folder: Path, keep: int, logs: str | None = None) -> None:
    """Finishes an interrupted upload; a complete bucket is only read, its owner stays."""
    if address is None:
        return
    listed = RemoteFolder(address).list()
    files = {name: md5(content) for name, content in run_files(folder).items()}
    steps = local_steps(folder)[-keep:]
    there = all(name in listed and listed[name].md5 == digest for name, digest in files.items())
    if there and all(f"{MARKERS}/{step}.json" in listed for step in steps):
        return
    with Uploads(address, folder, keep, logs):
        pass


def missing_file(marker: Marker, step: int, sizes: dict[str, int]) -> str | None:
    """Finds the first file of a checkpoint that is not in the bucket as its marker says; None where all are."""
    if not marker:
        return "its list of files cannot be read"
    for name, (size, _) in marker.items():
        if (found := sizes.get(f"{STEPS}/{step}/{name}")) != size:
            return f"{name} is missing" if found is None else f"{name} has {found} bytes, not {size}"
    return None
