"""Reads the files of a bundle's folder, none of which is trusted: regular files of bounded size, each hashed."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.contents.manifest import code_names, parse_manifest
from export.runtime import FILES
from himari_jax.errors import InputError, StorageError
from himari_jax.pasting import command_line, free_name

OVERSIZE = 64 * 2**20  # bytes of a file, at most
MOST_MANIFEST = 2 * 2**20  # bytes
MOST_CONFIG = 2**20  # bytes of a run's config.json
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Contents:
    """The files of a bundle, each with the SHA-256 that the manifest names."""

    folder: Path
    manifest: dict[str, Any]
    digest: str  # SHA-256 of manifest.json, and through its hashes of everything
    files: Mapping[str, bytes]


def read_contents(folder: Path) -> Contents:
    """Reads all files of a bundle.

    Raises:
        InputError: it is no bundle, not complete, or altered; one line.
        StorageError: a file cannot be read at the moment.
    """
    manifest, digest = read_manifest(folder)
    files = {name: read_file(folder / name) for name in (*FILES, *code_names(manifest))}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != manifest["files"].get(name):
            raise InputError(f"{folder / name}: its SHA-256 is not the one in manifest.json; export the bundle again")
    return Contents(folder, manifest, digest, files)


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """Reads manifest.json; returns it with its SHA-256.

    Raises:
        InputError: it is missing, no JSON, of another schema, or lacks a key; or it is a run.
        StorageError: it cannot be read at the moment.
    """
    refuse_run(folder)
    if not (folder / "manifest.json").exists() and (bundles := sorted(folder.glob("*/manifest.json"))):
        raise InputError(f"{folder}: a folder of bundles; name one, such as {bundles[-1].parent}")
    data = read_file(folder / "manifest.json", MOST_MANIFEST)
    return parse_manifest(data, f"{folder}/manifest.json"), hashlib.sha256(data).hexdigest()


def read_file(path: Path, most: int = OVERSIZE) -> bytes:
    """Reads a file of a bundle.

    Raises:
        InputError: it is missing, far too large, or no file.
        StorageError: it cannot be read at the moment.
    """
    try:
        return read_regular(path, most)
    except OSError as error:
        text = f"{path}: {error.strerror or error}"
        if error.errno in GONE:
            raise InputError(f"{text}; a bundle has manifest.json, {', '.join(FILES)}") from error
        raise StorageError(f"{text}; is the disk or bucket there, and may this user read it?") from error


def read_regular(path: Path, most: int) -> bytes:
    """Reads a regular file of at most so many bytes; does not block on a pipe or a device.

    Raises:
        InputError: it is something else, or larger.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as file:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise InputError(f"{path}: not a regular file")
        if info.st_size > most:
            raise InputError(f"{path}: {info.st_size} bytes; must be at most {most}")
        data = file.read(most + 1)
    if len(data) > most:  # it grew
        raise InputError(f"{path}: more than {most} bytes")
    return data


def refuse_run(folder: Path, address: str | None = None) -> None:
    """Refuses the folder of a run, or a folder of runs, where a bundle is asked for.

    Args:
        folder: to look at.
        address: in a bucket, of which the folder is a copy.

    Raises:
        InputError: it is one; names the command that makes a bundle of it.
    """
    if any(folder.glob("manifest.json")) or any(folder.glob("*/manifest.json")):
        return
    kind, run, what, where = kind_of_run(folder), folder, "a run, not a bundle", address or folder
    if kind == "walk-forward":
        raise InputError(f"{where}: a walk-forward test, which keeps no policy to serve; train one with train.ppo")
    if not kind:
        runs = [path.parent for path in folder.glob("*/config.json") if kind_of_run(path.parent) == "run"]
        if not runs:
            return
        # A sweep has its best run in `chosen`.
        run = max(runs, key=lambda path: (path.name == "chosen", (path / "config.json").stat().st_mtime))
        what = "a folder of runs, not a bundle"
    source = address or run
    line = command_line("export.bundle", source, "--out", free_name(Path("bundles") / Path(source).resolve().name))
    raise InputError(f"{where}: {what}; this makes one: {line}")


def kind_of_run(folder: Path) -> str:
    """Returns `run` or `walk-forward` for a folder that training wrote, else an empty text."""
    try:
        stored = json.loads(read_regular(folder / "config.json", MOST_CONFIG))
        return "" if "flags" not in stored else "walk-forward" if "walk_forward" in stored else "run"
    except (OSError, ValueError, TypeError, RecursionError, InputError):
        return ""
