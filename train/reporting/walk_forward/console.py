"""Prints the result of a walk-forward test on the console, 80 columns wide."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train.reporting.console import SHOWN, console, print_lines, symbol_table, table, verdict_lines
from train.reporting.formats import numbers
from train.reporting.tables import Grid, print_grid
from train.reporting.walk_sentences import lines, whole_track

WIDTH = 80  # columns of the tables, and of the lines that are no verdict
SHOWN_OF_TRACK = SHOWN[:5]  # of agent and baselines
OF_SYMBOLS = ("agent", "base", "constant", "timing", "late", "turnover/y")
OF_BLOCKS = {  # heading: key of a block
    "Sharpe": "sharpe",
    "base": "base_sharpe",
    "constant": "constant_sharpe",
    "difference": "difference",
    "late": "late_difference",
    "turnover/y": "turnover",
}


def print_walk_forward(result: dict[str, Any], capital: float, folder: Path) -> None:
    """Prints the whole track beside the baselines, the blocks, the symbols, the verdict and what to do next.

    Args:
        result: as result.json, with `walk_forward`.
        capital: money at the start.
        folder: the run.
    """
    out = console()
    out.print()
    print_grid(out, table(result, SHOWN_OF_TRACK))
    out.print()
    print_grid(out, block_table(result))
    if result.get("by_symbol"):
        out.print()
        print_grid(out, symbol_table(result, OF_SYMBOLS))
    out.print()
    for line in lines(result):
        out.print("\n".join(textwrap.wrap(line, min(out.width, WIDTH), subsequent_indent="  ")), soft_wrap=True)
    print_lines(out, [*verdict_lines(result, capital), *speed(result)], result["verdict"]["word"])
    print_lines(out, [f"next: open {folder}/report.html; numbers in result.json and equity.parquet"])


def block_table(result: dict[str, Any]) -> Grid:
    """Makes a table of the test blocks, a row each, and of the whole track below them."""
    title = (
        "test blocks, each after a training of its own; difference: Sharpe minus that of\n"
        "the constant multiplier of the same mean exposure; late: the same a bar later"
    )
    grid = Grid(title, ("", *OF_BLOCKS))
    for block in result["walk_forward"]["blocks"]:
        first, last = (str(moment)[:10] for moment in block["test"])
        grid.add(f"{first} to {last}", *numbers(block, OF_BLOCKS.values()))
    grid.add("all", *numbers(whole_track(result), OF_BLOCKS.values()), bold=True)
    return grid


def speed(result: dict[str, Any]) -> Iterator[str]:
    """Says how long the trainings took, where that was measured."""
    timing = (result.get("timings") or {}) | (result["walk_forward"].get("timings") or {})
    if timing.get("train_seconds") is None:
        return
    said = [f"trained {timing['steps']:,} steps" if timing.get("steps") else "trained"]
    said[0] += f" in {timing['train_seconds']:.1f} s"
    if rate := timing.get("steps_per_second"):
        said[0] += f" ({rate:,.0f} steps/s)"
    if timing.get("device"):
        said[0] += f" on {timing['device']}"
    for key, word in (("compile_seconds", "compiling"), ("data_seconds", "data")):
        if timing.get(key) is not None:
            said.append(f"{word} {timing[key]:.1f} s")
    if timing.get("peak_memory_mb") is not None:
        said.append(f"peak memory {timing['peak_memory_mb']:,.0f} MB")
    yield "; ".join(said)
