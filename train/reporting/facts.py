"""Reads single facts off the files of a run: symbols, money, bars of a year, windows."""

from collections.abc import Mapping
from typing import Any

from himari_jax import times
from himari_jax.times import parse_bar
from train.reporting.run_files import Run

CAPITAL = 100_000.0  # at the start, where the run names none
OF_SEVERAL = ("herfindahl", "diversification")  # metrics that say nothing of a single asset


def symbols_of(run: Run) -> list[str]:
    """Reads the symbols in the order of the observation."""
    named = run.result.get("symbols") or run.data.get("symbols")
    held = [] if run.frame is None else [c[7:] for c in run.frame.columns if c.startswith("weight_")]
    return [str(symbol) for symbol in named or held]


def market_of(run: Run) -> Mapping[str, Any]:
    """Reads the flags of the account."""
    return (run.config.get("flags") or {}).get("market") or {}


def capital_of(run: Run) -> float:
    """Reads the money at the start."""
    return float(market_of(run).get("initial_capital", CAPITAL))


def rival_of(run: Run) -> str | None:
    """Reads which baseline the agent is measured against, where its curve is known."""
    name = (run.result["agent"].get("sharpe_difference") or {}).get("baseline")
    return name if run.frame is None or f"baseline_{name}" in run.frame.columns else None


def bars_per_year(run: Run) -> float:
    """Counts the bars of a year as the account does: 365 days if the market never closes, else as the data show."""
    bar_ms, calendar = parse_bar(str(run.data.get("bar", "1h"))), str(run.data.get("calendar", "continuous"))
    if run.frame is None or len(run.frame) < 2:
        return times.bars_per_year("continuous", bar_ms, 0, 0)
    time = run.frame["time"].dt.epoch("ms").to_numpy()
    return times.bars_per_year(calendar, bar_ms, len(time) - 1, float(time[-1] - time[0]))


def windows_of(run: Run) -> str:
    """Words the windows of a backtest; empty where the whole span is the only one."""
    windows = run.result.get("windows") or {}
    return f"{windows['number']} windows of {windows['steps']:,} decisions" if windows.get("number", 1) > 1 else ""
