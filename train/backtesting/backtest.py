"""Runs a backtest: simulates entries over their grid, reaches a verdict on the whole span, writes the files."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from himari_jax.errors import InputError, StorageError
from himari_jax.plugins import BASELINES
from train.artifacts.files import null_if_nan, write_frame, write_json
from train.artifacts.metrics_file import read_metrics
from train.artifacts.provenance import findings_of, tools
from train.artifacts.run_folder import read_result
from train.backtesting.diagnostics import collapse, lag, timing
from train.backtesting.entries import Entry, costs_of, delays_of, ledger_of, load_entries
from train.backtesting.grid import EquityFile, Rivals, Windows, cut_windows, grid_frame, play_grid
from train.backtesting.multiple_testing import Evaluation, compare_all, print_multiple_testing
from train.config.backtest import BacktestConfig
from train.config.serialize import to_json
from train.data.base import describe_base, idle_shares, merge_shares
from train.evaluation.by_symbol import by_symbol
from train.evaluation.ledger import Ledger
from train.evaluation.summary import correlation_advice, summarize
from train.evaluation.trials import note_trials
from train.reporting.console import print_backtest
from train.reporting.report import write_page
from train.reporting.run_files import Extra
from train.reporting.stages import Stages
from train.reporting.subjects import SUBJECTS
from train.simulation.baselines import of_agent
from train.simulation.frames import closing_prices, equity_frame
from train.simulation.play import play_whole
from train.simulation.simulator import ends
from train.simulation.trained import Agent


def backtest(config: BacktestConfig, out: Path) -> int:
    """Plays, evaluates, writes and prints; 0 when done."""
    started = time.perf_counter()
    with Stages("backtest").stage("reading candles, auditing causality"):
        entries = load_entries(config.entries, config.data, config.grid)
    refuse_mixture(entries)
    windows = [cut_windows(entry.num_rows, config.windows, config.window_steps) for entry in entries]
    make_folder(out)
    ledger = ledger_of(entries, config.ledger)
    with equity_file(config, out) as equity:
        evaluations = [
            evaluate_entry(entry, parts, config, ledger, equity) for entry, parts in zip(entries, windows, strict=True)
        ]
    rows = joined_rows(evaluations)
    many = compare_all(evaluations)
    seconds = time.perf_counter() - started
    results = [finish(evaluation, many, len(rows), seconds) for evaluation in evaluations]
    remove_stale_results(out, config)
    with Stages("backtest").stage("writing the report"):
        write_all(out, config, evaluations, results, rows)
    for k, (evaluation, result) in enumerate(zip(evaluations, results, strict=True)):
        entry = evaluation.entry
        above = printed_above(entry, [each.entry for each in evaluations[:k]])
        print_backtest(result, evaluation.rows, entry.market.initial_capital, above)
    print_multiple_testing(many)
    print(f"{len(rows):,} cells in {seconds:.1f} s on {jax.devices()[0].device_kind}; next: open {out}/report.html")
    return 0


def refuse_mixture(entries: Sequence[Entry]) -> None:
    """Refuses entries of different symbols: one backtest has one set.

    Raises:
        InputError: two entries have others.
    """
    first = entries[0]
    for entry in entries[1:]:
        if entry.symbols != first.symbols:
            raise InputError(
                f"{entry.name} plays on {' '.join(entry.symbols)}, {first.name} on {' '.join(first.symbols)}; "
                "backtest them one by one, or name the same --symbols"
            )


def remove_stale_results(out: Path, config: BacktestConfig) -> None:
    """Removes what an earlier backtest left in the folder and this one does not write."""
    stale = [*out.glob("result*.json"), *out.glob("report*.html"), out / "backtest.parquet"]
    for path in [*stale, *([out / "equity.parquet"] if config.equity == "none" else [])]:
        path.unlink(missing_ok=True)


def make_folder(out: Path) -> None:
    """Makes the output folder before minutes are spent.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {out}: {error.strerror}; choose a folder that can be written") from error
    if not os.access(out, os.W_OK):
        raise StorageError(f"--out {out}: cannot be written; choose another folder")


