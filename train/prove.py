"""`python -m train.prove`: does it learn? Markets with a known optimum, goals, and how near the learner came."""

import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from himari_jax.cli import invocation
from himari_jax.command import parse, require, run_command
from himari_jax.errors import InputError, last_line
from train.artifacts.files import write_text
from train.artifacts.metrics_file import read_metrics
from train.oracles.goals import ROWS, Block, Row
from train.oracles.plot import write_plot

PROG = invocation("train.prove")


QUICK_WORSE = 0.03  # what the short version may lack of a goal's share


@dataclass(frozen=True)
class ProveConfig:
    """Train on every market with a known optimum and print how near it came; resumes where it stopped."""

    seeds: int = 3
    """Policies of each row; the median counts."""
    out: str = "runs/prove"
    """Folder of the runs, of prove.json, prove.md and prove.svg; a row that is finished there is not run again."""
    only: tuple[str, ...] = ()
    """Rows whose names contain one of these words."""
    algorithms: tuple[str, ...] = ("ppo", "pathwise")
    """ppo, pathwise."""
    quick: bool = False
    """The short version: fewer rows and steps, PPO alone, one seed; 0.03 of a share is forgiven."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(1 <= self.seeds <= 1000, "--seeds", self.seeds, "1 to 1000")
        known = {"ppo", "pathwise"}
        require(set(self.algorithms) <= known, "--algorithms", " ".join(self.algorithms), "ppo, pathwise or both")
        require(self.device in ("auto", "cpu", "cuda"), "--device", self.device, "one of auto, cpu, cuda")


def main(args: Sequence[str]) -> int:
    """Prints a line for each run; 1 where a goal is missed by PPO."""
    config = parse(ProveConfig, args, PROG)
    rows = chosen(config)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    print(f"{HEAD}\n{'-' * len(HEAD)}")
    found: list[Block] = []
    for row, algorithm, steps in runs(rows, config):
        block = prove(row, algorithm, steps, config)
        found.append(block)
        print(line(block), flush=True)
        write_text(out / "prove.json", json.dumps(found, indent=1) + "\n")
        write_text(out / "prove.md", markdown(found))
        write_plot(found, out / "prove.svg")
    missed = [block["name"] for block in found if not block["met"] and block["algorithm"] == "ppo"]
    print(f"missed by PPO: {', '.join(missed)}" if missed else "every goal met by PPO")
    print(f"tables: {out}/prove.md, prove.json; curves: prove.svg; next: open {out}/*/report.html")
    return int(bool(missed))


def chosen(config: ProveConfig) -> list[Row]:
    """Picks the rows that are run.

    Raises:
        InputError: no row has such a name.
    """
    rows = [row for row in ROWS if not config.quick or row.quick]
    rows = [row for row in rows if not config.only or any(word.lower() in row.name.lower() for word in config.only)]
    if not rows:
        names = ", ".join(row.name for row in ROWS)
        raise InputError(f"--only {' '.join(config.only)}: no row has such a name; there are {names}")
    return rows


def runs(rows: Sequence[Row], config: ProveConfig) -> Iterator[tuple[Row, str, int]]:
    """Yields row, algorithm and steps of each run."""
    for row in rows:
        if config.quick:
            yield row, "ppo", row.quick or row.steps
            continue
        if "ppo" in config.algorithms:
            yield row, "ppo", row.steps
        if "pathwise" in config.algorithms and row.pathwise:
            yield row, "pathwise", row.pathwise


def prove(row: Row, algorithm: str, steps: int, config: ProveConfig) -> Block:
    """Trains a row where it is not finished, and measures it."""
    seeds = row.seeds or (1 if config.quick else config.seeds)
    name = "".join(c if c.isalnum() else "-" for c in f"{row.name}-{algorithm}-{seeds}{'-quick' * config.quick}")
    folder = Path(config.out) / name
    flags = f"{row.flags} --algorithm {algorithm} --total-steps {steps} --num-seeds {seeds} --device {config.device}"
    if row.markets:
        block = beside_pathwise(row, flags, folder, algorithm)
    else:
        block = medians(train(row.name, flags, folder), folder)
    goal = row.goal
    forgiven = {**block, "ratio": block["ratio"] + QUICK_WORSE} if config.quick and block["ratio"] else block
    return {
        "name": row.name,
        "algorithm": algorithm,
        "folder": str(folder),
        "flags": flags,
        "goal": goal.words,
        "met": goal.holds(forgiven),
        **block,
    }


def train(name: str, flags: str, folder: Path) -> Block:
    """Trains a run where it is not finished; returns its result.

    Raises:
        InputError: the training ended with an error.
    """
    command = [sys.executable, "-m", "train.ppo", *shlex.split(flags), "--run-dir", str(folder)]
    info = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if info.returncode:
        last = last_line(info.stderr, "no word")
        raise InputError(f"{name}: {invocation('train.ppo')} {flags} ended with {info.returncode}: {last}")
    return dict(json.loads((folder / "result.json").read_text()))


def beside_pathwise(row: Row, flags: str, folder: Path, algorithm: str) -> Block:
    """Trains on every market of a row by an algorithm and by the pathwise gradient, and compares their test Sharpes."""
    flags_of = {algorithm: flags, "pathwise": flags.replace(f"--algorithm {algorithm}", "--algorithm pathwise")}
    folder_of = {algorithm: folder, "pathwise": folder.with_name(folder.name.replace(f"-{algorithm}-", "-pathwise-"))}
    found = {
        kind: [train(row.name, f"{flags_of[kind]} {m}", folder_of[kind] / str(k)) for k, m in enumerate(row.markets)]
        for kind in flags_of
    }
    own, rival = (sharpes(found[kind]) for kind in (algorithm, "pathwise"))
    ratios = [a / b for a, b in zip(own, rival, strict=True)]
    timings = [result["timings"] for result in found[algorithm]]
    seeds = [seed for result in found[algorithm] for seed in result["seeds"]]
    reference = statistics.mean(rival)
    return {
        "optimum": reference,
        "ratio": statistics.mean(own) / reference,
        "lowest": min(ratios),
        "highest": max(ratios),
        "regret": reference - statistics.mean(own),
        "turnover": statistics.mean(seed["turnover"] for seed in seeds),
        "steps": timings[0]["steps"],
        "seconds": sum(timing["train_seconds"] for timing in timings) / len(seeds),
        "steps_to_90": None,
        "seconds_to_90": None,
    }


def sharpes(results: Sequence[Block]) -> list[float]:
    """Test Sharpe of each market, mean of its seeds; 0 where it is undefined."""
    return [statistics.mean(seed["sharpe"] or 0.0 for seed in result["seeds"]) for result in results]


def medians(result: Block, folder: Path) -> Block:
    """Medians over the seeds of what a goal looks at."""
    seeds = result["seeds"]
    numbers = {k for block in seeds for k, v in block.items() if isinstance(v, int | float)}
    block: Block = {k: statistics.median(float(s[k]) for s in seeds) for k in sorted(numbers)}
    ratios = [s["ratio"] for s in seeds]
    block |= {"ratio": None, "lowest": None, "highest": None, "num_seeds": len(seeds)}
    if None not in ratios:
        block |= {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    if "best_weights" in result:
        block["weight_error"] = statistics.median(
            max(abs(a - b) for a, b in zip(s["weights"], result["best_weights"], strict=True)) for s in seeds
        )
    words = [s["verdict"]["word"] for s in seeds if "verdict" in s]
    block["edges"] = words.count("EDGE") / len(words) if words else None
    timings = result["timings"]
    block["steps"] = timings["steps"]
    block["seconds"] = timings["train_seconds"] / len(seeds)
    block["compile_seconds"] = timings["compile_seconds"]
    return block | reached(folder, block["seconds"] / block["steps"])


def reached(folder: Path, seconds_per_step: float) -> Block:
    """Steps and seconds of training until the median of the seeds first had 90 % of the optimum."""
    first = [x for x in read_metrics(folder) if x.get("ratio_by_seed") and statistics.median(x["ratio_by_seed"]) >= 0.9]
    steps = first[0]["steps"] if first else None
    return {"steps_to_90": steps, "seconds_to_90": steps and steps * seconds_per_step}


HEAD = (
    f"{'market':29} {'algorithm':9} {'optimum':>9} {'share (lowest to highest)':>26} {'regret':>8} {'turnover':>9} "
    f"{'steps':>6} {'s/seed':>6} {'to 90 %':>15}  goal"
)


def line(block: Block) -> str:
    """Formats a run as a line of the table."""
    share = "-" if block["ratio"] is None else f"{block['ratio']:.4f} ({block['lowest']:.4f} to {block['highest']:.4f})"
    turnover = f"{block['turnover']:9.5f}" if block["turnover"] < 10 else f"{block['turnover']:7.0f}/y"
    return (
        f"{block['name']:29} {block['algorithm']:9} {block['optimum']:9.2e} {share:>26} {block['regret']:8.1e} "
        f"{turnover} {block['steps'] / 1e6:5.1f}M {block['seconds']:6.0f} {time_to_goal(block):>15}  "
        f"{'met' if block['met'] else 'MISSED'}: {block['goal']}{other_measurements(block)}"
    )


def time_to_goal(block: Block) -> str:
    """Words when a run had 90 % of the optimum."""
    steps = block["steps_to_90"]
    return f"{steps / 1e6:.2f}M {block['seconds_to_90']:.1f} s" if steps else "-"


def other_measurements(block: Block) -> str:
    """Formats the other measurements that a goal may test."""
    found = [
        ("trading_rate", "rate {:.3f}"),
        ("weight_error", "largest error of a weight {:.3f}"),
        ("every_bar_turnover", "every bar's turnover {:.5f}"),
        ("first_spread", "spread at the start {:.3f}"),
        ("edges", "EDGE in {:.1%}"),
    ]
    parts = [form.format(block[key]) for key, form in found if block.get(key) is not None]
    if block.get("edges") is not None:
        parts.append(f"spread at the end {block['multiplier_spread']:.3f}")
    return f" ({', '.join(parts)})" if parts else ""


def markdown(found: Sequence[Block]) -> str:
    """Formats the table as Markdown."""
    heads = ("market", "algorithm", "of the optimum", "steps", "seconds a seed", "to 90 %", "goal")
    head = f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n"
    rows = []
    for b in found:
        share = f"regret {b['regret']:.1e}" if b["ratio"] is None else f"{b['ratio']:.3f}"
        rows.append(
            f"| {b['name']} | {b['algorithm']} | {share} | {b['steps'] / 1e6:.1f} M | {b['seconds']:.0f} | "
            f"{time_to_goal(b)} | {'met' if b['met'] else '**missed**'}: {b['goal']} |"
        )
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(run_command(main))
