"""What a report is made of: the files of a run folder, and what else is shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from himari_jax.errors import InputError, StorageError
from train.artifacts.files import read_text
from train.artifacts.metrics_file import read_metrics


@dataclass(frozen=True)
class Extra:
    """What a report shows beyond the run folder; whatever is absent is left out of the page."""

    prices: pl.DataFrame | None = None
    """`time` (close of the bar, as in equity.parquet) and a column of closes for each symbol."""
    backtest: pl.DataFrame | None = None
    """`policy`, `cost` (bps), `delay` (bars), `sharpe`, a row for each seed and window."""
    agent: str | None = None
    """The policy in `backtest` that this run is; None: every one that is no baseline."""
    samples: np.ndarray | None = None
    """Bootstrap samples of the Sharpe difference to the best baseline, (num_samples,)."""
    audits: Sequence[Mapping[str, Any]] | None = None
    """`name`, `passed`, `detail` of each audit."""


class Run(NamedTuple):
    """What was read from a run folder."""

    name: str
    result: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, Any]
    metrics: list[dict[str, Any]]
    frame: pl.DataFrame | None  # equity.parquet


def read_run(folder: Path) -> Run:
    """The files of a run folder; only result.json must be there."""
    text = read_text(folder / "result.json")
    if text is None:
        raise InputError(f"{folder}: no finished run is there (result.json is missing)")
    config, data = (read_text(folder / f"{name}.json") or "{}" for name in ("config", "data_report"))
    try:
        result = dict(json.loads(text))
        if missing := [name for name in ("verdict", "agent", "baselines") if not isinstance(result.get(name), dict)]:
            raise ValueError(f"result.json has no {missing[0]}")
        return Run(
            folder.resolve().name,
            result,
            dict(json.loads(config)),
            dict(json.loads(data)),
            read_metrics(folder),
            read_equity(folder / "equity.parquet"),
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{folder}: a file is damaged ({type(error).__name__}: {error})") from error


def read_equity(path: Path) -> pl.DataFrame | None:
    """equity.parquet, None where there is no such file or no row in it."""
    if not path.exists():
        return None
    try:
        frame = pl.read_parquet(path, glob=False)
        frame.select("time", "equity")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from error
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error
    return frame if len(frame) else None
