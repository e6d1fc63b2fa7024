"""Compares two policies on the same bars by their paired difference, at every cost and delay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from himari_jax.errors import InputError
from himari_jax.statistics import metrics
from himari_jax.statistics.bootstrap import interval as ends_of
from himari_jax.statistics.bootstrap import paired_metric_differences, stationary_bootstrap_sharpe
from himari_jax.statistics.comparison import Difference, iqm_interval, paired_difference, probability_of_improvement
from himari_jax.statistics.significance import minimum_detectable_sharpe
from himari_jax.times import iso_second
from train.artifacts.files import make_parent, null_if_nan, write_json
from train.backtesting.entries import Entry, costs_of, delays_of, ledger_of, load_entries
from train.config.backtest import CompareConfig
from train.evaluation.gates import Gate, GateResult, check_gates, describe
from train.evaluation.ledger import Ledger
from train.evaluation.summary import account_metrics, intervals_of
from train.evaluation.trials import note_trials
from train.reporting.console import console, print_lines
from train.reporting.formats import number
from train.reporting.tables import Grid, print_grid
from train.simulation.draws import draw_sharpes, median_draw
from train.simulation.history import AccountHistory
from train.simulation.play import Cell, play_baselines
from train.simulation.simulator import liquidated

FEWEST = 100  # bars that a comparison needs


class Side(NamedTuple):
    """One of the two that are compared, in one cell."""

    history: AccountHistory  # of the policy that counts
    returns: np.ndarray  # (K, S) of all its policies
    time: np.ndarray  # (S,) decisions, epoch milliseconds
    end: np.ndarray  # (S,) bool, bars after which everything is sold

    def cut(self, rows: np.ndarray) -> "Side":
        """Returns the side on some of the bars, (n,) rows."""
        end = self.end[rows]
        end[-1] = True
        return Side(self.history.cut(rows), self.returns[:, rows], self.time[rows], end)

    def scores(self, bars_per_year: float) -> np.ndarray:
        """Annual Sharpe by seed, (K,)."""
        return np.array([metrics.sharpe_or_zero(r, bars_per_year) for r in self.returns])


Sides = dict[Cell, Side]


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
    entries = load_entries(config.runs, config.data, config.grid)
    ledger = ledger_of(entries, config.ledger)
    first, second = entries[0], entries[1] if len(entries) > 1 else None
    against = config.against or "base"
    name = second.name if second else against
    refuse_flags(config, gates, second)
    delays, costs = delays_of(config.grid, first.delay), costs_of(config.grid, first.cost)
    cells = [Cell(0, delay, cost) for delay in delays for cost in costs]
    played = [play_sides(entry, cells) for entry in entries]
    enter_trials(ledger, entries, played)
    pairs = {cell: on_common_bars(played[0][cell], played[1][cell]) for cell in cells} if second else {}
    if second is None:
        baseline = play_baseline(first, played[0], against)
        pairs = {cell: (played[0][cell], baseline[cell]) for cell in cells}
    rows = [compare_cell(*pair, first.bars_per_year, cell) for cell, pair in pairs.items()]
    kept = pairs[own_cell(first)]
    outcomes = apply_gates(gates, first, second is not None, *kept)
    found = to_json(config, first, second, name, rows, kept, gates, outcomes)
    if config.out is not None:
        make_parent(Path(config.out))
        write_json(Path(config.out), found)
    print_comparison(found, name, rows)
    for gate, outcome in zip(gates, outcomes, strict=True):
        print(describe(gate, outcome))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def refuse_flags(config: CompareConfig, gates: Sequence[Gate], second: Entry | None) -> None:
    """Refuses flags that cannot end well, before minutes are spent.

    Raises:
        InputError: the output is a folder, or a gate asks for a run that was not named.
    """
    if config.out is not None and Path(config.out).is_dir():
        raise InputError(f"--out {config.out}: a folder; name a file")
    lacking = [gate.name for gate in gates if gate.relative_to]
    if second is None and lacking:
        raise InputError(f"--gate {config.gate}: {lacking[0]} compares with another run; name that run as well")


def own_cell(entry: Entry) -> Cell:
    """Returns the whole span at the entry's own delay and cost."""
    return Cell(0, entry.delay, entry.cost)


