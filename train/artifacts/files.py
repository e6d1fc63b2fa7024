"""Reads and writes files; writes are atomic: no reader sees half a file, whenever the process or the machine stops."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax.atomic import replacing
from himari_jax.errors import InputError, StorageError


@contextlib.contextmanager
def storage_errors(where: object) -> Iterator[None]:
    """Turns OSError into one line.

    Args:
        where: begins the line: a path, or a flag with its value.

    Raises:
        StorageError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{where}: {error.strerror or error}; make room or fix the permission") from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file, UTF-8, atomically.

    Raises:
        StorageError: it could not be written.
    """
    with storage_errors(path), replacing(path) as part:
        part.write_bytes(text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically.

    Raises:
        StorageError: it could not be written.
    """
    with storage_errors(path), replacing(path) as part:
        part.write_bytes(content)


def append_lines(path: Path, text: str) -> None:
    """Adds whole lines to a file, and returns when they are on the disk; a torn line before them stays alone.

    Raises:
        StorageError: it could not be written.
    """
    with storage_errors(path), path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            text = text if file.read(1) == b"\n" else "\n" + text
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically.

    Raises:
        StorageError: it could not be written.
    """
    with storage_errors(path), replacing(path) as part, part.open("w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def write_frame(path: Path, frame: Any) -> None:
    """Writes a polars frame as a Parquet file atomically.

    Raises:
        StorageError: it could not be written.
    """
    with storage_errors(path), replacing(path) as part:
        frame.write_parquet(part, compression="zstd")


def read_text(path: Path) -> str | None:
    """Reads a text file, UTF-8; None where there is no such file.

    Raises:
        InputError: it is no text.
        StorageError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: damaged, not UTF-8") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def null_if_nan(value: Any) -> Any:
    """Copies a value with nan and infinity as None, for JSON."""
    if isinstance(value, dict):
        return {key: null_if_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_if_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def make_parent(path: Path) -> None:
    """Makes the folder of a file.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {path}: {error.strerror}; choose another file") from error
