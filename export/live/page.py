"""The page of a replay: the paper accounts, and the parts of their result."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from export.live.desk import ACCOUNTS
from export.live.final import Revisions
from export.live.replay import Parity, Source, Waterfall, portfolio
from export.live.verdict import LiveVerdict
from himari_jax.times import iso_minute
from train.artifacts.files import write_text
from train.reporting.figure import Figure, axis, figures, line, thinned
from train.reporting.page import document, pairs, row, table

PARTS = {  # of a waterfall: field, what it is
    "backtest": "backtest on final candles",
    "revision": "candles revised, late or missing",
    "delay": "decisions too late to trade",
    "cost": "other costs than in training",
    "model": "numbers that this machine cannot reproduce",
    "paper": "paper account",
    "slippage": "fills at the prices quoted at the decision",
}


def write_page(
    path: Path, source: Source, parity: Parity, revisions: Revisions, parts: Waterfall, verdict: LiveVerdict
) -> None:
    """Writes the page.

    Raises:
        StorageError: it could not be written.
    """
    start, bars = source.start, source.bars
    first, last = iso_minute(start["first"]), bars[-1]["close"]
    header = (
        f"<h1>Paper trading of {escape(start['name'])} {escape(start['version'])}</h1>"
        f'<p class="verdict"><strong>{verdict.word}</strong>: {escape(verdict.sentence)}; {escape(verdict.advice)}</p>'
        f"<p>{escape(', '.join(start['symbols']))}, {first} to {escape(last)}, {len(bars):,} bars</p>"
    )
    sections = [
        ("Policy and base", figures([growth(source), against(source, verdict)])),
        ("From the backtest to the paper account", gap_table(parts)),
        ("Multiplier", figures([multipliers(source)])),
        ("Parity and candles", facts(source, parity, revisions)),
    ]
    write_text(path, document(f"Paper trading of {start['name']}", header, sections, f"decision log: {path.stem}"))


def closes(source: Source) -> np.ndarray:
    """Returns the closes of the bars, epoch ms, (S,)."""
    return np.array([record["time"] + source.start["bar_ms"] for record in source.bars], np.float64)


def growth(source: Source) -> Figure:
    """Draws the equity of policy and base, 1 at the start."""
    time, found = closes(source), portfolio(source.logged().log_returns)
    curves = {name: np.exp(found[k].cumsum()) for k, name in enumerate(ACCOUNTS)}
    colors = {"policy": "--agent", "base": "--b1"}
    traces = [line(name, time, values, colors[name], width=2.0) for name, values in curves.items()]
    ends = ", ".join(f"{name} {values[-1]:.3f}" for name, values in curves.items())
    layout = {"yaxis": axis("equity, 1 at the start", tickformat=".4~g")}
    label = f"Equity of the paper accounts; one unit became: {ends}."
    return Figure("Equity", label, traces, layout, thinned(len(time)))


def against(source: Source, verdict: LiveVerdict) -> Figure | None:
    """Draws policy minus base with the interval that holds at every look."""
    path, time = verdict.path, closes(source)
    known = np.isfinite(path).all(1)
    if not known.any():
        return None
    shown = np.where(known[:, None], 100 * path, np.nan)
    names = (("mean", "--agent", "solid"), ("low", "--b2", "dash"), ("high", "--b2", "dash"))
    traces = [line(name, time[known], shown[known, k], color, dash=dash) for k, (name, color, dash) in enumerate(names)]
    wide = 3 * float(np.abs(shown[known][len(path[known]) // 4]).max())  # what came before would flatten the rest
    layout = {"yaxis": axis("policy minus base, % a year", range=[-wide, wide])}
    last = shown[known][-1]
    label = f"Policy minus base, {last[0]:.2f} % a year, between {last[1]:.2f} and {last[2]:.2f} at the last bar."
    caption = "The interval holds at every look at once (95 %): it may be watched every hour."
    return Figure("Policy minus base", label, traces, layout, caption)


def multipliers(source: Source) -> Figure:
    """Draws the multiplier of each symbol at its decisions."""
    traces: list[dict[str, Any]] = []
    for k, symbols in enumerate(source.start["lanes"]):
        rows = [record for record in source.bars if "multiplier" in record["lanes"][k]]
        time = np.array([record["time"] + source.start["bar_ms"] for record in rows], np.float64)
        values = np.array([record["lanes"][k]["multiplier"] for record in rows]).reshape(len(rows), -1)
        for n, symbol in enumerate(symbols):
            color = "--agent" if not traces else f"--b{1 + len(traces) % 8}"
            if len(rows):
                traces.append(line(symbol, time, values[:, n], color, form=".3f"))
    layout = {"yaxis": axis("multiplier of the base position", range=[0, 2])}
    return Figure("Multiplier", "The multiplier of each symbol over time.", traces, layout, thinned(len(source.bars)))


def gap_rows(parts: Waterfall) -> list[tuple[str, np.ndarray]]:
    """Lists the measured steps of a waterfall with their descriptions."""
    found = [(words, getattr(parts, name)) for name, words in PARTS.items()]
    return [(words, value) for words, value in found if value is not None]


def gap_table(parts: Waterfall) -> str:
    """Writes the waterfall as a table of log growth in percent."""
    rows = [
        row(words, f"{100 * value[0]:+.4f}", f"{100 * value[1]:+.4f}", f"{100 * (value[0] - value[1]):+.4f}")
        for words, value in gap_rows(parts)
    ]
    note = "Log growth in %. The parts add up from backtest to paper account; slippage is beyond it, an estimate."
    return table(["", "policy", "base", "policy minus base"], rows, note)


def facts(source: Source, parity: Parity, revisions: Revisions) -> str:
    """Renders the counts of parity and revisions."""
    values: dict[str, Any] = {
        "bars": parity.bars,
        "decisions": parity.decisions,
        "bars whose numbers differ in the replay": parity.differences,
        "largest difference of a multiplier": parity.largest,
        "late decisions": sum(record["late"] for record in source.bars),
        "candles changed since": revisions.changed,
        "candles that came late": revisions.late,
        "candles that the final ones lack": revisions.missing,
        "starts": 1 + sum(record["kind"] == "restart" for record in source.records),
    }
    return pairs(values)