def play_sides(entry: Entry, cells: Sequence[Cell]) -> Sides:
    """Plays an entry's policies on its whole span in every cell, and in its own, all in one call."""
    cells = list(dict.fromkeys([*cells, own_cell(entry)]))
    chosen: dict[Cell, AccountHistory] = {}
    returns: dict[Cell, dict[int, np.ndarray]] = {cell: {} for cell in cells}
    for k, played in entry.play(cells, entry.num_rows):
        for index, history in played:
            returns[cells[index]][k] = history.returns
            chosen |= {cells[index]: history} if k == entry.chosen else {}
    simulator = entry.simulator
    end = liquidated(simulator, 0, entry.num_rows)
    seeds = range(len(entry.seeds))
    return {
        cell: Side(chosen[cell], np.stack([by_seed[k] for k in seeds]), simulator.times, end)
        for cell, by_seed in returns.items()
    }


def play_baseline(entry: Entry, sides: Sides, name: str) -> Sides:
    """Plays a baseline in every cell that an entry was played in, all costs of a delay in one call."""
    found: Sides = {}
    draw = 0
    if name == "random":
        own = sides[own_cell(entry)].history
        draw = median_draw(draw_sharpes(entry.simulator, entry.delay, own, entry.cost))
    for delay in {cell.delay for cell in sides}:
        agents = {cell.rate: side.history for cell, side in sides.items() if cell.delay == delay}
        for rate, played in play_baselines(entry.simulator, 0, delay, agents, [name], draw).items():
            cell, history = Cell(0, delay, rate), played[name]
            found[cell] = sides[cell]._replace(history=history, returns=history.returns[None])
    return found


def on_common_bars(a: Side, b: Side) -> tuple[Side, Side]:
    """Cuts both sides to their common bars.

    Raises:
        InputError: they have fewer than 100 bars in common.
    """
    common, in_a, in_b = np.intersect1d(a.time, b.time, return_indices=True)
    if len(common) < FEWEST:
        raise InputError(f"the two have {len(common)} bars in common; {FEWEST} are needed: choose a common --span")
    return a.cut(in_a), b.cut(in_b)


def compare_cell(a: Side, b: Side, year: float, cell: Cell) -> Row:
    """Measures the paired difference of two sides in a cell."""
    return Row(
        cost=round(1e4 * cell.rate, 6),
        delay=cell.delay,
        a=metrics.sharpe_or_zero(a.history.returns, year),
        b=metrics.sharpe_or_zero(b.history.returns, year),
        difference=paired_difference(a.history.returns, b.history.returns, year),
        seeds_better=probability_of_improvement(a.scores(year), b.scores(year)),
        bars=len(a.time),
    )


def enter_trials(ledger: Ledger, entries: Sequence[Entry], played: Sequence[Sides]) -> None:
    """Enters the policies in the trial ledger, at their own cost and delay."""
    for entry, sides in zip(entries, played, strict=True):
        cell = own_cell(entry)
        base = play_baseline(entry, {cell: sides[cell]}, "base")[cell].history.returns
        note_trials(ledger, entry.evaluated, entry.seeds, list(sides[cell].returns), base, entry.chosen)


def apply_gates(gates: Sequence[Gate], first: Entry, run: bool, a: Side, b: Side) -> list[GateResult]:
    """Checks the gates on the first at its own cost and delay, on the bars compared, with their noise."""
    if not gates:
        return []
    year = first.bars_per_year
    if not run:
        return check_gates(gates, gate_block(a, year))
    pair = [(c.returns, c.held, c.traded, c.cost, c.inside) for c in (a.history, b.history)]
    differences = {"sharpe": sharpe_difference(pair[0][0], pair[1][0], year)}
    differences |= paired_metric_differences(pair[0], pair[1], year)
    return check_gates(gates, gate_block(a, year), gate_block(b, year), differences)


def sharpe_difference(a: np.ndarray, b: np.ndarray, year: float) -> tuple[float, tuple[float, float]]:
    """Value and interval of the paired difference of annual Sharpe ratios of returns (S,)."""
    found = paired_difference(a, b, year)
    return found.value, found.interval


def gate_block(side: Side, year: float) -> dict[str, Any]:
    """Metrics of a side with their intervals, as a gate reads them."""
    found = account_metrics(side.history, side.end, year) | intervals_of(side.history, year)
    samples = stationary_bootstrap_sharpe(side.history.returns[:, None], year)[:, 0]
    return found | {"sharpe_interval": list(ends_of(samples))}


