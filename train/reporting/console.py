"""Prints results as tables on the console."""

import contextlib
import os
import sys
import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from himari_jax.pasting import command_line, free_name
from himari_jax.statistics.metric_table import METRICS
from himari_jax.statistics.metrics import zero_if_nan
from train.config.ppo import Config
from train.reporting.chance import rank_text
from train.reporting.facts import OF_SEVERAL
from train.reporting.formats import FORMS, number, numbers
from train.reporting.learning_curves import curve_advice
from train.reporting.tables import Grid, print_grid
from train.reporting.verdict_sentences import headline, sentences
from train.reporting.walk_sentences import permutations

INTERVAL = "sharpe_interval"
SHOWN = (  # what a block of result.json holds, in the order of the columns
    *("sharpe", INTERVAL, "sortino", "cagr", "max_drawdown", "turnover", "exposure"),
    *("win_rate_bar", "herfindahl", "diversification"),
)
COLUMNS = {name: "95 % interval" if name == INTERVAL else METRICS[name].label for name in SHOWN}
OF_SYMBOLS = {  # heading of a pool's symbols: key of the block
    "agent": "sharpe",
    "base": "base_sharpe",
    "constant": "constant_sharpe",
    "timing": "timing_value",
    "late": "late_sharpe",
    "multiplier": "multiplier",
    **{METRICS[name].label: name for name in ("turnover", "max_drawdown")},
}
WIDTH = 118  # columns where the width of the output is unknown


def print_result(result: dict[str, Any], config: Config, folder: Path) -> None:
    """Prints the result of a run: the table, the verdict, what to do next."""
    out = console()
    out.print()
    print_grid(out, table(result))
    if "by_symbol" in result:
        print_grid(out, symbol_table(result))
    print_lines(out, run_lines(result, config), result["verdict"]["word"])
    print_lines(out, [f"report: {folder}/report.html; numbers in result.json and equity.parquet"])
    print_next(out, config.run.address or folder)


def print_next(out: Console, run: str | Path) -> None:
    """Prints the commands that follow a run, a line each, so that they can be pasted."""
    bundle = free_name(Path("bundles") / Path(run).name)
    lines = {"next": ("train.backtest", run), "to serve it": ("export.bundle", run, "--out", bundle)}
    for what, (command, *words) in lines.items():
        out.print(f"{what}: {command_line(str(command), *words)}", soft_wrap=True, markup=False, emoji=False)


def print_lines(out: Console, said: Iterable[str], word: str | None = None) -> None:
    """Prints sentences, on a terminal broken between words; those that begin with `word` in bold."""
    for sentence in said:
        style = "bold" if word is not None and sentence.startswith(word) else None
        indent = " " * (len(sentence) - len(sentence.lstrip()))
        wrapper = textwrap.TextWrapper(
            out.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        parts = wrapper.wrap(sentence)
        for line in (parts or [""]) if out.is_terminal else [sentence]:
            out.print(line, soft_wrap=True, style=style)


def columns_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Metrics that say something of what was held: of a single asset neither concentration nor diversification."""
    alone = len(result["symbols"]) == 1
    return tuple(name for name in SHOWN if not (alone and name in OF_SEVERAL))


def table(result: dict[str, Any], columns: Sequence[str] | None = None, without: Container[str] = ()) -> Grid:
    """Makes a table of the agent and the baselines, a row each.

    Args:
        result: as result.json.
        columns: metrics; None: all that say something.
        without: baselines that are left out.
    """
    columns = columns_of(result) if columns is None else columns
    name = result.get("span", "test")
    span = result["spans"][name]
    kind = "SYNTHETIC " if result["synthetic"] else ""
    called = f"{name} span" if name.isalpha() else "span"
    title = f"{kind}{accounts_of(result)}, {called} {span[0][0][:10]} to {span[-1][1][:10]}, costs included"
    grid = Grid(title, ("", *(COLUMNS[name] for name in columns)))
    baselines = {name: block for name, block in result["baselines"].items() if name not in without}
    rows = {f"agent ({result['policy']})": result["agent"], **baselines}
    for name, block in rows.items():
        grid.add(name, *cells(block, columns), bold=block is result["agent"])
    return grid


def accounts_of(result: dict[str, Any]) -> str:
    """Words the accounts of a result: the symbols, or the equal-weighted accounts of a pool."""
    symbols = result["symbols"]
    return f"{len(symbols)} accounts of equal weight" if "by_symbol" in result else " ".join(symbols)


def symbol_table(result: dict[str, Any], columns: Sequence[str] = tuple(OF_SYMBOLS)) -> Grid:
    """Makes a table of a pool's symbols, a row each: the agent, its base, its own mean weight held, one bar late."""
    grid = Grid("each symbol's own account, Sharpe", ("", "decisions", *columns))
    for symbol, block in result["by_symbol"].items():
        grid.add(symbol, *numbers(block, ("decisions", *(OF_SYMBOLS[name] for name in columns))))
    return grid


def cells(block: dict[str, Any], columns: Sequence[str] = SHOWN) -> list[str]:
    """Formats metrics of a block as the cells of a row."""
    low, high = block[INTERVAL]
    interval = "-" if low is None else f"{low:.2f} to {high:.2f}"
    return [interval if n == INTERVAL else number(block[n], FORMS[n]) for n in columns]


def run_lines(result: dict[str, Any], config: Config) -> list[str]:
    """Writes the lines under the table of a run."""
    timing = result["timings"]
    speed = timing["steps_per_second"]
    pace = f" ({speed:,.0f} steps/s)" if speed else ""
    advice = curve_advice(result, result.get("course"))
    return [
        *verdict_lines(result, config.market.initial_capital),
        *filter(None, [permutations(result.get("permutations"))]),
        f"trained {timing['steps']:,} steps in {timing['train_seconds']:.1f} s{pace} on {timing['device']}; "
        f"{times_beside(timing)}; peak memory {timing['peak_memory_mb']:,.0f} MB",
        *([advice] if advice else []),
    ]


def times_beside(timing: Mapping[str, Any]) -> str:
    """Words what a run took beside training; older results do not say all of it."""
    took = {
        "compiling": timing["compile_seconds"],
        "data": timing["data_seconds"],
        "evaluating": timing.get("evaluate_seconds", 0.0) + timing.get("judge_seconds", 0.0),
        "report": timing.get("report_seconds"),
    }
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items() if seconds is not None)


