"""Reads and cuts `metrics.jsonl`, the lines that training writes. Light: no jax."""

import json
from pathlib import Path
from typing import Any

from himari_jax.atomic import replacing
from himari_jax.errors import InputError
from train.artifacts.files import read_text

NAME = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Reads the lines of a run's metrics: none where there is no such file, all but the last where a crash tore it.

    Raises:
        InputError: a line is damaged.
        StorageError: the file cannot be read.
    """
    lines = (read_text(folder / NAME) or "").splitlines(keepends=True)
    whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
    try:
        return [dict(json.loads(line)) for line in whole]
    except (ValueError, TypeError) as error:
        raise InputError(f"{folder / NAME}: damaged ({type(error).__name__}: {error})") from error


def cut_metrics(folder: Path, update: int) -> None:
    """Drops the lines of later updates than `update`, which no checkpoint holds, and lines that are torn.

    Raises:
        OSError: the file cannot be read or written.
    """
    path = folder / NAME
    if not path.exists():
        return
    lines = path.read_text(errors="replace").splitlines()
    with replacing(path) as part:
        part.write_text("".join(line + "\n" for line in lines if starts_by(line, update)))


def starts_by(line: str, update: int) -> bool:
    """Whether a line was written by an update up to `update`; False of a torn line."""
    try:
        return json.loads(line)["update"] <= update
    except (ValueError, KeyError, TypeError):
        return False
