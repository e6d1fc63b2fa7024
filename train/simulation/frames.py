"""Rows of equity.parquet."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.simulation.engine import AccountHistory
from train.simulation.simulator import Simulator, liquidated


def closing_prices(stage: Simulator) -> Any:
    """Closes at the decisions, as a polars frame with `time` and a column for each symbol."""
    import polars as pl

    prices = {symbol: stage.candles.close[stage.rows, n] for n, symbol in enumerate(stage.candles.symbols)}
    return pl.DataFrame({"time": decision_times(stage), **prices})


def decision_times(stage: Simulator) -> Any:
    """When the decisions were made, a polars series (L,) of datetime[ms, UTC]."""
    import polars as pl

    closed = stage.candles.time[stage.rows] + stage.candles.bar_ms
    return pl.Series(closed.astype("datetime64[ms]")).dt.replace_time_zone("UTC")


def equity_frame(stage: Simulator, start: int, agent: AccountHistory, baselines: Mapping[str, np.ndarray]) -> Any:
    """Rows of equity.parquet: one for each decision of a window, as a polars frame.

    Args:
        stage: that was played on.
        start: position of the window.
        agent: its course.
        baselines: equity by name, (S,).
    """
    import polars as pl

    steps = len(agent.returns)
    held = {f"weight_{symbol}": agent.held[:, n] for n, symbol in enumerate(stage.candles.symbols)}
    curves = {f"baseline_{name}": curve for name, curve in baselines.items()}
    time = decision_times(stage)[start : start + steps]
    sold = liquidated(stage, start, steps)
    return pl.DataFrame({"time": time, **held, "equity": agent.equity, **curves, "liquidated": sold})
