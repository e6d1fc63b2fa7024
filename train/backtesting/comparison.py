"""What a comparison does: two policies on the same bars, the difference paired, at every cost and delay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from himari_jax import metrics
from himari_jax.bootstrap import interval as ends_of
from himari_jax.bootstrap import paired_metric_differences, stationary_bootstrap_sharpe
from himari_jax.comparison import Difference, iqm_interval, paired_difference, probability_of_improvement
from himari_jax.errors import InputError, StorageError
from himari_jax.metrics import zero_if_nan
from himari_jax.statistics import minimum_detectable_sharpe
from himari_jax.times import bar_name, iso_second
from train.artifacts.files import null_if_nan, write_json
from train.backtesting.entries import Entrant, Member, costs_of, delays_of, enter, ledger_root
from train.config.backtest import CompareConfig
from train.evaluation.gates import Gate, GateResult, check_gates, describe
from train.evaluation.summary import account_metrics, intervals_of, traded
from train.evaluation.trials import note_trials
from train.reporting.console import console, number
from train.simulation.engine import AccountHistory
from train.simulation.simulator import Cell, liquidated, play_baselines, span_name

FEWEST = 100  # bars that a comparison needs


class Side(NamedTuple):
    """One of the two that are compared, in one cell."""

    course: AccountHistory  # of the policy that counts
    returns: np.ndarray  # (K, S) of all its policies
    time: np.ndarray  # (S,) decisions, epoch milliseconds
    end: np.ndarray  # (S,) bool, bars after which everything is sold

    def cut(self, rows: np.ndarray) -> "Side":
        """Some of the bars."""
        course = AccountHistory._make(None if leaf is None else leaf[rows] for leaf in self.course)
        end = self.end[rows]
        end[-1] = True
        return Side(course, self.returns[:, rows], self.time[rows], end)

    def scores(self, bars_per_year: float) -> np.ndarray:
        """Annual Sharpe by seed, (K,)."""
        return np.array([zero_if_nan(metrics.sharpe(r, bars_per_year)) for r in self.returns])


class Row(NamedTuple):
    """One cell of a comparison."""

    cost: float  # basis points
    delay: int  # bars
    a: float  # annual Sharpe of the first
    b: float  # annual Sharpe of the second
    difference: Difference
    seeds_better: float  # chance that a seed of the first scores above a seed of the second
    bars: int  # that both have


def compare(config: CompareConfig, gates: Sequence[Gate]) -> int:
    """Plays, compares, applies the gates, prints; 1 where one fails."""
    members = enter(config.runs, config.ground, config.grid)
    first = members[0]
    second = members[1] if len(members) > 1 else None
    against = config.against or "base"
    name = second.entrant.name if second else against
    own = first.entrant
    if config.out is not None and Path(config.out).is_dir():
        raise InputError(f"--out {config.out}: a folder; name a file")
    if second is None and any(gate.relative_to for gate in gates):
        lacking = next(gate.name for gate in gates if gate.relative_to)
        raise InputError(f"--gate {config.gate}: {lacking} compares with another run; name that run as well")
    delays, costs = delays_of(config.grid, own.delay), costs_of(config.grid, own.cost)
    rows, kept = [], None
    for delay in delays:
        for cost in costs:
            a, b = play_pair(first, second, against, delay, cost)
            rows.append(compare_cell(a, b, first.stage.bars_per_year, cost, delay))
            if (cost, delay) == (own.cost, own.delay):
                kept = a, b
    assert kept is not None  # the own cost and delay are always among them
    for member in members:
        note(member, ledger_root(members))
    outcomes = apply_gates(gates, first, second is not None, *kept)
    found = to_json(config, first, second, name, rows, kept, gates, outcomes)
    if config.out is not None:
        make_parent(Path(config.out))
        write_json(Path(config.out), found)
    show(found, first, name, rows)
    for gate, outcome in zip(gates, outcomes, strict=True):
        print(describe(gate, outcome))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def play_pair(first: Member, second: Member | None, against: str, delay: int, cost: float) -> tuple[Side, Side]:
    """Both sides at one cost and delay, on the bars that both have.

    Raises:
        InputError: they have fewer than 100 bars in common.
    """
    a = play_side(first, delay, cost)
    if second is None:
        played = play_baselines(first.stage, 0, delay, {cost: a.course}, [against])[cost][against]
        return a, Side(played, played.returns[None], a.time, a.end)
    b = play_side(second, delay, cost)
    common, in_a, in_b = np.intersect1d(a.time, b.time, return_indices=True)
    if len(common) < FEWEST:
        raise InputError(f"the two have {len(common)} bars in common; {FEWEST} are needed: choose a common --span")
    return a.cut(in_a), b.cut(in_b)


def play_side(member: Member, delay: int, cost: float) -> Side:
    """A member's policies at one cost and delay, on its whole span."""
    e, stage = member.entrant, member.stage
    found = play_cell(e, Cell(0, delay, cost))
    time = stage.candles.time[stage.rows] + stage.candles.bar_ms
    returns = np.stack([course.returns for course in found])
    return Side(found[e.chosen], returns, time, liquidated(stage, 0, stage.num_rows))


