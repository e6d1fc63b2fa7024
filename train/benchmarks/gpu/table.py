"""Lines of the table, at most 80 letters each, and the file that keeps the rows."""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from himari_jax import __version__
from train.artifacts.files import make_parent, write_json
from train.benchmarks.gpu.config import GPUConfig
from train.benchmarks.gpu.others import OutOfTime, retrain
from train.benchmarks.gpu.schedule import Row
from train.benchmarks.models.machine import describe_device, describe_processor

HEAD = f"{'':25}{'size':>15}{'rate':>22}{'compile s':>11}{'MB':>7}"


@dataclass
class Kept:
    """A file of rows, whole after each of them.

    Args:
        path: of the file.
        about: what was measured, where and how.
    """

    path: Path
    about: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        make_parent(self.path)
        self.write()

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row."""
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Writes all rows.

        Raises:
            StorageError: they cannot be written.
        """
        write_json(self.path, {**self.about, "rows": self.rows})


def describe(bench: GPUConfig, threads: int) -> dict[str, Any]:
    """Describes device, processor, versions and flags."""
    device, processor = describe_device(), describe_processor()
    made_by = f"himari {__version__}, jax {jax.__version__}, {datetime.now(UTC):%Y-%m-%d}"
    summary = f"{device}; {processor}; {made_by}"
    return {
        "command": "python -m train.bench_gpu",
        "device": device,
        "processor": processor,
        "made_by": made_by,
        "minutes": bench.minutes,
        "threads": threads,
        "summary": summary,
    }


def line_of(row: Row) -> str:
    """Formats a row; without a rate, the reason."""
    start = f"{row.name[:25]:25}{f'{row.size:,} {row.of}':>15}"
    if row.rate is None:
        return textwrap.shorten(f"{start}   {row.why}", 10_000) if not row.why else f"{start}   {row.why[:37]}"
    compiling = "-" if row.compile_seconds is None else f"{row.compile_seconds:.1f}"
    memory = "-" if row.program_mb is None else f"{row.program_mb:,.0f}"
    return f"{start}{f'{row.rate:,.0f} {row.unit}':>22}{compiling:>11}{memory:>7}"


def missed(rows: Sequence[Row]) -> list[str]:
    """Names the rows that were not reached in a line, and each failure in one; nothing where all was measured."""
    late = [f"{row.name}, {row.size:,} {row.of}" for row in rows if row.rate is None and "in time" in row.why]
    failed = [f"{row.name}, {row.size:,} {row.of}: {row.why}" for row in rows if row.rate is None]
    lines = [text for text in failed if "in time" not in text]
    if late:
        lines.append(f"not reached: {'; '.join(late)}; give more --minutes, or pick rows by --only")
    return [part for line in lines for part in textwrap.wrap(line, 80, subsequent_indent="  ")]


def retrainings(number: int, steps: int, end: float) -> tuple[str, dict[str, Any]]:
    """Times a number of trainings, given up at the end; returns line and row.

    Args:
        number: trainings.
        steps: of each.
        end: on `time.monotonic`.
    """
    what = f"{number:,} retrainings of {steps:,} steps"
    info: dict[str, Any] = {"name": "retrainings", "size": number, "of": "members", "unit": "s", "steps": steps}
    began = time.monotonic()
    try:
        seconds, compiling, memory = retrain(number, steps, end)
    except OutOfTime:
        return f"{what}: not done within {time.monotonic() - began:.0f} s", info | {"why": "not reached in time"}
    found = {"seconds": seconds, "compile_seconds": compiling, "host_mb": memory}
    return f"{what}: {seconds:.1f} s, of it compiling {compiling:.1f} s; host memory {memory:,.0f} MB", info | found
