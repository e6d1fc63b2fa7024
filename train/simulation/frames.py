"""Frames of what was played: equity.parquet, and the closes beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.simulation.engine import AccountHistory
from train.simulation.simulator import Simulator, liquidated


def closing_prices(simulator: Simulator) -> Any:
    """Reads the closes at the decisions, as a polars frame with `time` and a column for each symbol."""
    import polars as pl

    candles = simulator.candles
    prices = {symbol: candles.close[simulator.rows, n] for n, symbol in enumerate(candles.symbols)}
    return pl.DataFrame({"time": decision_times(simulator), **prices})


def decision_times(simulator: Simulator) -> Any:
    """Reads the times of the decisions, a polars series (L,) of datetime[ms, UTC]."""
    import polars as pl

    closed = simulator.candles.time[simulator.rows] + simulator.candles.bar_ms
    return pl.Series(closed.astype("datetime64[ms]")).dt.replace_time_zone("UTC")


def equity_frame(
    simulator: Simulator, start: int, delay: int, agent: AccountHistory, baselines: Mapping[str, np.ndarray]
) -> Any:
    """Builds the rows of equity.parquet, one for each decision of a window, as a polars frame.

    The columns are `time`, `weight_SYMBOL` (after the fill), `multiplier_SYMBOL` (of the policy), `base_SYMBOL` (the
    base position that it multiplies, as late as the policy saw it; share of equity), `equity`, `baseline_NAME` and
    `liquidated`. `cap_targets(multiplier, base, ...)` gives the weights that were wanted. Multiplier and base are null
    for a strategy that gives weights itself.

    Args:
        simulator: that played.
        start: position of the window.
        delay: bars by which the agent saw the market late.
        agent: what happened to its account.
        baselines: equity by name, (S,).
    """
    import polars as pl

    window, symbols = slice(start, start + len(agent.returns)), simulator.candles.symbols
    seen = np.asarray(simulator.tape.seen[simulator.delays.index(delay), window])
    base = None if agent.multiplier is None else simulator.market.base[seen]
    tables = {"weight": agent.held, "multiplier": agent.multiplier, "base": base}
    nothing = pl.repeat(None, len(seen), dtype=pl.Float32, eager=True)
    columns = {
        f"{name}_{symbol}": nothing if table is None else table[:, n]
        for name, table in tables.items()
        for n, symbol in enumerate(symbols)
    }
    curves = {f"baseline_{name}": curve for name, curve in baselines.items()}
    sold = liquidated(simulator, start, len(seen))
    time = decision_times(simulator)[window]
    return pl.DataFrame({"time": time, **columns, "equity": agent.equity, **curves, "liquidated": sold})