def play_cell(entrant: Entrant, cell: Cell) -> list[AccountHistory]:
    """The courses of all policies of an entrant on the whole span, in the order of its seeds."""
    found = {k: played[0][1] for k, played in entrant.play([cell], entrant.stage.num_rows)}
    return [found[k] for k in range(len(found))]


def compare_cell(a: Side, b: Side, year: float, cost: float, delay: int) -> Row:
    """The paired difference of two sides."""
    return Row(
        cost=round(1e4 * cost, 6),
        delay=delay,
        a=zero_if_nan(metrics.sharpe(a.course.returns, year)),
        b=zero_if_nan(metrics.sharpe(b.course.returns, year)),
        difference=paired_difference(a.course.returns, b.course.returns, year),
        seeds_better=probability_of_improvement(a.scores(year), b.scores(year)),
        bars=len(a.time),
    )


def note(member: Member, root: Path) -> None:
    """Enters the member's policies in the trial ledger, at their own cost and delay."""
    e, stage = member.entrant, member.stage
    found = play_cell(e, Cell(0, e.delay, e.cost))
    candles = stage.candles
    key = member.digest, candles.fingerprint, span_name(stage), bar_name(candles.bar_ms)
    note_trials(root, key, [0 if seed is None else seed for seed in e.seeds], found)


def apply_gates(gates: Sequence[Gate], first: Member, run: bool, a: Side, b: Side) -> list[GateResult]:
    """The gates on the first at its own cost and delay, on the bars compared, with the noise they are measured in."""
    if not gates:
        return []
    year = first.stage.bars_per_year
    if not run:
        return check_gates(gates, gate_block(a, year))
    pair = [(c.returns, c.held, traded(c), c.cost) for c in (a.course, b.course)]
    differences = {"sharpe": sharpe_difference(pair[0][0], pair[1][0], year)}
    differences |= paired_metric_differences(pair[0], pair[1], year)
    return check_gates(gates, gate_block(a, year), gate_block(b, year), differences)


def sharpe_difference(a: np.ndarray, b: np.ndarray, year: float) -> tuple[float, tuple[float, float]]:
    """Value and interval of the paired difference of annual Sharpe ratios."""
    found = paired_difference(a, b, year)
    return found.value, found.interval


def gate_block(side: Side, year: float) -> dict[str, Any]:
    """Metrics of a side with their intervals, as a gate reads them."""
    found = account_metrics(side.course, side.end, year) | intervals_of(side.course, year)
    samples = stationary_bootstrap_sharpe(side.course.returns[:, None], year)[:, 0]
    return found | {"sharpe_interval": list(ends_of(samples))}


