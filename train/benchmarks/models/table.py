"""Formats rows as tables for the console or as Markdown, with what the columns mean."""

import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from himari_jax.extras import how_to_install
from train.benchmarks.models.rows import Row, machines_of

VENDORS = ("NVIDIA ", "Tesla ", "GeForce ")  # said below the table, not in its rows
MOST_DEVICE = 14  # letters of a device in a row
MOST_COLUMNS = 80  # of the console
MEANING = (
    "train, steps/s: the updates alone, without start, compiling and evaluation",
    "command: start, candles, compiling, training, evaluation and report; cold: with an empty compilation cache; "
    "warm: from the second start on, median",
    "memory: largest, of the process and in the device's own memory",
    "ms: one observation in, the multipliers out, one after the other; jax: jitted on the device; ONNX: the exported "
    "bundle in onnxruntime, one thread of the processor",
)


class Column(NamedTuple):
    """A column: what stands above it, and the cell of a row."""

    group: str  # of neighboring columns
    title: str
    width: int  # on the console
    cell: Callable[[Row], str]


TIME = (
    Column("train", "seconds", 9, lambda row: f"{row.train_seconds:.2f}"),
    Column("compile s", "cold", 7, lambda row: f"{row.compile_cold:.1f}"),
    Column("compile s", "warm", 6, lambda row: f"{row.compile_warm:.1f}"),
    Column("command s", "cold", 7, lambda row: f"{row.command_cold:.1f}"),
    Column("command s", "warm", 6, lambda row: f"{row.command_warm:.1f}"),
    Column("", "steps/s", 12, lambda row: f"{row.steps_per_second:,.0f}"),
)
PRICE = Column("", "USD", 8, lambda row: "-" if row.dollars is None else f"{row.dollars:.4f}")
MEMORY = (
    Column("", "parameters", 11, lambda row: f"{row.parameters:,}"),
    Column("memory MB", "host", 7, lambda row: f"{row.host_mb:,.0f}"),
    Column("memory MB", "device", 7, lambda row: "-" if row.device_mb is None else f"{row.device_mb:,.0f}"),
    Column("jax ms", "p50", 8, lambda row: f"{row.jax_p50_ms:.3f}"),
    Column("jax ms", "p99", 7, lambda row: f"{row.jax_p99_ms:.3f}"),
    Column("ONNX ms", "p50", 8, lambda row: milliseconds(row.onnx_p50_ms)),
    Column("ONNX ms", "p99", 7, lambda row: milliseconds(row.onnx_p99_ms)),
)


def milliseconds(value: float | None) -> str:
    """Formats a latency, or `none` where it could not be measured; `notes` has the reason."""
    return "none" if value is None else f"{value:.3f}"


def render(rows: Sequence[Row], markdown: bool) -> str:
    """Formats both tables with their headings and notes; without a row, a line instead of them."""
    if not rows:
        return "nothing measured"
    draw = as_markdown if markdown else as_console
    gap = [] if markdown else [""]
    times = (*TIME, PRICE) if any(row.dollars is not None for row in rows) else TIME
    parts = [
        f"{rows[0].num_episodes:,} episodes of {rows[0].episode_steps:,} bars",
        *draw(rows, times),
        *gap,
        "size, memory, and latency of one decision",
        *draw(rows, MEMORY),
        *gap,
        *notes(rows, markdown),
    ]
    return "\n".join(parts)


def labels(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Shortens the names of the machines; those that would be alike get a number."""
    names: dict[tuple[str, str], str] = {}
    for machine in machines_of(rows):
        name = machine[0]
        for vendor in VENDORS:
            name = name.removeprefix(vendor)
        name = name[:MOST_DEVICE].rstrip()
        alike = sum(other.startswith(name[: MOST_DEVICE - 3]) for other in names.values())
        names[machine] = f"{name[: MOST_DEVICE - 3].rstrip()} #{alike + 1}" if name in names.values() else name
    return names


def as_console(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Formats a table of at most 80 columns."""
    names = labels(rows)
    size = max(len(name) for name in names.values())
    start = f"{'model':5}  {'device':{size}}"
    lines = [f"{'':{len(start)}}{groups(columns)}".rstrip()]
    lines.append(start + "".join(f"{column.title:>{column.width}}" for column in columns))
    for row in rows:
        cells = "".join(f"{column.cell(row):>{column.width}}" for column in columns)
        lines.append(f"{row.model:5}  {names[row.machine]:{size}}{cells}")
    return lines


def groups(columns: Sequence[Column]) -> str:
    """The line above the titles: each group at the right end of its columns."""
    line, at = "", 0
    for n, column in enumerate(columns):
        at += column.width
        last = n + 1 == len(columns) or columns[n + 1].group != column.group
        line = f"{line}{column.group:>{at - len(line)}}" if last else line
    return line


def as_markdown(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Formats a table in Markdown."""
    names = labels(rows)
    titles = [f"{column.group} {column.title}".strip() for column in columns]
    lines = ["", f"| model | device | {' | '.join(titles)} |", f"|---|---|{'---:|' * len(columns)}"]
    for row in rows:
        lines.append(f"| {row.model} | {names[row.machine]} | {' | '.join(c.cell(row) for c in columns)} |")
    return [*lines, ""]


def notes(rows: Sequence[Row], markdown: bool) -> list[str]:
    """Explains the columns, names candles, machines and missing models; lines of at most 80 letters."""
    lines = [*MEANING]
    if any(row.onnx_p50_ms is None for row in rows):
        lines.append(f"ONNX none: not installed there: {how_to_install('export')}")
    if rows[0].flags:
        lines.append(f"flags besides the defaults of train.ppo: {rows[0].flags}")
    for data in dict.fromkeys(row.data for row in rows):
        lines.append(f"{', '.join(dict.fromkeys(row.model for row in rows if row.data == data))}: {data}")
    for machine, name in labels(rows).items():
        row = next(row for row in reversed(rows) if row.machine == machine)
        where = machine[1] if machine[0].startswith("CPU") else ", ".join(machine)
        starts = f"{row.warm_starts} warm start{'s' * (row.warm_starts > 1)}"
        lines.append(f"{name}: {where}; {row.made_by}; {starts}, {row.decisions:,} decisions")
    if markdown:
        return [f"- {line}" for line in lines]
    return [part for line in lines for part in textwrap.wrap(line, MOST_COLUMNS, subsequent_indent="  ")]
