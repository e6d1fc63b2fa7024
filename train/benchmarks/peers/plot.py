"""The comparison as two panels of bars on a log scale: plot.html for reading, plot.svg for a README."""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from train.artifacts.files import write_text
from train.benchmarks.peers.config import PeersConfig
from train.benchmarks.peers.trial import OURS
from train.reporting.svg import document, element, text

OURS_COLOR, PEER_COLOR, MISSED_COLOR = "#2a7f62", "#8a8f98", "#d8dade"
WIDTH, LEFT, BAR = 860, 250, 22  # pixels of the drawing


class Bar(NamedTuple):
    """One bar."""

    name: str
    length: float
    text: str
    color: str


class Panel(NamedTuple):
    """Bars of one kind."""

    title: str
    bars: list[Bar]


def panels(speed: list, races: list, bench: PeersConfig) -> list[Panel]:
    """Makes the panels: speed by policy, then each market."""
    from train.benchmarks.peers.table import NAMES, median_seconds, title

    info: dict[str, list[Bar]] = {}
    for trial, results, _ in speed:
        value = statistics.median(x["steps_per_second"] for x in results)
        color = OURS_COLOR if trial.contestant in OURS else PEER_COLOR
        heading = f"steps per second, {trial.policy} (longer is better)"
        info.setdefault(heading, []).append(Bar(NAMES[trial.contestant], value, f"{value:,.0f}", color))
    for trial, results, _ in races:
        value = median_seconds(results)
        missed = value == float("inf")
        color = MISSED_COLOR if missed else OURS_COLOR if trial.contestant in OURS else PEER_COLOR
        text = f"not in {trial.limit:.0f} s" if missed else f"{value:.1f} s"
        heading = f"{trial.market}: seconds to {bench.goal:.0%} of the optimum (shorter is better)"
        info.setdefault(heading, []).append(Bar(title(trial), trial.limit if missed else value, text, color))
    return [Panel(*pair) for pair in info.items()]


def write_plots(speed: list, races: list, bench: PeersConfig, folder: Path) -> None:
    """Writes plot.html and plot.svg; nothing where nothing was measured."""
    info = panels(speed, races, bench)
    if not info:
        return
    figure = make_subplots(rows=len(info), cols=1, subplot_titles=[panel.title for panel in info])
    for row, panel in enumerate(info, start=1):
        bars = panel.bars[::-1]
        columns: dict[str, Any] = {"x": [b.length for b in bars], "y": [b.name for b in bars]}
        look = {"orientation": "h", "text": [b.text for b in bars], "marker_color": [b.color for b in bars]}
        figure.add_trace(go.Bar(**columns, **look), row=row, col=1)
    figure.update_xaxes(type="log")
    figure.update_layout(showlegend=False, height=260 * len(info), template="plotly_white")
    figure.write_html(folder / "plot.html", include_plotlyjs=True)
    write_text(folder / "plot.svg", draw(info))


def draw(info: list[Panel]) -> str:
    """Draws the panels as SVG; a decade has the same length within a panel."""
    parts, y = [], 10
    for panel in info:
        lowest = min(bar.length for bar in panel.bars) / 2
        decades = max(log_ratio(bar.length, lowest) for bar in panel.bars)
        y += 22
        parts.append(text(10, y, panel.title, None, font_weight=600))
        y += 10
        for bar in panel.bars:
            length = (WIDTH - LEFT - 110) * log_ratio(bar.length, lowest) / decades
            parts.append(text(LEFT - 8, y + 15, bar.name, None, text_anchor="end"))
            parts.append(element("rect", x=LEFT, y=y + 2, width=length, height=BAR - 4, rx=2, fill=bar.color))
            parts.append(text(LEFT + length + 6, y + 15, bar.text, None))
            y += BAR
        y += 8
    parts.append(text(10, y + 14, "log scales", None, font_size=11))
    return document(WIDTH, y + 24, parts, font_size=13, fill="#444")


def log_ratio(value: float, lowest: float) -> float:
    """Decades above the left edge."""
    from math import log10

    return log10(value / lowest)
