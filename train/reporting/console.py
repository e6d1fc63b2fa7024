"""Prints results as tables on the console."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from himari_jax.metric_table import METRICS
from himari_jax.metrics import zero_if_nan
from train.config.ppo import Config
from train.reporting.chance import rank_text
from train.reporting.course import course_line
from train.reporting.walk_words import permutations
from train.reporting.words import headline, sentences

INTERVAL = "sharpe_interval"
SHOWN = (  # what a block of result.json holds, in the order of the columns
    *("sharpe", INTERVAL, "sortino", "cagr", "max_drawdown", "turnover", "exposure"),
    *("win_rate_bar", "herfindahl", "diversification"),
)
COLUMNS = tuple("95 % interval" if name == INTERVAL else METRICS[name].label for name in SHOWN)
OF_SYMBOLS = {  # columns of a pool's symbols: key of the block, form
    "agent": ("sharpe", "{:.2f}"),
    "base": ("base_sharpe", "{:.2f}"),
    "constant": ("constant_sharpe", "{:.2f}"),
    "timing": ("timing_value", "{:+.2f}"),
    "late": ("late_sharpe", "{:.2f}"),
    "multiplier": ("multiplier", "{:.2f}"),
    "turnover/y": ("turnover", "{:.1f}"),
    "max DD": ("max_drawdown", "{:.1%}"),
}
WIDTH = 118  # of tables where the output is not a terminal


def print_result(result: dict[str, Any], config: Config, folder: Path) -> None:
    """Prints the result of a run: the table, the verdict, what to do next."""
    out = console()
    out.print()
    # A narrow terminal gets two tables: a number cut in half is no number.
    parts = (COLUMNS,) if out.width >= WIDTH else (COLUMNS[:5], COLUMNS[5:])
    for part in parts:
        out.print(table(result, part))
    if "by_symbol" in result:
        out.print(symbol_table(result))
    for line in run_lines(result, config):
        out.print(line, soft_wrap=True, style="bold" if line.startswith(result["verdict"]["word"]) else None)
    out.print(f"next: open {folder}/report.html; numbers in result.json and equity.parquet", soft_wrap=True)


def table(result: dict[str, Any], columns: tuple[str, ...]) -> Table:
    """Makes a table of the agent and the baselines, a row each, with some of the columns."""
    name = result.get("span", "test")
    span = result["spans"][name]
    kind = "SYNTHETIC " if result["synthetic"] else ""
    called = f"{name} span" if name.isalpha() else "span"
    title = f"{kind}{who(result)}, {called} {span[0][0][:10]} to {span[-1][1][:10]}, costs included"
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for name in columns:
        grid.add_column(name, justify="right", no_wrap=True)
    rows = {f"agent ({result['policy']})": result["agent"], **result["baselines"]}
    for name, block in rows.items():
        texts = dict(zip(COLUMNS, cells(block), strict=True))
        grid.add_row(name, *(texts[column] for column in columns), style="bold" if block is result["agent"] else None)
    return grid


def who(result: dict[str, Any]) -> str:
    """Words whose accounts a result is of: the symbols, or the equal-weighted accounts of a pool."""
    symbols = result["symbols"]
    return f"{len(symbols)} accounts of equal weight" if "by_symbol" in result else " ".join(symbols)


def symbol_table(result: dict[str, Any], columns: Sequence[str] = tuple(OF_SYMBOLS)) -> Table:
    """Makes a table of a pool's symbols, a row each: the agent, its base, its own mean weight held, one bar late."""
    grid = Table(title="each symbol's own account, Sharpe", title_justify="left", box=None, pad_edge=False)
    for head in ("", "decisions", *columns):
        grid.add_column(head, justify="right" if head else "left", no_wrap=True)
    for symbol, block in result["by_symbol"].items():
        texts = [number(block.get(key), form) for key, form in (OF_SYMBOLS[name] for name in columns)]
        grid.add_row(symbol, f"{block['decisions']:,}", *texts)
    return grid


def cells(block: dict[str, Any]) -> list[str]:
    """Formats the metrics of a block as the cells of a row."""
    low, high = block[INTERVAL]
    interval = "-" if low is None else f"{low:.2f} to {high:.2f}"
    return [interval if n == INTERVAL else number(block[n], f"{{:{METRICS[n].form}}}") for n in SHOWN]


def number(value: float | None, form: str) -> str:
    """Formats a number; a dash where it is undefined."""
    return "-" if value is None else form.format(value)


