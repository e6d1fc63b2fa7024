"""Rows of equity.parquet."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.simulation.engine import AccountHistory
from train.simulation.simulator import Simulator, liquidated


def closing_prices(simulator: Simulator) -> Any:
    """Closes at the decisions, as a polars frame with `time` and a column for each symbol."""
    import polars as pl

    candles = simulator.candles
    prices = {symbol: candles.close[simulator.rows, n] for n, symbol in enumerate(candles.symbols)}
    return pl.DataFrame({"time": decision_times(simulator), **prices})


def decision_times(simulator: Simulator) -> Any:
    """When the decisions were made, a polars series (L,) of datetime[ms, UTC]."""
    import polars as pl

    return pl.Series(simulator.times.astype("datetime64[ms]")).dt.replace_time_zone("UTC")


def equity_frame(simulator: Simulator, start: int, agent: AccountHistory, baselines: Mapping[str, np.ndarray]) -> Any:
    """Rows of equity.parquet: one for each decision of a window, as a polars frame.

    Args:
        simulator: that was played on.
        start: position of the window.
        agent: its history.
        baselines: equity by name, (S,).
    """
    import polars as pl

    steps = len(agent.returns)
    held = {f"weight_{symbol}": agent.held[:, n] for n, symbol in enumerate(simulator.candles.symbols)}
    curves = {f"baseline_{name}": curve for name, curve in baselines.items()}
    time = decision_times(simulator)[start : start + steps]
    sold = liquidated(simulator, start, steps)
    return pl.DataFrame({"time": time, **held, "equity": agent.equity, **curves, "liquidated": sold})
