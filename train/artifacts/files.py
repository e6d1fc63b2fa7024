"""Writes files at once or not at all."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax.errors import StorageError


def write_frame(path: Path, frame: Any) -> None:
    """Writes a Parquet file at once or not at all.

    Raises:
        StorageError: it could not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        frame.write_parquet(part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error}; make room or fix the permission") from error


def write_json(path: Path, value: Any) -> None:
    """Writes a file at once or not at all.

    Raises:
        StorageError: it could not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; make room or fix the permission") from error


def null_if_nan(value: Any) -> Any:
    """The same with nan and infinity as None, for JSON."""
    if isinstance(value, dict):
        return {key: null_if_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_if_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def write_text(path: Path, text: str) -> None:
    """Writes a file at once or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; make room or fix the permission") from error
