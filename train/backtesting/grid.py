"""The grid of a backtest: every policy and baseline over windows, delays and costs, as rows of two Parquet files."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from himari_jax.atomic import replacing
from himari_jax.errors import InputError
from himari_jax.statistics import metrics
from himari_jax.statistics.metrics import zero_if_nan
from himari_jax.times import iso_second
from train.artifacts.files import storage_errors
from train.backtesting.entries import Entry
from train.evaluation.summary import account_metrics
from train.simulation.baselines import of_agent
from train.simulation.frames import equity_frame
from train.simulation.history import AccountHistory
from train.simulation.play import Cell, constant_returns, play_baselines
from train.simulation.simulator import liquidated

ROWS_AT_ONCE = 2**20  # of equity.parquet, kept before they are written


@dataclass(frozen=True)
class Windows:
    """Parts of a span."""

    starts: tuple[int, ...]  # positions on the tape
    steps: int


def cut_windows(rows: int, windows: int | None, steps: int | None) -> Windows:
    """Windows of equal length, spread evenly over a span of `rows` decisions; the first and the last touch its ends.

    Raises:
        InputError: a window is longer than the span, or has no bar.
    """
    if steps is not None and steps > rows:
        raise InputError(f"--window-steps {steps}: the span has {rows} decisions; must be at most that")
    if windows is not None and steps is not None and windows > rows - steps + 1:
        raise InputError(f"--windows {windows}: only {rows - steps + 1} of {steps} bars begin in {rows} decisions")
    if windows is not None and steps is None and windows > rows // 2:
        raise InputError(f"--windows {windows}: the span has {rows} decisions; at least 2 go into a window")
    number = windows or (rows // steps if steps else 1)
    length = steps or rows // number
    starts = np.linspace(0, rows - length, number).astype(int) if number > 1 else np.zeros(1, int)
    return Windows(tuple(starts.tolist()), length)


class Rivals(NamedTuple):
    """Baselines beside a policy."""

    names: Sequence[str] = ()
    draw: int = 0  # number of the draw of `random`

    @property
    def of_agent(self) -> "Rivals":
        """The baselines that depend on the policy's own weights."""
        return self._replace(names=[name for name in self.names if name in of_agent()])


NO_RIVALS = Rivals()


def play_grid(
    entry: Entry,
    windows: Windows,
    delays: Sequence[int],
    costs: Sequence[float],
    rivals: Rivals = NO_RIVALS,
    equity: "EquityFile | None" = None,
    own_only: bool = False,
) -> list[dict[str, Any]]:
    """Rows of backtest.parquet: one for each policy, window, cost and delay, and for each baseline beside the chosen.

    In the equity every policy has its own `random` and `constant` beside it.

    Args:
        entry: who plays.
        windows: parts of the span.
        delays: bars.
        costs: shares of the traded value.
        rivals: baselines that get rows.
        equity: takes a row for each decision; None: none.
        own_only: write the equity of the entry's own cost and delay alone.
    """
    cells = [Cell(start, delay, rate) for start in windows.starts for delay in delays for rate in costs]
    rows: list[dict[str, Any]] = []
    curves: dict[Cell, dict[str, np.ndarray]] = {}
    for k, played in entry.play(cells, windows.steps):
        curves = {} if k == entry.chosen else curves  # the first of every part of the cells
        for group in by_place(cells, played):
            window = windows.starts.index(group[0][0].start)
            beside = beside_agent(entry, group, rivals) if k == entry.chosen else {}
            rows += baseline_rows(entry, window, group, beside)
            curves |= equity_by_name(beside) if equity is not None else {}
            rows += agent_rows(entry, k, window, group)
            if equity is None:
                continue
            kept = [(c, h) for c, h in group if not own_only or (c.rate, c.delay) == (entry.cost, entry.delay)]
            own = {} if k == entry.chosen else equity_by_name(beside_agent(entry, kept, rivals.of_agent))
            for cell, history in kept:
                write_equity(entry, k, window, cell, history, curves.get(cell, {}) | own.get(cell, {}), equity)
    return rows


Group = list[tuple[Cell, AccountHistory]]  # the cells of one window and delay, with the histories of one policy
Beside = dict[Cell, dict[str, AccountHistory]]  # what the baselines did there


def by_place(cells: Sequence[Cell], played: Sequence[tuple[int, AccountHistory]]) -> list[Group]:
    """Cells with their histories, those of one window and delay together."""
    groups: dict[tuple[int, int], Group] = {}
    for index, history in played:
        cell = cells[index]
        groups.setdefault((cell.start, cell.delay), []).append((cell, history))
    return list(groups.values())


def beside_agent(entry: Entry, group: Group, rivals: Rivals) -> Beside:
    """Plays the baselines in the cells of a group."""
    if not group or not rivals.names:
        return {}
    start, delay, _ = group[0][0]
    agents = {cell.rate: history for cell, history in group}
    found = play_baselines(entry.simulator, start, delay, agents, *rivals)
    return {cell: found[cell.rate] for cell, _ in group}


