"""The grid of a backtest: every policy and baseline over windows, delays and costs, as rows of two Parquet files."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax import metrics
from himari_jax.errors import InputError, StorageError
from train.evaluate import Course
from train.final import Play, equity_frame, liquidated
from train.judge import block, zero_if_nan
from train.provenance import iso
from train.stage import Cell, Stage, constant_returns, play_baselines

ROWS_AT_ONCE = 2**20  # of equity.parquet, kept before they are written


@dataclass(frozen=True)
class Entrant:
    """A run or a strategy with the stage that its flags ask for."""

    name: str
    stage: Stage
    play: Play
    seeds: tuple[int | None, ...]  # of its policies; None for a strategy
    chosen: int  # index of the policy that counts
    cost: float  # its own, share of the traded value
    delay: int  # its own, bars


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
        raise InputError(f"--window-steps {steps}: the span has {rows} decisions; allowed is up to that")
    if windows is not None and steps is None and windows > rows // 2:
        raise InputError(f"--windows {windows}: the span has {rows} decisions; at least 2 go into a window")
    number = windows or (rows // steps if steps else 1)
    length = steps or rows // number
    starts = np.linspace(0, rows - length, number).astype(int) if number > 1 else np.zeros(1, int)
    return Windows(tuple(starts.tolist()), length)


def play_grid(
    entrant: Entrant,
    windows: Windows,
    delays: Sequence[int],
    costs: Sequence[float],
    baselines: Sequence[str],
    equity: "EquityFile | None",
    own_only: bool = False,
) -> list[dict[str, Any]]:
    """Rows of backtest.parquet: one for each policy, window, cost and delay, and for each baseline beside them.

    Args:
        entrant: who plays.
        windows: parts of the span.
        delays: bars.
        costs: shares of the traded value.
        baselines: names that get rows.
        equity: takes a row for each decision; None: none.
        own_only: write the equity of the entrant's own cost and delay alone.
    """
    cells = [Cell(start, delay, rate) for start in windows.starts for delay in delays for rate in costs]
    rows, group = [], dict[float, list[tuple[int, Course]]]()
    for index, found in entrant.play(cells, windows.steps):
        cell = cells[index]
        group[cell.rate] = found
        if len(group) < len(costs):
            continue
        window = windows.starts.index(cell.start)
        beside = play_baselines(entrant.stage, cell.start, cell.delay, chosen_of(entrant, group))
        rows += group_rows(entrant, window, cell, group, beside, baselines)
        if equity is not None:
            for rate, courses in group.items():
                if not own_only or (rate == entrant.cost and cell.delay == entrant.delay):
                    write_equity(entrant, window, cell._replace(rate=rate), courses, beside[rate], baselines, equity)
        group = {}
    return rows


def chosen_of(entrant: Entrant, group: Mapping[float, list[tuple[int, Course]]]) -> dict[float, Course]:
    """The course of the chosen policy at every cost."""
    return {rate: courses[entrant.chosen][1] for rate, courses in group.items()}


def group_rows(
    entrant: Entrant,
    window: int,
    cell: Cell,
    group: Mapping[float, list[tuple[int, Course]]],
    beside: Mapping[float, Mapping[str, Course]],
    baselines: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows of one window at one delay."""
    stage, year = entrant.stage, entrant.stage.bars_per_year
    played = [(rate, k, course) for rate, courses in group.items() for k, course in courses]
    still = constant_returns(stage, cell.start, [(rate, course) for rate, _, course in played])
    steps = len(still)
    end = liquidated(stage, cell.start, steps)
    closes = stage.candles.time[stage.rows] + stage.candles.bar_ms
    place = {"window": window, "from": iso(closes[cell.start]), "to": iso(closes[cell.start + steps - 1])}
    rows = []
    for (rate, k, course), constant in zip(played, still.T, strict=True):
        found = block(course, end, year)
        timing = zero_if_nan(found["sharpe"]) - zero_if_nan(metrics.sharpe(constant, year))
        who = {"policy": entrant.name, "seed": entrant.seeds[k]}
        rows.append({**who, **place, **price(rate, cell.delay), **found, "timing_value": timing})
    for rate, courses in beside.items():
        for name in baselines:
            found = block(courses[name], end, year)
            rows.append({"policy": name, "seed": None, **place, **price(rate, cell.delay), **found})
    return rows


def price(rate: float, delay: int) -> dict[str, Any]:
    """Cost in basis points and delay in bars, as columns."""
    return {"cost": round(1e4 * rate, 6), "delay": delay}


def write_equity(
    entrant: Entrant,
    window: int,
    cell: Cell,
    courses: Sequence[tuple[int, Course]],
    beside: Mapping[str, Course],
    baselines: Sequence[str],
    equity: "EquityFile",
) -> None:
    """Rows of equity.parquet for all policies of a cell."""
    import polars as pl

    curves = {name: beside[name].equity for name in baselines}
    for k, course in courses:
        frame = equity_frame(entrant.stage, cell.start, course, curves)
        what = {"policy": entrant.name, "seed": entrant.seeds[k], "window": window, **price(cell.rate, cell.delay)}
        kinds = {"policy": pl.String, "seed": pl.Int64, "window": pl.Int32, "cost": pl.Float64, "delay": pl.Int32}
        equity.add(
            frame.select(*(pl.lit(what[name], dtype=kind).alias(name) for name, kind in kinds.items()), pl.all())
        )


class EquityFile:
    """equity.parquet, written in parts so that memory stays bounded, put in place at once by `close`.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path, self.parts = path, path.with_name(path.name + ".parts")
        self.waiting: list[Any] = []
        self.rows = self.number = 0
        shutil.rmtree(self.parts, ignore_errors=True)
        self.guard(lambda: self.parts.mkdir(parents=True))

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
            frame = pl.concat(self.waiting)
            self.guard(lambda: frame.write_parquet(self.parts / f"{self.number:06d}.parquet", compression="zstd"))
            self.waiting, self.rows, self.number = [], 0, self.number + 1

    def close(self) -> None:
        """Joins the parts into the file."""
        import polars as pl

        self.flush()
        whole = self.path.with_name(self.path.name + ".part")
        joined = pl.scan_parquet(self.parts / "*.parquet")
        self.guard(lambda: joined.sink_parquet(whole, compression="zstd"))
        self.guard(lambda: whole.replace(self.path))
        shutil.rmtree(self.parts, ignore_errors=True)

    def discard(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def guard(self, act: Any) -> None:
        """Turns a full disk or a missing permission into one line."""
        try:
            act()
        except OSError as error:
            raise StorageError(f"{self.path}: {error}; make room or fix the permission") from error


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
