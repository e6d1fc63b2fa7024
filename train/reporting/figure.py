"""Describes figures to plotly, in one style."""

import base64
import json
from collections.abc import Iterable
from html import escape
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from himari_jax.plugins import BASELINES
from train.reporting.packing import lean, pack

MOST_POINTS = 1200  # drawn of a curve, one for each pixel of a wide screen
FEW_POINTS = 300  # of a curve that is hidden at first, or one of many
COLORS = 10  # of baselines: --b0, of the first one alone, to --b9
DASHED = {"cash": "dot", "equal_weight": "dash", "random": "dot", "constant": "dash"}
SERIES = ("--agent", "--b1", "--b2", "--b4", "--b5", "--b6", "--b7", "--b8")  # of assets and seeds
IN_ORDER = {"traceorder": "normal"}  # of the legend; else the last, which lies on top, comes first


class Figure(NamedTuple):
    """A plot with the words that go with it."""

    title: str
    label: str  # what is seen, for those who cannot see it
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    caption: str = ""
    switch: bool = False  # between a linear and a log scale
    height: int = 380  # pixels


def thin(values: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Picks at most `most` rows of a curve: the ends, and the lowest and highest of every stretch; nan is no extreme.

    Args:
        values: a curve, (L,).
        most: points to keep, at least 4.
    """
    rows = len(values)
    if rows <= most:
        return np.arange(rows)
    missing = np.isnan(values)
    low, high = np.where(missing, np.inf, values), np.where(missing, -np.inf, values)
    edges = np.linspace(0, rows, most // 2).astype(int)
    kept = [(a + low[a:b].argmin(), a + high[a:b].argmax()) for a, b in pairwise(edges)]
    return np.unique([0, rows - 1, *chain.from_iterable(kept)])


def packed(values: np.ndarray, kind: str = "f4") -> dict[str, str]:
    """Encodes numbers as plotly's typed array, a third of the size of text."""
    return {"dtype": kind, "bdata": base64.b64encode(np.ascontiguousarray(values, "<" + kind).tobytes()).decode()}


def line(name: str, time: np.ndarray, values: np.ndarray, color: str, **more: Any) -> dict[str, Any]:
    """Describes a curve over time, thinned.

    Args:
        name: in the legend.
        time, values: epoch ms and what is drawn, (L,).
        color: variable of the page.
        more: of the trace; `width`, `dash`, `form` (of a value in the hover) and `most` (points) are taken out.
    """
    rows = thin(values, more.pop("most", MOST_POINTS))
    width, dash, form = more.pop("width", 1.4), more.pop("dash", "solid"), more.pop("form", ".4~g")
    stroke = {"color": f"var({color})", "width": width, "dash": dash}
    hover = f"%{{y:{form}}}<br>%{{x|%Y-%m-%d %H:%M}}"
    trace = {"type": "scatter", "mode": "lines", "name": escape(name), "line": stroke, "hovertemplate": hover}
    return {**trace, "x": packed(time[rows], "f8"), "y": packed(values[rows]), **more}


def style(name: str, index: int = 0) -> dict[str, Any]:
    """Looks up color and stroke of the agent or a baseline, the same in every plot."""
    if name == "agent":
        return {"color": "--agent", "width": 2.6}
    place = BASELINES.names.index(name) if name in BASELINES.names else 1 + index
    place = place if place < COLORS else 1 + (place - 1) % (COLORS - 1)
    return {"color": f"--b{place}", "dash": DASHED.get(name, "solid")}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Describes an axis with its title."""
    return {"title": {"text": escape(title)}, **more}


def thinned(rows: int, most: int = MOST_POINTS) -> str:
    """Words a caption about curves that are not drawn point by point; empty where they are."""
    text = f" {rows:,} bars, drawn with at most {most:,} points a curve; lows and highs are kept."
    return text if rows > most else ""


def figures(found: Iterable[Figure | None], kind: str = "wide") -> str:
    """Writes plots as HTML that the page's script draws; those without input are left out."""
    drawn = "".join(figure_html(figure) for figure in found if figure)
    return f'<div class="{kind}">{drawn}</div>' if drawn else ""


def figure_html(figure: Figure) -> str:
    """Writes one plot as HTML: heading, description, canvas, caption and switch."""
    described = lean({"data": figure.traces, "layout": figure.layout})
    spec = pack(json.dumps(described, allow_nan=False, separators=(",", ":")))
    switch = '<label class="switch"><input type="checkbox"> log scale</label>' if figure.switch else ""
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    return (
        f'<figure class="plot" data-height="{figure.height}"><h3>{escape(figure.title)}{switch}</h3>'
        f'<div class="canvas" role="img" aria-label="{escape(figure.label)}" style="height:{figure.height}px"></div>'
        f"{caption}{spec}</figure>"
    )
