"""Backtests that tests start, and what they leave."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from himari_jax.command import run_command
from train.backtest import main

STRATEGIES = Path(__file__).parent / "strategies"
CANDLES = ["--source", "synthetic", "--symbols", "SYN1", "SYN2"]  # for strategies, those of the runs


def backtest(out: Path, *args: Any) -> int:
    """The exit code of a backtest on the CPU."""
    return run_command(main, [*map(str, args), "--out", str(out), "--device", "cpu"])


def grid_of(out: Path) -> pl.DataFrame:
    """backtest.parquet."""
    return pl.read_parquet(out / "backtest.parquet")


def read(path: Path) -> dict:
    """A JSON file."""
    return json.loads(path.read_text())