def equity_file(config: BacktestConfig, out: Path) -> contextlib.AbstractContextManager[EquityFile | None]:
    """Opens the file that takes the equity of every cell; None where none is wanted."""
    return contextlib.nullcontext() if config.equity == "none" else EquityFile(out / "equity.parquet")


def evaluate_entry(
    entry: Entry, windows: Windows, config: BacktestConfig, ledger: Ledger, equity: EquityFile | None
) -> Evaluation:
    """Plays an entry on the whole span at its own cost and delay, for the verdict, and over its grid.

    Args:
        entry: who plays.
        windows: parts of the span.
        config: flags.
        ledger: of trials.
        equity: takes the equity of the grid.
    """
    stages = Stages(f"{entry.name}, {entry.num_rows:,} decisions")
    with stages.stage("playing it and the baselines"):
        played = play_whole(entry.simulator, entry.play, entry.chosen, entry.delay, entry.cost)
    returns = [history.returns for history in played.agents]
    base = played.baselines["base"].returns
    trials = note_trials(ledger, entry.evaluated, entry.seeds, returns, base, entry.chosen)
    seeds = [seed or 0 for seed in entry.seeds]
    with stages.stage("intervals by bootstrap"):
        result, samples = summarize(
            played,
            entry.chosen,
            seeds,
            trials,
            doubts=entry.doubts,
            worthwhile=config.worthwhile,
            rule=named_rule(entry),
            subject=SUBJECTS[entry.source.kind],
        )
    if entry.simulator.is_pool:
        result["by_symbol"] = by_symbol(played, entry.chosen)
    else:
        result["advice"] += correlation_advice(entry.candles, entry.data.span)
    delays, costs = delays_of(config.grid, entry.delay), costs_of(config.grid, entry.cost)
    rivals = Rivals(config.shown_baselines, played.draw)
    with stages.stage(f"the grid of {len(windows.starts) * len(delays) * len(costs):,} cells"):
        rows = play_grid(entry, windows, delays, costs, rivals, equity, config.equity == "own")
        # Of the whole span the audit of lag needs no more than every delay at the own cost.
        everything = Windows((0,), entry.num_rows)
        whole = rows if windows == everything else play_grid(entry, everything, delays, (entry.cost,))
    audits = [*entry.audits, lag(entry, result, whole), collapse(entry, played, result), timing(result)]
    result["audits"] = [audit.to_json() for audit in audits]
    return Evaluation(entry, played, result, samples, windows, rows)


def named_rule(entry: Entry) -> str | None:
    """Name of the simple rule that did best on the validation span of a run; None where it is unknown."""
    if not isinstance(entry.source, Agent):
        return None
    rules = (read_result(entry.source.folder) or {}).get("rules") or {}
    return rules.get("rule") if rules.get("chosen_on") == "validation" else None


