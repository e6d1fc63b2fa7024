"""Writes what each calendar year added: the policy beside what it multiplies."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from himari_jax.statistics.metrics import sharpe
from train.reporting.page import number, row, table
from train.reporting.plots import RIVALS, returns

FEWEST = 30  # bars, below which a Sharpe ratio of a year is not shown


class Year(NamedTuple):
    """Figures of the policy and of its rivals in one calendar year."""

    year: int
    bars: int
    agent: float  # return
    rivals: dict[str, float]  # return by name
    ahead: dict[str, float]  # annual Sharpe ratio of the policy minus that of the rival; nan: undefined


def years_of(frame: pl.DataFrame, bars_per_year: float) -> list[Year]:
    """Parts a span by calendar year (UTC); the returns of the years compound to that of the span.

    Args:
        frame: as equity.parquet; rivals without a column are left out.
        bars_per_year: A.
    """
    names = [name for name in RIVALS if f"baseline_{name}" in frame.columns]
    gains = {name: returns(frame[f"baseline_{name}"].to_numpy()) for name in names}
    own, year = returns(frame["equity"].to_numpy()), frame["time"].dt.year().to_numpy()
    found = []
    for each in np.unique(year).tolist():
        rows = year == each
        ours = sharpe_of(own[rows], bars_per_year)
        ahead = {name: ours - sharpe_of(gain[rows], bars_per_year) for name, gain in gains.items()}
        ends = {name: float(np.prod(1 + gain[rows]) - 1) for name, gain in gains.items()}
        found.append(Year(each, int(rows.sum()), float(np.prod(1 + own[rows]) - 1), ends, ahead))
    return found


def sharpe_of(gains: np.ndarray, bars_per_year: float) -> float:
    """Annual Sharpe ratio of some bars (n,); nan where there are too few, or they are all alike."""
    return float(sharpe(gains, bars_per_year)) if len(gains) >= FEWEST else math.nan


def year_by_year(frame: pl.DataFrame | None, bars_per_year: float, power: Mapping[str, Any] | None) -> str:
    """Writes the table of the years; empty where the policy's base is unknown.

    Args:
        frame: as equity.parquet, or None.
        bars_per_year: A.
        power: block of result.json; None for an older one.
    """
    if frame is None or "baseline_base" not in frame.columns:
        return ""
    rows, found = [], years_of(frame, bars_per_year)
    for each in found:
        cells = [f"{each.bars:,}", f"{each.agent:+.1%}", *(f"{end:+.1%}" for end in each.rivals.values())]
        cells += [number(gap if math.isfinite(gap) else None, "+.2f") for gap in each.ahead.values()]
        rows.append(row(each.year, *cells))
    names = list(found[0].rivals)
    heads = ["year", "bars", "policy", *names, *(f"Sharpe minus {name}'s" for name in names)]
    counted = {name: [each.ahead[name] for each in found if math.isfinite(each.ahead[name])] for name in names}
    won = " and ".join(
        f"{sum(gap > 0 for gap in gaps)} of {len(gaps)} years against {name}" for name, gaps in counted.items() if gaps
    )
    note = f"Returns, costs included; a first or last year may be a part. Ahead by Sharpe in {won}." if won else ""
    if power and power.get("standard_error") is not None:
        error = power["standard_error"] * math.sqrt(power["years"])
        note += f" One year says little: a difference over one has a standard error of {error:.2f}."
    return table(heads, rows, note, "numbers")