def to_json(
    config: CompareConfig,
    first: Member,
    second: Member | None,
    name: str,
    rows: Sequence[Row],
    kept: tuple[Side, Side],
    gates: Sequence[Gate],
    outcomes: Sequence[GateResult],
) -> dict[str, Any]:
    """The comparison as JSON."""
    a, b = kept
    stage, year = first.stage, first.stage.bars_per_year
    doubts = [f"{who.entrant.name}: {doubt}" for who in (first, second) if who for doubt in who.doubts]
    if second is not None and second.stage.candles.fingerprint != stage.candles.fingerprint:
        doubts.append(f"{name} was played on other candles ({' '.join(second.stage.candles.symbols)})")
    found = {
        "a": first.entrant.name,
        "b": name,
        "symbols": list(stage.candles.symbols),
        "synthetic": stage.candles.synthetic,
        "span": first.ground.name,
        "from": iso_second(a.time[0]),
        "to": iso_second(a.time[-1]),
        "fingerprint": stage.candles.fingerprint,
        "own_cost": round(1e4 * first.entrant.cost, 6),
        "own_delay": first.entrant.delay,
        "minimum_detectable_sharpe": minimum_detectable_sharpe(len(a.time), year),
        "iqm": {"a": iqm_interval(a.scores(year))._asdict(), "b": iqm_interval(b.scores(year))._asdict()},
        "seeds": {"a": a.scores(year).tolist(), "b": b.scores(year).tolist()},
        "cells": [{**row._asdict(), "difference": row.difference._asdict()} for row in rows],
        "doubts": doubts,
        "gate": config.gate,
        "gates": [{**outcome._asdict(), "metric": gate.metric} for gate, outcome in zip(gates, outcomes, strict=True)],
    }
    return dict(null_if_nan(found))


def show(found: dict[str, Any], first: Member, name: str, rows: Sequence[Row]) -> None:
    """The table, and what it means."""
    out = console()
    kind = "SYNTHETIC " if found["synthetic"] else ""
    title = (
        f"{kind}{found['a']} minus {name}, {' '.join(found['symbols'])}, {found['from'][:10]} to {found['to'][:10]}, "
        f"{rows[0].bars:,} bars"
    )
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    heads = ("cost", "delay", "Sharpe", name, "difference", "95 % interval", "p", "better in resamples", "seeds")
    for head in heads:
        grid.add_column(head, justify="right", no_wrap=True)
    lonely = len(found["seeds"]["a"]) * len(found["seeds"]["b"]) == 1
    for row in rows:
        own = (row.cost, row.delay) == (found["own_cost"], found["own_delay"])
        low, high = row.difference.interval
        cells = (
            f"{row.cost:g} bp", str(row.delay), f"{row.a:.2f}", f"{row.b:.2f}", f"{row.difference.value:+.2f}",
            f"{low:+.2f} to {high:+.2f}", f"{row.difference.p:.3f}", f"{row.difference.better:.0%}",
            "-" if lonely else f"{row.seeds_better:.0%}",
        )  # fmt: skip
        grid.add_row(*cells, style="bold" if own else None)
    out.print(grid)
    out.print()
    for line in sentences(found, first, name, rows):
        out.print(line, soft_wrap=True)


def sentences(found: dict[str, Any], first: Member, name: str, rows: Sequence[Row]) -> list[str]:
    """What the own cell says, in words."""
    own = next(r for r in rows if (r.cost, r.delay) == (found["own_cost"], found["own_delay"]))
    low, high = own.difference.interval
    side = "better than" if low > 0 else "worse than" if high < 0 else "not to be told from"
    lines = [
        f"at its own cost and delay (bold) {found['a']} is {side} {name} on these bars: Sharpe "
        f"{own.difference.value:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, p {own.difference.p:.3f}",
        f"the smallest Sharpe that this sample could confirm: {found['minimum_detectable_sharpe']:.2f}",
    ]
    for key, who in (("a", found["a"]), ("b", name)):
        iqm, scores = found["iqm"][key], found["seeds"][key]
        lowest, highest = (number(x, "{:.2f}") for x in iqm["interval"])
        if len(scores) > 1:
            lines.append(
                f"{who}: {len(scores)} seeds, inter-quartile mean {number(iqm['value'], '{:.2f}')} "
                f"({lowest} to {highest} over the luck of seeds)"
            )
    return [*lines, *(f"but {doubt}" for doubt in found["doubts"])]


def make_parent(path: Path) -> None:
    """Makes the folder of a file.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {path}: {error.strerror}; choose another file") from error
