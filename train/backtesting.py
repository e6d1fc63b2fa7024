"""What a backtest does: entrants on their ground, a judgement on the whole span, the grid, the files."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from himari_jax import metrics
from himari_jax.comparison import model_confidence_set, spa_pvalue, stepm_superior
from himari_jax.errors import InputError, StorageError
from himari_jax.sizing import cap_targets
from train.agents import Agent
from train.audits import Finding
from train.baselines import every_bar
from train.contest import Member, costs_of, delays_of, enter, ledger_root
from train.final import closing_prices, correlation_advice, ends, note_trials, play_whole, span_name
from train.folder import write_json
from train.grid import EquityFile, Windows, cut_windows, grid_frame, play_grid
from train.judge import BY_CHANCE, Played, judge, null_if_nan, zero_if_nan
from train.judge_config import BacktestConfig
from train.provenance import bar_name, findings_of, tools
from train.report import write_page
from train.report_run import Extra, read_metrics
from train.stage import play_orders
from train.stored import to_json
from train.table import print_backtest
from train.verdict import CONSTANT_BELOW

MULTIPLIERS = np.arange(1, 9) / 4  # of the base position, among which the best constant policy is sought
MOST_IN_SET = 64  # policies of a model confidence set: it compares all pairs


class Judged(NamedTuple):
    """A member, what was played, and the result."""

    member: Member
    played: Played
    result: dict[str, Any]
    samples: np.ndarray  # of the difference to the best baseline
    whole: list[dict[str, Any]]  # rows of the grid on the whole span


def backtest(config: BacktestConfig, out: Path) -> int:
    """Plays, judges, writes and prints; 0 when done."""
    started = time.perf_counter()
    members = enter(config.entrants, config.ground, config.grid)
    refuse_mixture(members)
    make_folder(out)
    judged = [judge_member(member, config, ledger_root(members)) for member in members]
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
    sweep(out, config)
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


def sweep(out: Path, config: BacktestConfig) -> None:
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


def judge_member(member: Member, config: BacktestConfig, root: Path) -> Judged:
    """The verdict on the whole span, at the member's own cost and delay."""
    e, stage = member.entrant, member.stage
    played = play_whole(stage, e.play, e.chosen, e.delay, e.cost)
    candles = stage.candles
    key = member.digest, candles.fingerprint, span_name(stage), bar_name(candles.bar_ms)
    seeds = [0 if seed is None else seed for seed in e.seeds]
    trials = note_trials(root, key, seeds, played.agents)
    result, samples = judge(played, e.chosen, seeds, trials, doubts=member.doubts)
    result["advice"] += correlation_advice(candles, stage.span)
    delays, costs = delays_of(config.grid, e.delay), costs_of(config.grid, e.cost)
    everything = Windows((0,), stage.num_rows)
    names = config.shown_baselines
    whole = play_grid(e, everything, delays, costs, names, None)
    findings = [*member.findings, lag(result, whole, e.name, e.seeds[e.chosen], e.cost)]
    findings += [collapse(member, played, result), timing(result)]
    result["audits"] = [finding.to_json() for finding in findings]
    return Judged(member, played, result, samples, whole)


def lag(result: dict[str, Any], rows: Sequence[dict[str, Any]], name: str, seed: int | None, cost: float) -> Finding:
    """Sharpe by delay, and whether it lives on delay 0 alone."""
    own = [r for r in rows if r["policy"] == name and r["seed"] == seed and abs(r["cost"] - 1e4 * cost) < 1e-6]
    told = ", ".join(f"{r['sharpe']:.2f} at {r['delay']}" for r in sorted(own, key=lambda r: r["delay"]))
    fails = result["delay"]["depends_on_delay_0"]
    return Finding("lag", not fails, f"Sharpe by bars of delay: {told}{'; it lives on time alone' if fails else ''}")


def collapse(member: Member, played: Played, result: dict[str, Any]) -> Finding:
    """Whether the policy is a constant, or its seeds are one policy."""
    agent, e = played.agents[member.entrant.chosen], member.entrant
    spread = result["multiplier_deviation"]
    told = f"what it says deviates by {spread:.3f} over the bars"
    if isinstance(member.source, Agent):
        best, at = best_constant(member)
        distance = float(np.abs(agent.multiplier - agent.multiplier.mean(0)).mean())
        difference = zero_if_nan(result["agent"]["sharpe"]) - best
        told += (
            f" (mean distance from its own mean {distance:.3f}); "
            f"Sharpe {difference:+.2f} against the best constant multiplier ({at:g}, {best:.2f})"
        )
    across = result["across_seeds"]
    if across:
        told += f"; {len(e.seeds)} seeds, correlation of positions {across['position_correlation']:.2f}"
    collapsed = bool(across and across["collapsed"])
    return Finding("collapse", not (spread < CONSTANT_BELOW or collapsed), told)


