"""Files of target weights: a user's own, or the equity.parquet of a run or a backtest."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from train.artifacts.files import read_text

CELL = {"policy": "name", "seed": "chosen_seed", "cost": "own_cost", "delay": "own_delay"}  # column: key of result.json


def read_weights(path: Path, candles: Candles) -> np.ndarray:
    """Reads the weights of a Parquet file with `time`, the close of the bar, and `weight_SYMBOL`, as in equity.parquet.

    Rows without a line are nan: `check_weights` refuses them where decisions are made. Of a backtest's equity.parquet,
    with many policies, costs and delays, it is the first policy's own cell.

    Raises:
        InputError: it cannot be read, lacks a column, or has two rows of one time.
    """
    import polars as pl

    try:
        frame = pl.read_parquet(path, glob=False)
        columns = [f"weight_{symbol}" for symbol in candles.symbols]
        if missing := [name for name in ("time", *columns) if name not in frame.columns]:
            have = ", ".join(name for name in frame.columns if name.startswith("weight_")) or "none of weights"
            raise InputError(f"{path}: no column {missing[0]}; needed: time, {', '.join(columns)}; found {have}")
        if not isinstance(frame["time"].dtype, pl.Datetime) or frame["time"].dtype.time_zone is None:
            raise InputError(f"{path}: time is {frame['time'].dtype}; must be a datetime with a time zone")
        frame = own_cell(frame, path)
        time = frame["time"].dt.epoch("ms").to_numpy()
        values = frame.select(pl.col(columns).cast(pl.Float64).fill_null(np.nan)).to_numpy()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    if len(np.unique(time)) < len(time):
        raise InputError(f"{path}: a time stands there twice; must be one row for each time, of one policy and window")
    found = np.full(candles.close.shape, np.nan)
    closes = candles.time + candles.bar_ms
    at = np.searchsorted(closes, time)
    inside = (at < len(closes)) & (closes[np.minimum(at, len(closes) - 1)] == time)
    found[at[inside]] = values[inside]
    return found


def own_cell(frame: Any, path: Path) -> Any:
    """Selects the rows of a backtest's first policy, its chosen seed, at its own cost and delay.

    Args:
        frame: as polars reads the file.
        path: of the file; `result.json` beside it names policy, seed, cost and delay.

    Raises:
        InputError: there are several, and no result.json names them.
    """
    import polars as pl

    keys = [name for name in CELL if name in frame.columns]
    found = {name: frame[name].drop_nulls().unique().to_list() for name in keys}
    if all(len(values) < 2 for values in found.values()):
        return frame
    try:
        result = json.loads(read_text(path.parent / "result.json") or "")
        own = {name: result[CELL[name]] for name in keys}
    except (ValueError, KeyError, TypeError) as error:
        several = ", ".join(f"{len(values)} of {name}" for name, values in found.items() if len(values) > 1)
        raise InputError(
            f"{path}: rows of several cells ({several}), and no result.json beside it says which are the run's own; "
            "must be a file of one policy, seed, cost and delay"
        ) from error
    # A rule has no seed in the file, and counts as seed 0 in the result.
    return frame.filter([pl.col(name).eq_missing(value) | pl.col(name).is_null() for name, value in own.items()])
