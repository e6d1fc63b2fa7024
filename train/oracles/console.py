"""Prints the result of a run on a market with a known optimum."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.config.ppo import Config
from train.reporting.console import console, print_lines
from train.reporting.tables import Grid, print_grid

HEADS = ("", "utility", "+-", "of the optimum", "regret", "turnover", "mean weights")


def print_oracle(result: dict[str, Any], config: Config, folder: Path) -> None:
    """Prints value, optimum, ratio and regret, a row for each seed."""
    out = console()
    out.print()
    print_grid(out, table(result))
    print_lines(out, [f"next: open {folder}/report.html; numbers in result.json"])


def table(result: dict[str, Any]) -> Grid:
    """Makes a table of the best policy, the naive one, and the agent of each seed; turnover and utility are per bar."""
    block = result["oracle"]
    title = f"{result['env']}, policy {result['policy']}, last iterate; utility and turnover per bar"
    grid = Grid(title, HEADS, words=frozenset(HEADS[-1:]))
    grid.add("optimum", f"{block['optimum']:.4e}", "", "", "", f"{block['optimal_turnover']:.4f}", "")
    grid.add(block["naive_name"], f"{block['naive']:.4e}", *[""] * (len(HEADS) - 2))
    for seed in result["seeds"]:
        grid.add(f"agent, seed {seed['seed']}", *cells(seed), bold=True)
    return grid


def cells(block: Mapping[str, Any], turnover: str = ".4f") -> list[str]:
    """Formats an agent's numbers in the columns of HEADS, its turnover in a form."""
    return [
        f"{block['value']:.4e}",
        f"{block['error']:.0e}",
        "-" if block["ratio"] is None else f"{block['ratio']:.4f}",
        f"{block['regret']:.2e}",
        format(block["turnover"], turnover),
        " ".join(f"{x:.3f}" for x in block["weights"]),
    ]
