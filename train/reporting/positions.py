"""Describes figures of what was decided and held to plotly: multipliers, weights, positions against prices."""

from html import escape
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from train.reporting.figure import FEW_POINTS, MOST_POINTS, SERIES, Figure, axis, line, packed, thin, thinned
from train.reporting.plots import epoch

MOST_PRICES = 12  # symbols drawn with their price
MANY = 4  # symbols, from which on each is drawn with fewer points
MOST_PANELS = 12  # symbols drawn with their multiplier
MOST_STRETCHES = 400  # of a panel, which is about 1,000 pixels wide
FEW_STRETCHES = 200  # of a panel of many
MULTIPLIER_BINS = 40  # of [0, 2]
TIME_SHARE = 0.86  # of the width; the distribution has the rest
HEADING, AROUND = 28, 80  # pixels above each panel, and around all of them


class Stretches(NamedTuple):
    """A curve cut into P stretches of rows."""

    middle: np.ndarray  # (P,) row
    low: np.ndarray  # (P,)
    mean: np.ndarray  # (P,)
    high: np.ndarray  # (P,)


def cut(values: np.ndarray, most: int = MOST_STRETCHES) -> Stretches:
    """Cuts a curve (L,) into at most `most` stretches of about equal length; of one row each where L is not larger."""
    edges = np.linspace(0, len(values), min(most, len(values)) + 1).astype(int)
    first, size = edges[:-1], np.diff(edges)
    mean = np.add.reduceat(values, first, dtype=np.float64) / size
    return Stretches(first + size // 2, np.minimum.reduceat(values, first), mean, np.maximum.reduceat(values, first))


def multiplier(frame: pl.DataFrame) -> Figure | None:
    """Draws each symbol's multiplier over time and its distribution, with 1 as the reference.

    Every symbol has a panel: a line of the means of stretches of bars in a band from their lowest to their highest.
    None where the file has no multipliers: an older one, or of a strategy that gives weights.
    """
    names = [c for c in frame.columns if c.startswith("multiplier_") and frame[c].count()]
    if not names:
        return None
    shown, time = names[:MOST_PANELS], epoch(frame)
    pixels = 290 if len(shown) == 1 else 150 * len(shown)
    layout: dict[str, Any] = {"showlegend": False, "bargap": 0}
    most = MOST_STRETCHES if len(shown) < MANY else FEW_STRETCHES
    traces, shapes, headings, texts = [], [], [], []
    for k, (name, color) in enumerate(zip(shown, cycle(SERIES), strict=False)):
        known = frame[name].is_not_null().to_numpy()  # a symbol of a pool decides in its own time alone
        values, when, number = frame[name].to_numpy()[known], time[known], str(k + 1 if k else "")
        y = f"y{number}"
        texts.append(f"{name.removeprefix('multiplier_')}: mean {values.mean():.2f}, deviation {values.std():.2f}")
        top = 1 - k / len(shown)
        domain = [max(top - 1 / len(shown), 0.0), top - HEADING / pixels]
        layout[f"yaxis{number}"] = {"domain": domain, "range": [-0.08, 2.08], "tickvals": [0, 1, 2]}
        traces += [*band(when, values, color, y, most), spread(values, color, y)]
        shapes.append(reference(y))
        headings.append(heading(texts[-1], domain[1]))
    layout["xaxis"] = {"domain": [0, TIME_SHARE], "anchor": y}
    right = {"domain": [TIME_SHARE + 0.03, 1], "anchor": y, "showticklabels": False}
    layout["xaxis2"] = axis("how often", type="linear", **right)
    layout |= {"shapes": shapes, "annotations": headings}
    label = f"Multiplier of the base position over time, from 0 to 2. {'; '.join(texts)}."
    caption = "Dashed: 1, the base position as it is. 0 holds nothing, 2 twice as much, before the caps."
    if len(frame) > most:
        caption += f" {len(frame):,} bars in {most} stretches: their means, in a band from lowest to highest."
    if len(names) > len(shown):
        caption += f" The first {len(shown)} of {len(names)} symbols."
    return Figure("Multiplier", label, traces, layout, caption, height=pixels + AROUND)


def band(time: np.ndarray, values: np.ndarray, color: str, y: str, most: int) -> list[dict[str, Any]]:
    """Draws the means of stretches as a line, and their lowest and highest as an area where they differ.

    Args:
        time, values: epoch ms and multipliers, (L,).
        color: variable of the page.
        y: axis of the panel.
        most: stretches.
    """
    part = cut(values, most)
    when = time[part.middle]
    mean = line("multiplier", when, part.mean, color, yaxis=y, form=".2f")
    if len(values) <= most:
        return [mean]
    x, edge = np.concatenate([when, when[::-1]]), np.concatenate([part.high, part.low[::-1]])
    area = {"type": "scatter", "mode": "none", "fill": "toself", "fillcolor": f"var({color})", "opacity": 0.25}
    return [{**area, "x": packed(x, "f8"), "y": packed(edge), "yaxis": y, "hoverinfo": "skip"}, mean]


def spread(values: np.ndarray, color: str, y: str) -> dict[str, Any]:
    """Draws the share of the bars by multiplier (L,) as lying bars beside a panel."""
    count, edges = np.histogram(np.clip(values, 0, 2), MULTIPLIER_BINS, (0, 2))
    where = {"x": packed(count / len(values)), "y": packed((edges[:-1] + edges[1:]) / 2), "xaxis": "x2", "yaxis": y}
    hover = "%{x:.1%} of the bars near %{y:.2f}<extra></extra>"
    return {"type": "bar", "orientation": "h", **where, "marker": {"color": f"var({color})"}, "hovertemplate": hover}


def reference(y: str) -> dict[str, Any]:
    """Describes a dashed line at multiplier 1, across a panel and its distribution."""
    stroke = {"color": "var(--ink)", "width": 1.2, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": y, "y0": 1, "y1": 1, "line": stroke}


def heading(text: str, height: float) -> dict[str, Any]:
    """Describes words above a panel whose upper edge is at a height, in shares of the plot."""
    place = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": height, "yanchor": "bottom"}
    return {**place, "text": escape(text), "showarrow": False}


def weights(frame: pl.DataFrame) -> Figure | None:
    """Draws the share of equity in each asset over time, stacked; of a pool the shares of the portfolio."""
    names = [c for c in frame.columns if c.startswith("weight_")]
    if not names:
        return None
    own = [c for c in frame.columns if c.startswith("equity_")]
    accounts = frame.select(own).with_columns(pl.all().is_not_null()).to_numpy().sum(1) if own else 1
    time = epoch(frame)
    held = {c.removeprefix("weight_"): frame[c].fill_null(0).to_numpy() / accounts for c in names}
    most = points_for(len(names))
    share = max(most // len(names), 4)
    rows = np.unique(np.concatenate([thin(values, share) for values in held.values()]))
    more = {"stackgroup": "one", "width": 0.8, "form": ".1%"}
    colors = cycle(SERIES)
    lines = [line(name, time[rows], v[rows], next(colors), **more) for name, v in held.items()]
    means = ", ".join(f"{name} {values.mean():.1%}" for name, values in held.items())
    layout = {"yaxis": axis("share of equity", tickformat=".0%", rangemode="tozero")}
    caption = f"Mean: {means}; the rest is cash." + thinned(len(frame), most)
    label = f"Weights of the agent over time as areas; mean {means}."
    return Figure("Weights over time", label, lines, layout, caption)


def position(frame: pl.DataFrame, prices: pl.DataFrame, symbol: str) -> Figure | None:
    """Draws the price of an asset above, the agent's weight in it below."""
    column = f"weight_{symbol}"
    if symbol not in prices.columns or column not in frame.columns:
        return None
    shown = prices.filter(pl.col("time").dt.epoch("ms").is_between(*epoch(frame)[[0, -1]].tolist()))
    if not len(shown):
        return None
    held, most = frame[column].fill_null(0).to_numpy(), points_for(len(prices.columns) - 1)
    area = {"most": most, "yaxis": "y2", "fill": "tozeroy", "form": ".1%", "width": 0.8}
    lines = [
        line("price", epoch(shown), shown[symbol].to_numpy(), "--b3", form=",.6~g", most=most),
        line("weight", epoch(frame), held, "--agent", **area),
    ]
    layout = {
        "yaxis": axis("price", domain=[0.4, 1], tickformat=",~r"),
        "yaxis2": axis("weight", domain=[0, 0.32], tickformat=".0%", rangemode="tozero"),
        "xaxis": {"anchor": "y2"},
        "showlegend": False,
    }
    label = f"Close of {symbol} over the test span and the agent's weight in it, mean {held.mean():.1%}."
    caption = thinned(len(frame), most).strip()
    return Figure(f"Position against price: {symbol}", label, lines, layout, caption, height=400)


def points_for(symbols: int) -> int:
    """Number of points of a curve where each of so many symbols has one."""
    return MOST_POINTS if symbols < MANY else FEW_POINTS
