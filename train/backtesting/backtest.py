"""What a backtest does: entrants on their ground, a judgment on the whole span, the grid, the files."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from himari_jax.errors import InputError, StorageError
from himari_jax.times import bar_name
from train.artifacts.files import null_if_nan, write_json
from train.artifacts.metrics_file import read_metrics
from train.artifacts.provenance import findings_of, tools
from train.backtesting.diagnostics import collapse, lag, timing
from train.backtesting.entries import Member, costs_of, delays_of, enter, ledger_root
from train.backtesting.grid import EquityFile, Windows, cut_windows, grid_frame, play_grid
from train.backtesting.multiple_testing import Evaluation, compare_all, print_many
from train.config.backtest import BacktestConfig
from train.config.serialize import to_json
from train.evaluation.summary import correlation_advice, summarize
from train.evaluation.trials import note_trials
from train.reporting.console import print_backtest
from train.reporting.report import write_page
from train.reporting.run_files import Extra
from train.simulation.frames import closing_prices
from train.simulation.simulator import ends, play_whole, span_name
from train.simulation.trained import Agent


def backtest(config: BacktestConfig, out: Path) -> int:
    """Plays, judges, writes and prints; 0 when done."""
    started = time.perf_counter()
    members = enter(config.entrants, config.ground, config.grid)
    refuse_mixture(members)
    make_folder(out)
    judged = [evaluate_entry(member, config, ledger_root(members)) for member in members]
    equity = None if config.equity == "none" else EquityFile(out / "equity.parquet")
    try:
        rows, places = play_windows(judged, config, equity)
        if equity is not None:
            equity.close()
    except BaseException:
        if equity is not None:
            equity.discard()
        raise
    many = compare_all(judged)
    seconds = time.perf_counter() - started
    results = [finish(j, many, rows, place, seconds) for j, place in zip(judged, places, strict=True)]
    remove_stale_results(out, config)
    write_all(out, config, judged, results, rows)
    for j, result in zip(judged, results, strict=True):
        print_backtest(result, j.whole, j.member.config.market.initial_capital)
    print_many(many)
    print(f"{len(rows):,} cells in {seconds:.1f} s on {jax.devices()[0].device_kind}; next: open {out}/report.html")
    return 0


def refuse_mixture(members: Sequence[Member]) -> None:
    """One backtest has one set of symbols.

    Raises:
        InputError: two members have others.
    """
    first = members[0].stage.candles.symbols
    for member in members[1:]:
        if (found := member.stage.candles.symbols) != first:
            raise InputError(
                f"{member.entrant.name} plays on {' '.join(found)}, {members[0].entrant.name} on {' '.join(first)}; "
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


def evaluate_entry(member: Member, config: BacktestConfig, root: Path) -> Evaluation:
    """The verdict on the whole span, at the member's own cost and delay."""
    e, stage = member.entrant, member.stage
    played = play_whole(stage, e.play, e.chosen, e.delay, e.cost)
    candles = stage.candles
    key = member.digest, candles.fingerprint, span_name(stage), bar_name(candles.bar_ms)
    seeds = [0 if seed is None else seed for seed in e.seeds]
    trials = note_trials(root, key, seeds, played.agents)
    result, samples = summarize(played, e.chosen, seeds, trials, doubts=member.doubts)
    result["advice"] += correlation_advice(candles, stage.span)
    delays, costs = delays_of(config.grid, e.delay), costs_of(config.grid, e.cost)
    everything = Windows((0,), stage.num_rows)
    names = config.shown_baselines
    whole = play_grid(e, everything, delays, costs, names, None)
    findings = [*member.findings, lag(result, whole, e.name, e.seeds[e.chosen], e.cost)]
    findings += [collapse(member, played, result), timing(result)]
    result["audits"] = [finding.to_json() for finding in findings]
    return Evaluation(member, played, result, samples, whole)


def play_windows(
    judged: Sequence[Evaluation], config: BacktestConfig, equity: EquityFile | None
) -> tuple[list[dict[str, Any]], list[Windows]]:
    """Rows of backtest.parquet and the windows of every member; equity goes to its file."""
    rows: list[dict[str, Any]] = []
    places: list[Windows] = []
    for j in judged:
        e = j.member.entrant
        windows = cut_windows(j.member.stage.num_rows, config.windows, config.window_steps)
        delays, costs = delays_of(config.grid, e.delay), costs_of(config.grid, e.cost)
        found = play_grid(e, windows, delays, costs, config.shown_baselines, equity, config.equity == "own")
        alike = any(same_baselines(j.member, other.member) for other in judged[: len(places)])
        rows += [row if not places else renamed(row, e.name) for row in found if not (alike and repeated(row))]
        places.append(windows)
    return rows, places


