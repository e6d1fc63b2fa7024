"""Downloads a run from a bucket to its mirror on this machine. Light: no jax."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from himari_jax.atomic import put_in_place
from himari_jax.errors import CheckpointError, InputError
from himari_jax.storage import SCHEME, Entry, RemoteFolder
from train.artifacts.files import storage_errors
from train.artifacts.run_folder import STEPS, local_steps, lock, stored_config, stored_json
from train.artifacts.uploads import (
    OWNER,
    Marker,
    local_marker,
    mirror_of,
    missing_file,
    read_markers,
    size_and_digest,
    steps_of,
)
from train.config.serialize import differences, from_json

FETCHED = 3  # newest complete checkpoints; older ones are for those whose newest is damaged
SCRATCH = ".fetched"
PATIENCE = 60.0  # seconds for another process to fetch what is needed first


def fetch(address: str, fresh: bool = False, reading: bool = False) -> Path:
    """Updates the mirror of a run from the bucket, and returns its path.

    A mirror that got further than the bucket, because an upload failed, stays as it is.

    Args:
        address: gs://BUCKET/PREFIX.
        fresh: refuse an address at which a run is.
        reading: take a mirror in which another process trains as it is.

    Raises:
        InputError: no run is there, or another than in the mirror.
        CheckpointError: a run is there and none of its checkpoints is usable.
        StorageError: the bucket cannot be read or the mirror cannot be written.
    """
    remote, mirror = RemoteFolder(address), mirror_of(address)
    listed = remote.list()
    there = any(is_file_of_run(name) for name in listed) or bool(steps_of(listed))
    if fresh and there:
        raise InputError(f"--fresh: {address} is not empty; choose another --run-dir")
    if there and "config.json" not in listed:
        kind = CheckpointError if steps_of(listed) else InputError
        raise kind(f"--run-dir {address}: not empty and no run (config.json is missing); choose another address")
    if not there:
        if local_steps(mirror):
            print(f"{address} is empty; going on from its mirror {mirror}")
        return mirror
    refuse_another_run(remote, mirror)
    with storage_errors(mirror), contextlib.ExitStack() as held:
        mirror.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(lock(mirror))
        except InputError:
            if not reading:
                raise
            return await_config(mirror)
        fetch_run(remote, listed, mirror)
    return mirror


def await_config(mirror: Path) -> Path:
    """Waits until config.json is in a mirror that another process fetches or trains in, and returns its path."""
    begun = time.monotonic()
    while not (mirror / "config.json").exists() and time.monotonic() - begun < PATIENCE:
        time.sleep(0.2)
    return mirror


def fetch_run(remote: RemoteFolder, listed: Mapping[str, Entry], mirror: Path) -> None:
    """Fetches files, then checkpoints; after an interruption the next call begins again."""
    shutil.rmtree(mirror / SCRATCH, ignore_errors=True)
    markers, mine = read_markers(remote, listed), local_steps(mirror)
    sizes = {name: entry.size for name, entry in listed.items()}
    faults = {step: missing_file(marker, step, sizes) for step, marker in markers.items()}
    faults |= {step: "its upload broke off" for step in steps_of(listed) - markers.keys()}
    usable = [step for step, fault in faults.items() if fault is None]
    if not usable and not mine and never_saved(listed, markers):
        print(f"{remote.address}: a run was begun there and its first checkpoint never arrived whole")
        return
    newer = max(usable, default=-1) > max(mine, default=-1)
    for name in listed:
        if is_file_of_run(name) and (newer or not (mirror / name).exists()):
            fetch_file(remote, name, mirror / name, mirror / SCRATCH)
    got = fetch_steps(remote, mirror, markers, faults)
    shutil.rmtree(mirror / SCRATCH, ignore_errors=True)
    if not got and not mine:
        raise CheckpointError(f"{remote.address}: no usable checkpoint is there; start anew with another --run-dir")
    if mine and mine[-1] > max(got, default=-1):
        print(f"{remote.address} is behind its mirror: going on from {mirror}, checkpoint {mine[-1]}")


def is_file_of_run(name: str) -> bool:
    """Whether an object is a file of the run folder, beside the checkpoints."""
    return "/" not in name and not name.startswith(".") and name != OWNER


def never_saved(listed: Mapping[str, Entry], markers: Mapping[int, Marker]) -> bool:
    """Whether a run broke off before the upload of its first checkpoint, that of step 0, was complete."""
    return not markers and steps_of(listed) <= {0} and "result.json" not in listed


def fetch_steps(
    remote: RemoteFolder, mirror: Path, markers: Mapping[int, Marker], faults: dict[int, str | None]
) -> list[int]:
    """Fetches the newest complete checkpoints, warns of the others, and returns the steps that are there."""
    got: list[int] = []
    for step in sorted(faults, reverse=True):
        if len(got) == FETCHED:
            break
        fault = faults[step]
        if fault is None and local_marker(mirror, step) != markers[step]:
            fault = fetch_step(remote, mirror, step, markers[step])
        if fault is None:
            got.append(step)
        elif not (mirror / STEPS / str(step)).exists():
            print(f"warning: {remote.address}: checkpoint {step} does not count ({fault})", file=sys.stderr)
    return got


def fetch_step(remote: RemoteFolder, mirror: Path, step: int, marker: Marker) -> str | None:
    """Fetches a checkpoint, moves it in place when every digest is right, and returns its fault, or None."""
    scratch = mirror / SCRATCH / str(step)
    for name, expected in marker.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"{name!r} leads out of its folder"
        remote.download(f"{STEPS}/{step}/{name}", scratch / name)
        if size_and_digest((scratch / name).read_bytes()) != expected:
            return f"{name} has another SHA-256"
    place = mirror / STEPS / str(step)
    if place.exists():
        print(f"warning: {place} is not as in the bucket; it was fetched again", file=sys.stderr)
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    put_in_place(scratch, place)
    return None


def fetch_file(remote: RemoteFolder, name: str, path: Path, scratch: Path) -> None:
    """Fetches a file atomically."""
    remote.download(name, scratch / name)
    put_in_place(scratch / name, path)


def refuse_another_run(remote: RemoteFolder, mirror: Path) -> None:
    """Refuses a mirror that holds a run of other flags or candles than the bucket.

    Raises:
        InputError: it does; nothing is changed on either side.
    """
    if not (mirror / "config.json").exists():
        return
    here = stored_json(mirror)
    try:
        there: dict[str, Any] = json.loads(remote.read("config.json"))
        changed = differences(from_json(here["flags"]), from_json(there["flags"]))
        if here["data"]["fingerprint"] != there["data"]["fingerprint"]:
            changed.append("the candles")
        if here["data"].get("base_sha256") != there["data"].get("base_sha256"):
            changed.append("the base positions")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{remote.address}/config.json: damaged ({error}); use another --run-dir") from error
    if changed:
        raise InputError(
            f"--run-dir {remote.address}: the run there is not the one in its mirror {mirror} ({'; '.join(changed)}); "
            "move the mirror away or use another --run-dir"
        )


def refuse_mirror(folder: Path, address: str | None) -> None:
    """Refuses a mirror that is named as a run folder: nothing would be uploaded.

    Raises:
        InputError: it is one.
    """
    if address is None and folder.name.startswith("gs+") and (folder / "config.json").exists():
        home = stored_config(folder).run.address
        if home is not None and mirror_of(home).name == folder.name:
            raise InputError(f"--run-dir {folder}: the mirror of {home}; name that address, or copy the folder")


def local_run(name: str | Path) -> Path:
    """Returns the local folder of a run: a folder of this machine as it is, one of a bucket fetched to its mirror.

    Raises:
        InputError: no run is there.
        StorageError: the bucket cannot be read.
    """
    text = str(name)
    if not text.startswith("gs:/"):
        return Path(name)
    address = SCHEME + text.removeprefix("gs:").strip("/")  # a path has lost a slash
    mirror = fetch(address, reading=True)
    if not (mirror / "config.json").exists():
        raise InputError(f"{address}: no run is there")
    return mirror
