"""What a run prints at its end."""

from pathlib import Path
from typing import Any

from rich.table import Table

from train.config import Config
from train.logs import WIDTH, console


def print_result(result: dict[str, Any], config: Config, folder: Path) -> None:
    """The table, the verdict and what to do next."""
    out = console()
    out.print()
    # A narrow terminal gets two tables: a number cut in half is no number.
    parts = (COLUMNS,) if out.width >= WIDTH else (COLUMNS[:5], COLUMNS[5:])
    for part in parts:
        out.print(table(result, part))
    for line in summary(result, config):
        out.print(line, soft_wrap=True, style="bold" if line.startswith(result["verdict"]["word"]) else None)
    out.print(f"next: open {folder}/report.html; numbers in result.json and equity.parquet", soft_wrap=True)


def table(result: dict[str, Any], columns: tuple[str, ...]) -> Table:
    """The agent and the baselines, a row each, with some of the columns."""
    test = result["spans"]["test"]
    kind = "SYNTHETIC " if result["synthetic"] else ""
    title = f"{kind}{' '.join(result['symbols'])}, test span {test[0][0][:10]} to {test[-1][1][:10]}, costs included"
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for name in columns:
        grid.add_column(name, justify="right", no_wrap=True)
    rows = {f"agent ({result['policy']})": result["agent"], **result["baselines"]}
    for name, block in rows.items():
        texts = dict(zip(COLUMNS, cells(block), strict=True))
        grid.add_row(name, *(texts[column] for column in columns), style="bold" if block is result["agent"] else None)
    return grid


COLUMNS = (
    "Sharpe",
    "95 % interval",
    "Sortino",
    "CAGR",
    "max DD",
    "turnover/y",
    "exposure",
    "win rate",
    "Herfindahl",
    "divers.",
)


def cells(block: dict[str, Any]) -> list[str]:
    """The numbers of a row as text."""
    low, high = block["sharpe_interval"]
    return [
        number(block["sharpe"], "{:.2f}"),
        "-" if low is None else f"{low:.2f} to {high:.2f}",
        number(block["sortino"], "{:.2f}"),
        number(block["cagr"], "{:.1%}"),
        number(block["max_drawdown"], "{:.1%}"),
        number(block["turnover"], "{:.1f}"),
        number(block["exposure"], "{:.2f}"),
        number(block["win_rate_bar"], "{:.1%}"),
        number(block["herfindahl"], "{:.2f}"),
        number(block["diversification"], "{:.2f}"),
    ]


def number(value: float | None, form: str) -> str:
    """A number as text, a dash where it is undefined."""
    return "-" if value is None else form.format(value)


def summary(result: dict[str, Any], config: Config) -> list[str]:
    """The lines under the table."""
    difference, timing = result["agent"]["sharpe_difference"], result["timings"]
    low, high = (number(x, "{:+.2f}") for x in difference["interval"])
    capital = config.market.initial_capital
    lines = [
        "",
        f"Sharpe minus {difference['baseline']}'s (the best baseline): {number(difference['value'], '{:+.2f}')}, "
        f"95 % interval {low} to {high} (paired stationary bootstrap)",
        f"the smallest Sharpe that this sample could confirm: {number(result['minimum_detectable_sharpe'], '{:.2f}')}",
        f"one bar later: Sharpe {number(result['delay']['sharpe'], '{:.2f}')}",
        f"{capital:,.0f} became {capital * result['agent']['final_equity']:,.0f}",
    ]
    seeds = result["across_seeds"]
    if seeds:
        alarm = "; ALARM: the seeds collapsed into one policy" if seeds["collapsed"] else ""
        lines.append(
            f"{len(result['seeds'])} seeds: Sharpe mean {seeds['sharpe_mean']:.2f}, inter-quartile mean "
            f"{seeds['sharpe_iqm']:.2f}, deviation {seeds['sharpe_std']:.2f}; correlation of positions "
            f"{seeds['position_correlation']:.2f}{alarm}; shown: seed {result['chosen_seed']}, best on validation"
        )
    lines += [f"advice: {text}" for text in result["advice"]]
    verdict = result["verdict"]
    lines += ["", f"{verdict['word']}: {verdict['reason']}", ""]
    speed = timing["steps_per_second"]
    pace = f" ({speed:,.0f} steps/s)" if speed else ""
    lines.append(
        f"trained {timing['steps']:,} steps in {timing['train_seconds']:.1f} s{pace} on {timing['device']}; "
        f"compiling {timing['compile_seconds']:.1f} s, data {timing['data_seconds']:.1f} s; "
        f"peak memory {timing['peak_memory_mb']:,.0f} MB"
    )
    return lines