def same_baselines(one: Member, other: Member) -> bool:
    """Whether the baselines that do not depend on the agent are the same accounts."""
    ours, theirs = (
        (
            m.stage.candles.fingerprint, m.stage.span, dataclasses.replace(m.config.market, delay=0), m.stage.delays,
            m.entrant.cost,
        )
        for m in (one, other)
    )  # fmt: skip
    return ours == theirs


def repeated(row: dict[str, Any]) -> bool:
    """Whether a row is of a baseline that depends on the market alone."""
    return "timing_value" not in row and row["policy"] not in ("random", "constant")


def renamed(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Baselines of a later member say whose they are."""
    return row if "timing_value" in row else row | {"policy": f"{row['policy']} of {name}"}


def finish(
    j: Evaluation, many: dict[str, Any] | None, rows: Sequence[Any], place: Windows, seconds: float
) -> dict[str, Any]:
    """The result of a member, as result.json holds it."""
    member, stage = j.member, j.member.stage
    source = member.source
    spans = {member.ground.name: ends(stage.candles, stage.span)}
    result = j.result | {
        "name": member.entrant.name,
        "policy": source.config.policy.policy if isinstance(source, Agent) else source.name,
        "symbols": list(stage.candles.symbols),
        "synthetic": stage.candles.synthetic,
        "span": member.ground.name,
        "spans": spans,
        "fingerprint": stage.candles.fingerprint,
        "own_cost": round(1e4 * member.entrant.cost, 6),
        "own_delay": member.entrant.delay,
        "checkpoint": {"step": source.step, "which": source.checkpoint} if isinstance(source, Agent) else None,
        "windows": {"number": len(place.starts), "steps": place.steps},
        "many": many,
        "doubts": list(member.doubts),
        "timings": {"device": jax.devices()[0].device_kind, "seconds": seconds, "cells": len(rows)},
    }
    return dict(null_if_nan(result))


def write_all(
    out: Path,
    config: BacktestConfig,
    judged: Sequence[Evaluation],
    results: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
) -> None:
    """backtest.parquet, result.json and the report, the report last: where it stands, everything does."""
    from train.artifacts.files import write_frame
    from train.simulation.frames import equity_frame

    frame = grid_frame(rows)
    write_frame(out / "backtest.parquet", frame)
    summaries = [summary(result) for result in results]
    for k, (j, result) in enumerate(zip(judged, results, strict=True)):
        result["policies"] = summaries if len(summaries) > 1 else None
        stage, played = j.member.stage, j.played
        curves = {name: course.equity for name, course in played.baselines.items()}
        extra = Extra(
            prices=closing_prices(stage),
            backtest=grid_frame(j.whole),
            agent=j.member.entrant.name,
            samples=j.samples,
            audits=result["audits"],
        )
        suffix = "" if k == 0 else f"-{j.member.entrant.name}"
        write_json(out / f"result{suffix}.json", result)
        entrant = j.member.entrant
        course = equity_frame(stage, 0, entrant.delay, played.agents[entrant.chosen], curves)
        data = findings_of(stage.candles, j.member.ground.report)
        settings, source = settings_of(j.member, config), j.member.source
        training = read_metrics(source.folder) if isinstance(source, Agent) else []
        write_page(out / f"report{suffix}.html", result, settings, data, training, course, extra)


def settings_of(member: Member, config: BacktestConfig) -> dict[str, Any]:
    """What stands under settings: the run's flags, what made it, and the flags of the backtest."""
    source = member.source
    stored = dict(source.stored) if isinstance(source, Agent) else {"flags": to_json(member.config), **tools()}
    return stored | {"backtest": {"entrants": list(config.entrants), **grouped(config)}}


def grouped(config: BacktestConfig) -> dict[str, Any]:
    """The flags of a backtest as JSON."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in ("entrants", "debug")}


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """One line of the table of policies."""
    agent = result["agent"]
    return {
        "name": result["name"],
        "word": result["verdict"]["word"],
        "sharpe": agent["sharpe"],
        "sharpe_interval": agent["sharpe_interval"],
        "sharpe_difference": agent["sharpe_difference"],
    }
