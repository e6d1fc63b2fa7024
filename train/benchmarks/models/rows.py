"""Rows of the table, one for each model and device, and the file that keeps them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from himari_jax.errors import InputError
from train.artifacts.files import write_json
from train.benchmarks.models.config import Model


@dataclass(frozen=True)
class Row:
    """Measured cost of one model on one device."""

    model: Model
    device: str  # kind of the GPU, or `CPU` with its cores
    processor: str  # and cores
    made_by: str  # versions, commit, day
    warm_starts: int  # of which medians count
    decisions: int  # whose latency was measured
    data: str  # symbols and bars
    flags: str  # of train.ppo besides the defaults
    num_episodes: int
    episode_steps: int
    steps: int  # bars played, whole updates
    train_seconds: float
    steps_per_second: float
    compile_cold: float  # seconds, with an empty compilation cache
    compile_warm: float
    command_cold: float  # seconds of the whole command: start, data, compiling, training, evaluation, report
    command_warm: float
    host_mb: float  # largest resident memory
    device_mb: float | None  # largest use of the device's own memory; None: it has none
    parameters: int  # trained numbers
    jax_p50_ms: float  # of one decision
    jax_p99_ms: float
    onnx_p50_ms: float | None  # None: not installed
    onnx_p99_ms: float | None
    price_per_hour: float | None = None  # US dollars, of the machine

    @property
    def machine(self) -> tuple[str, str]:
        """Fields that identify a machine."""
        return self.device, self.processor

    @property
    def dollars(self) -> float | None:
        """Price of the command with a cold start, US dollars."""
        return None if self.price_per_hour is None else self.price_per_hour * self.command_cold / 3600


def read_rows(path: Path) -> list[Row]:
    """Reads the rows of a file.

    Raises:
        InputError: it cannot be read, or is no file of this command; one line that names it.
    """
    try:
        rows = [read_row(values) for values in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: no file that `train.bench_models --out` wrote ({error})") from error
    return merged([], rows, str(path))


def read_row(values: dict[str, Any]) -> Row:
    """Reads a row from its values.

    Raises:
        TypeError: a value is missing, unknown, or of another kind.
    """
    row = Row(**values)
    for field in fields(Row):
        value, kind = getattr(row, field.name), field.type
        numeric = float in (kind, *get_args(kind)) and isinstance(value, int)
        if not (value in get_args(Model) if kind is Model else numeric or isinstance(value, kind)):  # type: ignore[arg-type]
            raise TypeError(f"{field.name} is {value!r}")
    return row


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes a file that `read_rows` reads.

    Raises:
        StorageError: it could not be written.
    """
    write_json(path, {"command": "python -m train.bench_models", "rows": [asdict(row) for row in rows]})


def merged(rows: Sequence[Row], newer: Sequence[Row], where: str) -> list[Row]:
    """Rows of both, one for each device and model, the newer one where both have it; by device, then model.

    Args:
        rows: measured before.
        newer: to be added.
        where: the newer ones come from, for the error.

    Raises:
        InputError: they were not measured alike, so that no table compares them.
    """
    kept = {(row.machine, row.model): row for row in [*rows, *newer]}
    for row in kept.values():
        for other in kept.values():
            refuse_unlike(row, other, where)
    machines, models = machines_of(kept.values()), get_args(Model)
    return sorted(kept.values(), key=lambda row: (machines.index(row.machine), models.index(row.model)))


def machines_of(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Lists the machines of rows, each once, in their order."""
    return list(dict.fromkeys(row.machine for row in rows))


def refuse_unlike(row: Row, other: Row, where: str) -> None:
    """Refuses two rows that differ in more than device and model."""
    names = ["num_episodes", "episode_steps", "flags"] + ["data"] * (row.model == other.model)
    for name in names:
        mine, theirs = getattr(row, name), getattr(other, name)
        if mine != theirs:
            raise InputError(
                f"{where}: {name.replace('_', ' ')} of {row.model} on {row.device} {mine or 'none'}, of {other.model} "
                f"on {other.device} {theirs or 'none'}; one table needs the same, measure anew into another --out"
            )


def priced(rows: Sequence[Row], price: float | None) -> list[Row]:
    """Rows with the price of their machine.

    Raises:
        InputError: they are of several machines, whose prices differ.
    """
    if price is None:
        return list(rows)
    if len(machines := machines_of(rows)) > 1:
        raise InputError(
            f"--price-per-hour {price:g}: the files are of {len(machines)} machines "
            f"({'; '.join(device for device, _ in machines)}); give each its price where it is measured"
        )
    return [replace(row, price_per_hour=price) for row in rows]
