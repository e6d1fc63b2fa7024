"""Formats a comparison: a line for each trial, tables at the end, and the plot."""

import statistics
from typing import Any

from train.benchmarks.peers.config import PeersConfig
from train.benchmarks.peers.trial import OURS, Trial

Measured = list[tuple[Trial, dict[str, Any]]]
NAMES = {
    "ppo": "himari ppo",
    "pathwise": "himari pathwise",
    "rejax": "rejax PPO",
    "sb3": "SB3 PPO",
    "sb3-recurrent": "SB3 RecurrentPPO",
}


def title(trial: Trial) -> str:
    """Names the contestant, and whose hyperparameters it has."""
    whose = {"ours": "our values", "quick": "our quick values", "own": "its defaults"}
    if trial.contestant in OURS:
        whose = {"ours": "defaults", "quick": "--preset quick"}
    return f"{NAMES[trial.contestant]}, {whose[trial.values]}"


def setting(trial: Trial) -> str:
    """Words the number of environments and the learning rate."""
    count = f"{trial.num_envs} envs" if trial.num_envs else ""
    seeds = f" x {trial.num_seeds} seeds" if trial.num_seeds > 1 else ""
    rate = f", lr {trial.learning_rate:g}" if trial.learning_rate and trial.purpose != "speed" else ""
    return count + seeds + rate


def trial_line(trial: Trial, result: dict[str, Any]) -> str:
    """Formats a trial as a line."""
    start = f"{trial.purpose:6} {trial.market:18} {trial.policy:4} {title(trial):30} {setting(trial):18}"
    where = f"{start} seed {trial.seed:<3}"
    if "error" in result:
        return f"{where} failed: {result['error']}"
    return f"{where} {outcome(trial, result)}"


def outcome(trial: Trial, result: dict[str, Any]) -> str:
    """Formats the result of a trial as text."""
    if trial.purpose == "speed":
        share = result.get("work_per_step")
        extra = f", {share['flops']:.3g} FLOP and {share['bytes']:.3g} bytes a step" if share else ""
        return f"{result['steps_per_second']:10,.0f} steps/s, {result['peak_memory_mb']:,.0f} MB{extra}"
    if result.get("seconds"):
        return f"{result['seconds']:7.2f} s, {result['steps']:,} steps, ratio {result['ratio']:.3f}"
    if "note" in result:
        return result["note"]
    steps = f"{result['clock']:.0f} s, {result['played']:,} steps"
    return f"not reached in {steps}; ratio {result['ratio']:.3f}, best {result['best_ratio']:.3f}"


def by_row(measured: Measured) -> dict[tuple, Measured]:
    """Trials that succeeded, by what they measure."""
    rows: dict[tuple, Measured] = {}
    for trial, result in measured:
        if "error" not in result:
            rows.setdefault(trial.row, []).append((trial, result))
    return rows


def best_speed(measured: Measured) -> list[tuple[Trial, list[dict[str, Any]], Measured]]:
    """For each row of the speed table: a trial at its best number of environments, its results, all others."""
    info = []
    for row in by_row([pair for pair in measured if pair[0].purpose == "speed"]).values():
        first = [pair for pair in row if pair[0].seed == 0]
        best = max(first, key=lambda pair: pair[1]["steps_per_second"])[0]
        info.append((best, [x for trial, x in row if trial.num_envs == best.num_envs], first))
    return info


def speed_table(measured: Measured, bench: PeersConfig) -> list[str]:
    """Formats the table of steps per second at equal work."""
    rows = best_speed(measured)
    if not rows:
        return []
    hyper = rows[0][0].hyper
    lines = [
        "",
        f"steps per second in training on candles: 16 numbers in, costs and reward of the account, {hyper.epochs} "
        f"epochs of {hyper.minibatches} minibatches, the same steps per update",
        f"{'':31} {'best at':>9} {'steps/s':>11} {'low':>11} {'high':>11} {'compile':>8} {'memory':>9}   "
        "each number of envs",
    ]
    for trial, results, first in rows:
        speeds = [x["steps_per_second"] for x in results]
        compiling = statistics.median(x["compile_seconds"] for x in results)
        memory = statistics.median(x["peak_memory_mb"] for x in results)
        others = "  ".join(f"{t.num_envs}: {x['steps_per_second']:,.0f}" for t, x in first)
        name = f"{trial.policy:4} {NAMES[trial.contestant]}"
        lines.append(
            f"{name:31} {trial.num_envs:9d} {statistics.median(speeds):11,.0f} {min(speeds):11,.0f} "
            f"{max(speeds):11,.0f} {compiling:6.1f} s {memory:6,.0f} MB   {others}{roofline(results[0], bench)}"
        )
    return lines