def to_json(
    config: CompareConfig,
    first: Entry,
    second: Entry | None,
    name: str,
    rows: Sequence[Row],
    kept: tuple[Side, Side],
    gates: Sequence[Gate],
    outcomes: Sequence[GateResult],
) -> dict[str, Any]:
    """Returns the comparison as JSON."""
    a, b = kept
    year, fingerprint = first.bars_per_year, first.fingerprint
    doubts = [f"{entry.name}: {doubt}" for entry in (first, second) if entry for doubt in entry.doubts]
    if second is not None and second.fingerprint != fingerprint:
        doubts.append(f"{name} was played on other candles ({' '.join(second.symbols)})")
    found = {
        "a": first.name,
        "b": name,
        "symbols": list(first.symbols),
        "synthetic": first.candles.synthetic,
        "span": first.data.name,
        "from": iso_second(a.time[0]),
        "to": iso_second(a.time[-1]),
        "fingerprint": fingerprint,
        "own_cost": first.own_cost,
        "own_delay": first.delay,
        "minimum_detectable_sharpe": minimum_detectable_sharpe(len(a.time), year),
        "iqm": {"a": iqm_interval(a.scores(year))._asdict(), "b": iqm_interval(b.scores(year))._asdict()},
        "seeds": {"a": a.scores(year).tolist(), "b": b.scores(year).tolist()},
        "cells": [{**row._asdict(), "difference": row.difference._asdict()} for row in rows],
        "doubts": doubts,
        "gate": config.gate,
        "gates": [{**outcome._asdict(), "metric": gate.metric} for gate, outcome in zip(gates, outcomes, strict=True)],
    }
    return dict(null_if_nan(found))


def print_comparison(found: dict[str, Any], name: str, rows: Sequence[Row]) -> None:
    """Prints the table, and its meaning in sentences."""
    out = console()
    kind = "SYNTHETIC " if found["synthetic"] else ""
    title = (
        f"{kind}{found['a']} minus {name}, {' '.join(found['symbols'])}, {found['from'][:10]} to {found['to'][:10]}, "
        f"{rows[0].bars:,} bars"
    )
    heads = ("cost", "delay", "Sharpe", name, "difference", "95 % interval", "p", "better in resamples", "seeds")
    grid = Grid(title, heads, labels=2, right=frozenset(heads[:2]))
    lonely = len(found["seeds"]["a"]) * len(found["seeds"]["b"]) == 1
    for row in rows:
        own = (row.cost, row.delay) == (found["own_cost"], found["own_delay"])
        low, high = row.difference.interval
        cells = (
            f"{row.cost:g} bp", str(row.delay), f"{row.a:.2f}", f"{row.b:.2f}", f"{row.difference.value:+.2f}",
            f"{low:+.2f} to {high:+.2f}", f"{row.difference.p:.3f}", f"{row.difference.better:.0%}",
            "-" if lonely else f"{row.seeds_better:.0%}",
        )  # fmt: skip
        grid.add(*cells, bold=own)
    print_grid(out, grid)
    out.print()
    print_lines(out, sentences(found, name, rows, " (bold)" if out.is_terminal else ""))


def sentences(found: dict[str, Any], name: str, rows: Sequence[Row], where: str = "") -> list[str]:
    """Puts the difference at the policy's own cost and delay into sentences; `where`: how its row stands out."""
    own = next(r for r in rows if (r.cost, r.delay) == (found["own_cost"], found["own_delay"]))
    low, high = own.difference.interval
    side = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    lines = [
        f"at its own cost and delay{where} {found['a']} is {side} {name} on these bars: Sharpe "
        f"{own.difference.value:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, p {own.difference.p:.3f}",
        f"the smallest Sharpe that this sample could confirm: {found['minimum_detectable_sharpe']:.2f}",
    ]
    for key, who in (("a", found["a"]), ("b", name)):
        iqm, scores = found["iqm"][key], found["seeds"][key]
        lowest, highest = (number(x, ".2f") for x in iqm["interval"])
        if len(scores) > 1:
            lines.append(
                f"{who}: {len(scores)} seeds, inter-quartile mean {number(iqm['value'], '.2f')} "
                f"({lowest} to {highest} over the luck of seeds)"
            )
    return [*lines, *(f"but {doubt}" for doubt in found["doubts"])]
