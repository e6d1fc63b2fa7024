"""Describes the figures of a sweep to plotly: parallel coordinates, slices, learning curves."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from train.config.vary import Choices, Dimension
from train.reporting.figure import IN_ORDER, Figure, axis, packed
from train.studies.sweep.console import shorter
from train.studies.sweep.store import Finished, ranked

MOST_TICKS = 12  # of listed values on an axis
SCORE = "validation Sharpe"
PARTS = (
    (0.5, "--soft", 0.25),
    (0.8, "--agent", 0.35),
    (1.0, "--agent", 0.9),
)  # of the ranks, worst first: color, opacity


class Axis(NamedTuple):
    """A setting as an axis: places of the configurations, and of its ticks."""

    name: str
    places: np.ndarray  # (n,)
    ticks: dict[float, str]
    ends: tuple[float, float]

    def height(self, places: Any) -> np.ndarray:
        """Places (n,) between the ends as shares of the axis; the middle where the ends are one."""
        low, high = self.ends
        return (np.asarray(places, float) - low) / (high - low) if high > low else np.full(np.shape(places), 0.5)


def parallel(trials: Sequence[Finished], dimensions: Sequence[Dimension]) -> Figure | None:
    """Draws a line for each configuration across its values and its score; None without two of them."""
    best = ranked(trials)[0]
    measured = sorted((each for each in trials if each.scores), key=lambda each: (each is best, each.score))
    if len(measured) < 2:
        return None
    axes = [placed(each, [trial.point[each.name] for trial in measured]) for each in dimensions]
    scores = np.array([each.score for each in measured])
    ends = float(scores.min()), float(scores.max())
    axes.append(Axis("Sharpe", scores, {x: f"{x:+.2f}" for x in ends}, ends))
    heights = np.stack([each.height(each.places) for each in axes], 1)  # (n, axes)
    words = [
        f"trial {each.trial}: {each.score:+.3f} {'' if each.state == 'complete' else each.state}" for each in measured
    ]
    traces, first = [], 0
    for share, color, opacity in PARTS:
        last = min(round(share * len(measured)), len(measured) - 1)
        if last > first:
            traces.append(strokes(heights[first:last], words[first:last], color, opacity, 1.2))
        first = last
    traces.append(strokes(heights[-1:], words[-1:], "--b1", 1.0, 3.0))
    heads = {"tickvals": list(range(len(axes))), "ticktext": [escape(each.name) for each in axes]}
    wide = {"range": [-0.35, len(axes) - 0.85], "side": "top", "showgrid": False}
    wide |= {"tickangle": "auto", "ticklabeloverflow": "allow"}  # names are never left out
    layout = {
        "xaxis": axis("", type="linear", **heads, **wide),
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "shapes": [pole(k) for k in range(len(axes))],
        "annotations": [mark for k, each in enumerate(axes) for mark in marks_of(k, each)],
        "showlegend": False,
    }
    caption = f"Thick: trial {best.trial}, the chosen one; blue: the better half. Dropped ones at their last score."
    label = f"{len(measured)} configurations across {len(dimensions)} settings; chosen is trial {best.trial}."
    return Figure("All settings at once", label, traces, layout, caption, height=420)


def strokes(heights: np.ndarray, words: Sequence[str], color: str, opacity: float, width: float) -> dict[str, Any]:
    """Describes lines across the axes, (n, axes), as one trace with gaps."""
    count, axes = heights.shape
    gaps = np.column_stack([heights, np.full(count, np.nan)])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": packed(np.tile(np.arange(axes + 1.0), count), "f8"),
        "y": packed(gaps.ravel(), "f8"),
        "text": [word for word in words for _ in range(axes + 1)],
        "opacity": opacity,
        "line": {"color": f"var({color})", "width": width},
        "marker": {"color": f"var({color})", "size": 4},
        "hovertemplate": "%{text}<extra></extra>",
    }


def pole(place: int) -> dict[str, Any]:
    """Describes the line of an axis."""
    stroke = {"color": "var(--soft)", "width": 1}
    return {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": stroke, "layer": "below"}


def marks_of(place: int, each: Axis) -> Iterator[dict[str, Any]]:
    """Describes the ticks of an axis, beside it."""
    for at, text in each.ticks.items():
        yield {
            **{"x": place, "y": float(each.height(at)), "text": escape(text), "showarrow": False},
            **{"xanchor": "right", "xshift": -6, "font": {"size": 11, "color": "var(--soft)"}},
        }


def placed(dimension: Dimension, texts: Sequence[str]) -> Axis:
    """Lays a setting on an axis: numbers of listed values, logarithms where draws are uniform in them."""
    if isinstance(dimension, Choices):
        known = list(dimension.texts)
        ticks = {float(k): text for k, text in enumerate(known)}
        return Axis(dimension.name, np.array([float(known.index(text)) for text in texts]), ticks, (0, len(known) - 1))
    change = np.log10 if dimension.log else np.asarray
    spaced = np.geomspace if dimension.log else np.linspace
    ticks = {float(change(x)): shorter(f"{x:.3g}") for x in spaced(dimension.low, dimension.high, 5)}
    places = np.asarray(change([float(text) for text in texts]), float)
    return Axis(dimension.name, places, ticks, (min(ticks), max(ticks)))


def slices(trials: Sequence[Finished], dimensions: Sequence[Dimension]) -> Iterator[Figure]:
    """Draws the score over each setting, whatever the values of the others."""
    measured = [each for each in trials if each.scores]
    for dimension in dimensions if measured else ():
        _, places, ticks, _ = placed(dimension, [each.point[dimension.name] for each in measured])
        marks = [dots(kind, measured, places) for kind in ("complete", "dropped", "failed")]
        traces = [trace for trace in marks if trace is not None]
        if isinstance(dimension, Choices):
            traces.append(means(measured, places))
        more: dict[str, Any] = {}
        if 0 < len(ticks) <= MOST_TICKS:
            more = {"tickvals": list(ticks), "ticktext": [escape(text) for text in ticks.values()]}
        layout = {
            "xaxis": axis(dimension.name, type="linear", **more),
            "yaxis": axis(SCORE),
            "legend": IN_ORDER,
            "showlegend": len(traces) > 1,
        }
        name = dimension.name
        yield Figure(name, f"Validation Sharpe over {name}: {found(measured, name)}.", traces, layout, "", height=280)


def dots(state: str, trials: Sequence[Finished], places: np.ndarray) -> dict[str, Any] | None:
    """Describes the points of the configurations of one state; None without any."""
    own = [k for k, each in enumerate(trials) if each.state == state]
    if not own:
        return None
    color = "--agent" if state == "complete" else "--soft"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": state,
        "x": packed(places[own], "f8"),
        "y": packed(np.array([trials[k].score for k in own]), "f8"),
        "text": [f"trial {trials[k].trial}" for k in own],
        "marker": {"color": f"var({color})", "size": 7, "opacity": 0.7},
        "hovertemplate": "%{text}: %{y:+.3f}<extra></extra>",
    }


def means(trials: Sequence[Finished], places: np.ndarray) -> dict[str, Any]:
    """Describes the mean score at each listed value, of complete configurations; of all where none is complete."""
    complete = np.array([each.state == "complete" for each in trials])
    kept = complete if complete.any() else np.ones_like(complete)
    scores = np.array([each.score for each in trials])
    at = np.unique(places[kept])
    levels = np.array([scores[kept & (places == x)].mean() for x in at])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "mean",
        "x": packed(at, "f8"),
        "y": packed(levels, "f8"),
        "line": {"color": "var(--b1)", "width": 1.6},
        "hovertemplate": "mean %{y:+.3f}<extra></extra>",
    }


def found(trials: Sequence[Finished], name: str) -> str:
    """Words the best score at each value of a setting, for those who cannot see the plot."""
    best: dict[str, float] = {}
    for each in trials:
        best[each.point[name]] = max(each.score, best.get(each.point[name], -np.inf))
    shown = sorted(best.items(), key=lambda pair: -pair[1])[:MOST_TICKS]
    return ", ".join(f"{score:+.2f} at {shorter(text)}" for text, score in shown)