def joined_rows(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Rows of backtest.parquet; baselines that depend on the market alone stand there once."""
    rows: list[dict[str, Any]] = []
    for k, evaluation in enumerate(evaluations):
        entry = evaluation.entry
        alike = any(same_baselines(entry, other.entry) for other in evaluations[:k])
        kept = [row for row in evaluation.rows if not (alike and of_the_market(row))]
        rows += [row if k == 0 else renamed(row, entry.name) for row in kept]
    return rows


def same_baselines(one: Entry, other: Entry) -> bool:
    """Whether the baselines that do not depend on the agent are the same accounts."""
    return one.simulator is other.simulator and one.cost == other.cost


def printed_above(entry: Entry, earlier: Sequence[Entry]) -> dict[str, str]:
    """Baselines of an entry that an earlier one has, too, each with the name of that entry."""
    alike = [other.name for other in earlier if same_baselines(entry, other) and entry.delay == other.delay]
    return {name: alike[0] for name in BASELINES.names if alike and name not in of_agent()}


def of_the_market(row: dict[str, Any]) -> bool:
    """Whether a row is of a baseline that depends on the market alone."""
    return "timing_value" not in row and row["policy"] not in of_agent()


def renamed(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Names the entry in the baselines of a later one."""
    return row if "timing_value" in row else row | {"policy": f"{row['policy']} of {name}"}


def finish(evaluation: Evaluation, many: dict[str, Any] | None, cells: int, seconds: float) -> dict[str, Any]:
    """Completes the result of an entry, as result.json holds it."""
    entry, windows = evaluation.entry, evaluation.windows
    source, span, flags = entry.source, entry.data.name, entry.config.policy
    result = evaluation.result | {
        "name": entry.name,
        "kind": entry.source.kind,
        "policy": flags.policy if isinstance(source, Agent) else source.name,
        "symbols": list(entry.simulator.symbols),
        "synthetic": entry.candles.synthetic,
        "span": span,
        "spans": {span: ends(entry.candles, entry.data.span)},
        "fingerprint": entry.fingerprint,
        "own_cost": entry.own_cost,
        "own_delay": entry.delay,
        "checkpoint": {"step": source.step, "which": source.checkpoint} if isinstance(source, Agent) else None,
        "windows": {"number": len(windows.starts), "steps": windows.steps},
        "many": many,
        "doubts": list(entry.doubts),
        "base": base_on(entry),
        "timings": {"device": jax.devices()[0].device_kind, "seconds": seconds, "cells": cells},
    }
    return dict(null_if_nan(result))


def base_on(entry: Entry) -> dict[str, Any]:
    """Describes the base of an entry, and the shares of bars where the multiplier changes nothing."""
    simulator, market = entry.simulator, entry.market
    own = [
        idle_shares(table.base, {entry.data.name: each.span}, each.candles.symbols, market.max_position_pct)
        for each, table in zip(simulator.members, simulator.markets, strict=True)
    ]
    return describe_base(market, entry.base, merge_shares(own))


def write_all(
    out: Path,
    config: BacktestConfig,
    evaluations: Sequence[Evaluation],
    results: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Writes backtest.parquet, result.json and the report, the report last: where it exists, everything does."""
    write_frame(out / "backtest.parquet", grid_frame(rows))
    summaries = [summary(result) for result in results]
    for k, (evaluation, result) in enumerate(zip(evaluations, results, strict=True)):
        entry = evaluation.entry
        result["policies"] = summaries if len(summaries) > 1 else None
        suffix = "" if k == 0 else f"-{entry.name}"
        write_json(out / f"result{suffix}.json", result)
        write_report(out / f"report{suffix}.html", config, evaluation, result)


def write_report(path: Path, config: BacktestConfig, evaluation: Evaluation, result: dict[str, Any]) -> None:
    """Writes the report of one entry."""
    entry, played, source = evaluation.entry, evaluation.played, evaluation.entry.source
    extra = Extra(
        prices=closing_prices(entry.simulator),
        backtest=grid_frame(evaluation.rows),
        agent=entry.name,
        samples=evaluation.samples,
        audits=result["audits"],
    )
    curves = {name: history.bar_equity for name, history in played.baselines.items()}
    frame = equity_frame(entry.simulator, 0, entry.delay, played.agents[entry.chosen], curves)
    training = read_metrics(source.folder) if isinstance(source, Agent) else []
    data = findings_of(entry.candles, entry.data.report) | {"base": result["base"]}
    write_page(path, result, settings_of(entry, config), data, training, frame, extra)


def settings_of(entry: Entry, config: BacktestConfig) -> dict[str, Any]:
    """Collects the settings section of the report: the run's flags, its provenance, and the flags of the backtest."""
    source = entry.source
    stored = dict(source.stored) if isinstance(source, Agent) else {"flags": to_json(entry.config), **tools()}
    return stored | {"backtest": {"entries": list(config.entries), **grouped(config)}}


def grouped(config: BacktestConfig) -> dict[str, Any]:
    """Returns the flags of a backtest as JSON."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in ("entries", "debug")}


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of the table of policies."""
    agent = result["agent"]
    return {
        "name": result["name"],
        "word": result["verdict"]["word"],
        "sharpe": agent["sharpe"],
        "sharpe_interval": agent["sharpe_interval"],
        "sharpe_difference": agent["sharpe_difference"],
    }