def roofline(result: dict[str, Any], bench: PeersConfig) -> str:
    """Share of the device's peaks, where work was counted and the peaks are given."""
    work = result.get("work_per_step")
    if not work or not (bench.peak_tflops and bench.peak_gbs):
        return ""
    flops = work["flops"] * result["steps_per_second"] / (bench.peak_tflops * 1e12)
    moved = work["bytes"] * result["steps_per_second"] / (bench.peak_gbs * 1e9)
    return f"   {flops:.1%} of the FLOPs, {moved:.1%} of the bandwidth"


def race_rows(measured: Measured) -> list[tuple[Trial, list[dict[str, Any]], Measured]]:
    """For each row of the races: a trial, its results by seed, its search."""
    info = []
    for row in by_row(measured).values():
        races = [pair for pair in row if pair[0].purpose == "race"]
        if races:
            info.append((races[0][0], [x for _, x in races], [pair for pair in row if pair[0].purpose == "search"]))
    return info


def race_tables(measured: Measured, bench: PeersConfig) -> list[str]:
    """Formats the tables of seconds to the goal, each with its search."""
    lines = []
    rows = race_rows(measured)
    for market in dict.fromkeys(trial.market for trial, *_ in rows):
        lines += [
            "",
            f"{market}: seconds of training to {bench.goal:.0%} of the optimum, compiling and scoring not counted",
            f"{'':31} {'at':>20} {'median':>22} {'by seed':>26} {'steps':>10} {'compile':>8} {'memory':>9}",
        ]
        here = [row for row in rows if row[0].market == market]
        lines += [race_line(trial, results) for trial, results, _ in here]
        lines += [line for trial, _, search in here if search for line in search_lines(trial, search)]
    return lines


def median_seconds(results: list[dict[str, Any]]) -> float:
    """Median seconds to the goal over the seeds; infinite where most did not reach it."""
    return statistics.median_high([x.get("seconds") or float("inf") for x in results])


def race_line(trial: Trial, results: list[dict[str, Any]]) -> str:
    """Formats a row of a race."""
    middle = median_seconds(results)
    clock = max((x.get("clock", trial.limit) for x in results if not x.get("seconds")), default=0.0)
    text = f"{middle:.2f} s" if middle < float("inf") else f"not reached in {clock:.0f} s"
    each = " ".join(f"{x['seconds']:.2f}" if x.get("seconds") else f"({x.get('ratio', 0):.2f})" for x in results)
    steps = [x["steps"] for x in results if x.get("steps")]
    info = f"{statistics.median(steps) / 1e6:.2f} M" if steps else "-"
    compiling = statistics.median(x.get("compile_seconds", 0) for x in results)
    memory = statistics.median(x.get("peak_memory_mb", float("nan")) for x in results)
    name = f"{title(trial):31} {setting(trial):>20}"
    return f"{name} {text:>22} {each:>26} {info:>10} {compiling:6.1f} s {memory:6,.0f} MB"


def search_lines(trial: Trial, search: Measured) -> list[str]:
    """Lists the combinations of the search, each with its seconds, or its best ratio in brackets."""
    info = [
        f"{setting(t)}: {x['seconds']:.2f} s" if x.get("seconds") else f"{setting(t)}: ({x.get('best_ratio', 0):.2f})"
        for t, x in search
    ]
    return [f"  searched, {title(trial)}:", *(f"    {'; '.join(info[n : n + 3])}" for n in range(0, len(info), 3))]
