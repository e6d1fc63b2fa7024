"""Frames of account histories: equity.parquet, and the closes of its report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.simulation.history import AccountHistory, until_fill
from train.simulation.simulator import Simulator, liquidated


def closing_prices(simulator: Simulator) -> Any:
    """Reads the closes at the decisions, as a polars frame with `time` and a column for each symbol."""
    import polars as pl

    candles = simulator.candles
    rows = np.searchsorted(candles.time, simulator.times - candles.bar_ms)
    prices = {symbol: candles.close[rows, n] for n, symbol in enumerate(candles.symbols)}
    return pl.DataFrame({"time": utc(simulator.times), **prices}).fill_nan(None)


def utc(times: np.ndarray) -> Any:
    """Converts epoch milliseconds to a polars series of datetime[ms, UTC]."""
    import polars as pl

    return pl.Series(times.astype("datetime64[ms]")).dt.replace_time_zone("UTC")


def equity_frame(
    simulator: Simulator, start: int, delay: int, agent: AccountHistory, baselines: Mapping[str, np.ndarray]
) -> Any:
    """Builds the rows of equity.parquet, one for each bar of a window, as a polars frame.

    The columns are `time`, `weight_SYMBOL` (after the fill; drifted where no decision is made), `multiplier_SYMBOL` (of
    the policy), `base_SYMBOL` (the base position that it multiplies, as late as the policy saw it; share of equity),
    `equity`, `baseline_NAME` and `liquidated`. `cap_targets(multiplier, base, ...)` gives the weights that were wanted.
    Multiplier and base are null for a strategy that gives weights itself.

    In a pool weight and base are shares of the symbol's own account, whose equity is `equity_SYMBOL`; `equity` is that
    of the portfolio, and a symbol that does not decide has nulls.

    Args:
        simulator: that played.
        start: position of the window.
        delay: bars by which the agent saw the market late.
        agent: history of its account.
        baselines: equity by name at every bar, (S D,).
    """
    import polars as pl

    steps, symbols = len(agent.returns), simulator.symbols
    every = agent.growth.shape[1]  # D
    own = agent.accounts or (agent,)
    weights = np.concatenate([drifting_weights(simulator, start, a, each) for a, each in enumerate(own)], axis=1)
    base = None
    if agent.multiplier is not None:
        base = simulator.at_decisions([market.base for market in simulator.markets], delay, start, steps)
    tables = {"weight": weights, "multiplier": repeated(agent.multiplier, every), "base": repeated(base, every)}
    idle = np.repeat(~simulator.active[:, start : start + steps].T, every, axis=0)
    if agent.accounts:
        tables["equity"] = np.stack([each.bar_equity for each in own], axis=1)
        tables = {name: x if x is None else np.where(idle, np.nan, x) for name, x in tables.items()}
    nulls = pl.repeat(None, steps * every, dtype=pl.Float32, eager=True)
    columns = {
        f"{name}_{symbol}": nulls if table is None else pl.Series(table[:, n]).fill_nan(None)
        for name, table in tables.items()
        for n, symbol in enumerate(symbols)
    }
    curves = {f"baseline_{name}": curve for name, curve in baselines.items()}
    sold = np.zeros((steps, every), bool)
    sold[:, -1] = liquidated(simulator, start, steps)
    bars = bar_times(simulator, simulator.times[start : start + steps], every)
    rest = {"equity": agent.bar_equity, **curves, "liquidated": sold.ravel()}
    return pl.DataFrame({"time": utc(bars.ravel()), **columns, **rest})


def bar_times(simulator: Simulator, times: np.ndarray, every: int) -> np.ndarray:
    """Returns the times of equity.parquet, (S, D), epoch milliseconds: each decision and the closes until the next one.

    Args:
        simulator: that played.
        times: of the decisions, (S,).
        every: D, bars from decision to decision.
    """
    candles = simulator.candles
    if candles.calendar == "continuous":  # also where the candles of a pool leave bars out
        return times[:, None] + candles.bar_ms * np.arange(every)
    rows = np.searchsorted(candles.time, times - candles.bar_ms)
    return candles.time[rows[:, None] + np.arange(every)] + candles.bar_ms


def repeated(table: np.ndarray | None, every: int) -> np.ndarray | None:
    """Repeats decisions (S, N) at every bar until the next one, (S D, N)."""
    return table if table is None or every == 1 else np.repeat(table, every, axis=0)


def drifting_weights(simulator: Simulator, start: int, member: int, account: AccountHistory) -> np.ndarray:
    """Computes weights of an account at every bar, (S D, n): after the fill at a decision, then as prices move."""
    part = simulator.positions(member, start, len(account.returns))
    moves = simulator.host.inside
    if account.inside is None or moves is None:
        return account.held
    held, inside = np.asarray(account.held, np.float64), moves[part]
    _, drift = until_fill(held, account.delta, simulator.host.to_fill[part])
    later = held[:, None] * (1 + inside) * (drift / account.inside)[..., None]
    return np.concatenate([held[:, None], later], axis=1).reshape(-1, held.shape[1]).astype(account.held.dtype)