def equity_by_name(beside: Beside) -> dict[Cell, dict[str, np.ndarray]]:
    """Equity of the baselines at every bar, (S D,), by cell."""
    return {cell: {name: history.bar_equity for name, history in found.items()} for cell, found in beside.items()}


def place_of(entry: Entry, window: int, cell: Cell, steps: int) -> dict[str, Any]:
    """Returns window, its ends, cost and delay, as columns."""
    closes = entry.simulator.times
    ends = {"from": iso_second(closes[cell.start]), "to": iso_second(closes[cell.start + steps - 1])}
    return {"window": window, **ends, **price(cell.rate, cell.delay)}


def agent_rows(entry: Entry, k: int, window: int, group: Group) -> list[dict[str, Any]]:
    """Rows of one policy in one window at one delay."""
    simulator, year = entry.simulator, entry.bars_per_year
    start = group[0][0].start
    still = constant_returns(simulator, start, group[0][0].delay, [(cell.rate, history) for cell, history in group])
    end = liquidated(simulator, start, len(still))
    rows = []
    for (cell, history), constant in zip(group, still.T, strict=True):
        found = account_metrics(history, end, year)
        timing = zero_if_nan(found["sharpe"]) - metrics.sharpe_or_zero(constant, year)
        who = {"policy": entry.name, "seed": entry.seeds[k], **place_of(entry, window, cell, len(still))}
        rows.append({**who, **found, "timing_value": timing})
    return rows


def baseline_rows(entry: Entry, window: int, group: Group, beside: Beside) -> list[dict[str, Any]]:
    """Rows of the baselines in one window at one delay; those that the chosen seed's weights make have its number."""
    rows, own = [], of_agent()
    for cell, agent in group if beside else []:
        steps = len(agent.returns)
        end = liquidated(entry.simulator, cell.start, steps)
        for name, history in beside[cell].items():
            found = account_metrics(history, end, entry.bars_per_year)
            seed = entry.chosen_seed if name in own else None
            rows.append({"policy": name, "seed": seed, **place_of(entry, window, cell, steps), **found})
    return rows


def price(rate: float, delay: int) -> dict[str, Any]:
    """Cost in basis points and delay in bars, as columns."""
    return {"cost": round(1e4 * rate, 6), "delay": delay}


def write_equity(
    entry: Entry,
    k: int,
    window: int,
    cell: Cell,
    history: AccountHistory,
    curves: Mapping[str, np.ndarray],
    equity: "EquityFile",
) -> None:
    """Writes rows of equity.parquet for one policy in one cell; curves of the baselines are (S D,)."""
    import polars as pl

    frame = equity_frame(entry.simulator, cell.start, cell.delay, history, curves)
    what = {"policy": entry.name, "seed": entry.seeds[k], "window": window, **price(cell.rate, cell.delay)}
    kinds = {"policy": pl.String, "seed": pl.Int64, "window": pl.Int32, "cost": pl.Float64, "delay": pl.Int32}
    keys = [pl.lit(what[name], dtype=kind).alias(name) for name, kind in kinds.items()]
    equity.add(frame.select("time", *keys, pl.exclude("time")))


class EquityFile:
    """equity.parquet, written in parts so that memory stays bounded, and put in place at once.

    As a context it is put in place at the end, and leaves nothing behind where something fails.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path, self.parts = path, path.with_name(path.name + ".parts")
        self.waiting: list[Any] = []
        self.rows = self.number = 0
        shutil.rmtree(self.parts, ignore_errors=True)
        with storage_errors(self.path):
            self.parts.mkdir(parents=True)

    def __enter__(self) -> "EquityFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            shutil.rmtree(self.parts, ignore_errors=True)

    def add(self, frame: Any) -> None:
        """Takes rows."""
        self.waiting.append(frame)
        self.rows += len(frame)
        if self.rows >= ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Writes what waits as one part."""
        import polars as pl

        if self.waiting:
            with storage_errors(self.path):
                pl.concat(self.waiting).write_parquet(self.parts / f"{self.number:06d}.parquet", compression="zstd")
            self.waiting, self.rows, self.number = [], 0, self.number + 1

    def close(self) -> None:
        """Joins the parts into the file."""
        import polars as pl

        self.flush()
        with storage_errors(self.path), replacing(self.path) as part:
            pl.scan_parquet(self.parts / "*.parquet").sink_parquet(part, compression="zstd")


def grid_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows of `play_grid` as backtest.parquet holds them; undefined metrics are null."""
    import polars as pl

    def clean(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    texts = {"policy": pl.String, "from": pl.String, "to": pl.String}
    whole = {"seed": pl.Int64, "window": pl.Int32, "delay": pl.Int32}
    names = dict.fromkeys(name for row in rows for name in row)
    schema = {name: texts.get(name) or whole.get(name) or pl.Float64 for name in names}
    return pl.DataFrame([{name: clean(row.get(name)) for name in names} for row in rows], schema=schema)