def best_constant(member: Member) -> tuple[float, float]:
    """Sharpe and multiplier of the constant policy that did best on the span, in hindsight."""
    e, stage, market = member.entrant, member.stage, member.config.market
    base = np.asarray(stage.market.base, np.float64)[np.asarray(stage.tape.seen[stage.delays.index(e.delay)])]
    caps = market.max_position_pct, market.max_gross
    orders = [every_bar(cap_targets(np.full(base.shape, m), base, *caps)) for m in MULTIPLIERS]
    played = play_orders(stage, 0, orders, [e.cost] * len(orders))
    sharpes = [zero_if_nan(metrics.sharpe(course.returns, stage.bars_per_year)) for course in played]
    k = int(np.argmax(sharpes))
    return sharpes[k], float(MULTIPLIERS[k])


def timing(result: dict[str, Any]) -> Finding:
    """Whether it adds anything to holding its own mean weights."""
    value, (low, high) = result["timing_value"]["value"], result["timing_value"]["interval"]
    passed = True if low > 0 else False if high < 0 else None
    told = f"Sharpe {value:+.2f} (95 % interval {low:+.2f} to {high:+.2f}) against holding its own mean weights"
    return Finding("timing value", passed, told)


def play_windows(
    judged: Sequence[Judged], config: BacktestConfig, equity: EquityFile | None
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


def compare_all(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """All policies at once, on the same bars: SPA, StepM and the model confidence set; None for a single policy.

    Returns over their deviation are compared, so that a mean is a Sharpe ratio.
    """
    columns: dict[str, np.ndarray] = {}
    for j in judged:
        e = j.member.entrant
        for seed, course in zip(e.seeds, j.played.agents, strict=True):
            columns[e.name if seed is None else f"{e.name} seed {seed}"] = course.returns
    lead = judged[0]
    grounds = {(j.member.stage.candles.fingerprint, j.member.stage.span) for j in judged}
    if len(columns) < 2 or len(grounds) > 1:
        return None
    benchmark = lead.result["agent"]["sharpe_difference"]["baseline"]
    models = np.stack([scaled(r) for r in columns.values()], 1)
    against = scaled(lead.played.baselines[benchmark].returns)
    names = list(columns)
    found: dict[str, Any] = {
        "policies": len(names),
        "benchmark": benchmark,
        "spa_pvalue": spa_pvalue(against, models),
        "superior": [names[k] for k in stepm_superior(against, models)],
    }
    others = {k: scaled(v.returns) for k, v in lead.played.baselines.items() if k not in BY_CHANCE and k != "cash"}
    if len(names) + len(others) <= MOST_IN_SET:
        both = np.concatenate([models, np.stack(list(others.values()), 1)], 1)
        kept = model_confidence_set(both).included
        found["confidence_set"] = [(names + list(others))[k] for k in kept]
    return found


def scaled(returns: np.ndarray) -> np.ndarray:
    """Returns over their deviation; 0 where they do not move."""
    sd = metrics.deviation(returns)
    return returns / sd if sd > 0 else np.zeros_like(returns)


def finish(
    j: Judged, many: dict[str, Any] | None, rows: Sequence[Any], place: Windows, seconds: float
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
    judged: Sequence[Judged],
    results: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
) -> None:
    """backtest.parquet, result.json and the report, the report last: where it stands, everything does."""
    from train.final import equity_frame, write_frame

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
        course = equity_frame(stage, 0, played.agents[j.member.entrant.chosen], curves)
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


def print_many(many: dict[str, Any] | None) -> None:
    """What can be said of all policies together."""
    if many is None:
        return
    best = ", ".join(many["superior"]) or "none"
    print(
        f"{many['policies']} policies against {many['benchmark']}: SPA p {many['spa_pvalue']:.3f}; "
        f"superior (StepM): {best}"
    )
    if "confidence_set" in many:
        print(f"the best one is, at 95 %, among: {', '.join(many['confidence_set'])} (model confidence set)")