def run_lines(result: dict[str, Any], config: Config) -> list[str]:
    """Writes the lines under the table of a run."""
    timing = result["timings"]
    speed = timing["steps_per_second"]
    pace = f" ({speed:,.0f} steps/s)" if speed else ""
    course = course_line(result, result.get("course"))
    return [
        *verdict_lines(result, config.market.initial_capital),
        *filter(None, [permutations(result.get("permutations"))]),
        f"trained {timing['steps']:,} steps in {timing['train_seconds']:.1f} s{pace} on {timing['device']}; "
        f"compiling {timing['compile_seconds']:.1f} s, data {timing['data_seconds']:.1f} s; "
        f"peak memory {timing['peak_memory_mb']:,.0f} MB",
        *([course] if course else []),
    ]


def verdict_lines(result: dict[str, Any], capital: float) -> list[str]:
    """Writes the lines that say what the numbers mean, and the verdict."""
    verdict, told = result["verdict"], list(sentences(result))
    base = (result["baselines"].get("base") or {}).get("final_equity")
    beside = "" if base is None else f", with the base position alone {capital * base:,.0f}"
    lines = [
        "",
        f"{headline(verdict)}: {told[0] if told else verdict['reason']}",
        *told[1:],
        *([f"reason: {verdict['reason']}"] if told else []),
        *filter(None, [rank_text(result)]),
        f"{capital:,.0f} became {capital * result['agent']['final_equity']:,.0f}{beside}",
    ]
    seeds = result["across_seeds"]
    if seeds:
        lines.append(
            f"{len(result['seeds'])} seeds: Sharpe mean {seeds['sharpe_mean']:.2f}, inter-quartile mean "
            f"{seeds['sharpe_iqm']:.2f}, deviation {seeds['sharpe_std']:.2f}; correlation of what they "
            f"decide {agreement(seeds):.2f}; shown: seed {result['chosen_seed']}, best on validation"
        )
    return [*lines, *(f"advice: {text}" for text in result["advice"]), ""]


def agreement(seeds: dict[str, Any]) -> float:
    """Correlation of what seeds decide; in older results of the positions that they held."""
    return float(seeds.get("multiplier_correlation", seeds.get("position_correlation", 0.0)))


def print_backtest(result: dict[str, Any], rows: Sequence[dict[str, Any]], capital: float) -> None:
    """Prints table, sensitivity to cost and delay, audits and verdict of one policy.

    Args:
        result: as result.json.
        rows: of the grid.
        capital: money at the start.
    """
    out = console()
    out.print()
    out.print(f"{result['name']}", style="bold")
    parts = (COLUMNS,) if out.width >= WIDTH else (COLUMNS[:5], COLUMNS[5:])
    for part in parts:
        out.print(table(result, part))
    if "by_symbol" in result:
        out.print(symbol_table(result))
    out.print()
    out.print(sensitivity(result, rows))
    out.print()
    for audit in result["audits"]:
        mark = {True: "passed", False: "FAILED", None: "info"}[audit["passed"]]
        out.print(f"audit {audit['name']}: {mark}: {audit['detail']}", soft_wrap=True)
    for line in verdict_lines(result, capital):
        out.print(line, soft_wrap=True, style="bold" if line.startswith(result["verdict"]["word"]) else None)


def sensitivity(result: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Table:
    """Makes a table of the Sharpe ratio by cost and delay, minus that of the best baseline where it has rows."""
    best = result["agent"]["sharpe_difference"]["baseline"]
    found = by_cell(r for r in rows if r["policy"] == result["name"] and r["seed"] in (None, result["chosen_seed"]))
    beside = by_cell(r for r in rows if r["policy"] == best and r["seed"] in (None, result["chosen_seed"]))
    costs, delays = sorted({cost for cost, _ in found}), sorted({delay for _, delay in found})
    windows = result["windows"]["number"]
    mean = f", mean of {windows} windows" if windows > 1 else ""
    title = f"Sharpe by cost and delay{mean} (in brackets: minus {best}'s)"
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for cost in costs:
        grid.add_column(f"{cost:g} bp", justify="right", no_wrap=True)
    for delay in delays:
        texts = []
        for cost in costs:
            value, other = found[cost, delay], beside.get((cost, delay))
            texts.append(f"{value:.2f}" + ("" if other is None else f" ({value - other:+.2f})"))
        late = f"{delay} bar{'s' if delay > 1 else ''} late"
        grid.add_row(late if delay else "on time", *texts)
    return grid


def by_cell(rows: Iterable[dict[str, Any]]) -> dict[tuple[float, int], float]:
    """Sharpe ratio by cost and delay, mean of the windows."""
    found: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        found.setdefault((row["cost"], row["delay"]), []).append(zero_if_nan(row["sharpe"]))
    return {cell: sum(sharpes) / len(sharpes) for cell, sharpes in found.items()}


def console() -> Console:
    """Opens standard output, wide enough for tables where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