def verdict_lines(result: dict[str, Any], capital: float) -> list[str]:
    """Writes the lines that say what the numbers mean, and the verdict."""
    verdict, lines = result["verdict"], list(sentences(result))
    base = (result["baselines"].get("base") or {}).get("final_equity")
    beside = "" if base is None else f", with the base position alone {capital * base:,.0f}"
    lines = [
        "",
        f"{headline(verdict)}: {lines[0] if lines else verdict['reason']}",
        *lines[1:],
        *([f"reason: {verdict['reason']}"] if lines else []),
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


def print_backtest(
    result: dict[str, Any], rows: Sequence[dict[str, Any]], capital: float, above: Mapping[str, str] | None = None
) -> None:
    """Prints table, sensitivity to cost and delay, audits and verdict of one policy.

    Args:
        result: as result.json.
        rows: of the grid.
        capital: money at the start.
        above: baselines that have their row in a table above, each with the name of the policy there.
    """
    out, above = console(), above or {}
    out.print()
    print_lines(out, [str(result["name"])], str(result["name"]))
    print_grid(out, table(result, without=above))
    for name in dict.fromkeys(above.values()):
        print_lines(out, [f"{', '.join(each for each in above if above[each] == name)}: as in the table of {name}"])
    if "by_symbol" in result:
        print_grid(out, symbol_table(result))
    out.print()
    print_grid(out, sensitivity(result, rows))
    out.print()
    marks = {True: "passed", False: "FAILED", None: "info"}
    print_lines(
        out, (f"audit {audit['name']}: {marks[audit['passed']]}: {audit['detail']}" for audit in result["audits"])
    )
    print_lines(out, verdict_lines(result, capital), result["verdict"]["word"])


def sensitivity(result: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Grid:
    """Makes a table of the Sharpe ratio by cost and delay, minus that of the best baseline where it has rows."""
    best = result["agent"]["sharpe_difference"]["baseline"]
    found = by_cell(r for r in rows if r["policy"] == result["name"] and r["seed"] in (None, result["chosen_seed"]))
    beside = by_cell(r for r in rows if r["policy"] == best and r["seed"] in (None, result["chosen_seed"]))
    costs, delays = sorted({cost for cost, _ in found}), sorted({delay for _, delay in found})
    windows = result["windows"]["number"]
    mean = f", mean of {windows} windows" if windows > 1 else ""
    title = f"Sharpe by cost and delay{mean} (in brackets: minus {best}'s)"
    grid = Grid(title, ("", *(f"{cost:g} bp" for cost in costs)))
    for delay in delays:
        texts = []
        for cost in costs:
            value, other = found[cost, delay], beside.get((cost, delay))
            texts.append(f"{value:.2f}" + ("" if other is None else f" ({value - other:+.2f})"))
        late = f"{delay} bar{'s' if delay > 1 else ''} late"
        grid.add(late if delay else "on time", *texts)
    return grid


def by_cell(rows: Iterable[dict[str, Any]]) -> dict[tuple[float, int], float]:
    """Sharpe ratio by cost and delay, mean of the windows."""
    found: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        found.setdefault((row["cost"], row["delay"]), []).append(zero_if_nan(row["sharpe"]))
    return {cell: sum(sharpes) / len(sharpes) for cell, sharpes in found.items()}


def console() -> Console:
    """Opens standard output with the width of COLUMNS, else of the terminal, else 118 columns.

    Where the output goes into a pipe, the terminal is the one of standard error.
    """
    width = int(os.environ.get("COLUMNS") or 0) if os.environ.get("COLUMNS", "").isdigit() else 0
    # The streams of the process, since a command wraps its standard output.
    for stream, own in ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__)):
        if not width and stream.isatty() and own is not None:
            with contextlib.suppress(OSError, ValueError):  # a terminal that does not say how wide it is
                width = os.get_terminal_size(own.fileno()).columns
    return Console(width=width or WIDTH, highlight=False, markup=False)
