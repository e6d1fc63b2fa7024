"""Describes figures of returns and evidence to plotly: thinned, escaped, colors left to the page."""

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import polars as pl

from himari_jax.plugins import BASELINES
from train.reporting.evidence_plots import rule
from train.reporting.figure import (
    FEW_POINTS,
    IN_ORDER,
    Figure,
    axis,
    line,
    packed,
    style,
    thinned,
)

RIVALS = ("base", "constant")  # what the policy is compared with first
ROLLING_DAYS = 30
NUM_BINS = 81


def curves(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """Reads the equity of each baseline by name, and of the agent, last so that it is drawn on top, (L,)."""
    found = {c.removeprefix("baseline_"): frame[c].to_numpy() for c in frame.columns if c.startswith("baseline_")}
    return {**found, "agent": frame["equity"].to_numpy()}


def epoch(frame: pl.DataFrame) -> np.ndarray:
    """Reads `time` as epoch ms, (L,)."""
    return frame["time"].dt.epoch("ms").to_numpy()


def returns(equity: np.ndarray) -> np.ndarray:
    """Computes simple returns per bar of an equity that starts from 1, (L,)."""
    return equity / np.concatenate([[1.0], equity[:-1]]) - 1


def equity(frame: pl.DataFrame, rival: str | None = None) -> Figure:
    """Draws what one unit became: the agent and what it multiplies, the other baselines at a click."""
    found = curves(frame)
    lines = drawn_first(frame, found, {"agent", rival, *RIVALS})
    ends = ", ".join(f"{name} {values[-1]:.2f}" for name, values in reversed(found.items()))
    layout = {"yaxis": axis("equity, 1 at the start", tickformat=".3~g")}
    label = f"Equity over the test span; one unit became: {ends}."
    caption = "Costs included, same account for all." + folded(lines) + thinned(len(frame))
    positive = all(values.min() > 0 for values in found.values())
    return Figure("Equity", label, lines, layout, caption, positive, 440)


def drawdown(frame: pl.DataFrame, rival: str | None = None) -> Figure:
    """Draws the loss from the highest equity so far: `E / cummax(E) - 1`, the start included."""
    falls = {name: v / np.maximum(np.maximum.accumulate(v), 1.0) - 1 for name, v in curves(frame).items()}
    lines = drawn_first(frame, falls, {"agent", rival, *RIVALS}, form=".1%")
    worst = ", ".join(f"{name} {values.min():.1%}" for name, values in reversed(falls.items()))
    layout = {"yaxis": axis("below the highest so far", tickformat=".0%")}
    label = f"Drawdown over the test span; the deepest: {worst}."
    return Figure("Drawdown", label, lines, layout, folded(lines).strip())


def drawn_first(
    frame: pl.DataFrame, found: Mapping[str, np.ndarray], shown: Collection[str | None], **look: Any
) -> list[dict[str, Any]]:
    """Describes a curve for each name; those that are not shown are in the legend alone, with fewer points."""
    time, lines = epoch(frame), []
    for i, (name, values) in enumerate(found.items()):
        visible = name in shown
        most: dict[str, Any] = {} if visible else {"most": FEW_POINTS}
        lines.append(line(name, time, values, **style(name, i), **look, **most))
        lines[-1]["visible"] = True if visible else "legendonly"
    return lines


def folded(lines: Sequence[Mapping[str, Any]]) -> str:
    """Words a caption about curves that a click shows; empty where all are drawn."""
    hidden = sum(trace["visible"] is not True for trace in lines)
    drawn = ", ".join(str(trace["name"]) for trace in reversed(lines) if trace["visible"] is True)
    return f" Drawn: {drawn}; {hidden} more at a click on their names in the legend." if hidden else ""


def rolling_sharpe(frame: pl.DataFrame, bars_per_year: float, best: str | None) -> Figure | None:
    """Draws the annual Sharpe ratio of the last 30 days, agent and best baseline."""
    window = round(ROLLING_DAYS / 365 * bars_per_year)
    if window < 2 or len(frame) <= window:
        return None
    time, lines, found = epoch(frame)[window - 1 :], [], curves(frame)
    for name in dict.fromkeys(["agent", best or "agent"]):  # the thin line lies on the thick one
        r = pl.Series(returns(found[name]))
        deviation = r.rolling_std(window).to_numpy()[window - 1 :]
        mean = r.rolling_mean(window).to_numpy()[window - 1 :]
        ratio = np.divide(mean, deviation, out=np.full(len(mean), np.nan), where=deviation > 1e-12)
        if np.isfinite(ratio).any():
            look = {**style(name), "width": 1.6, "form": ".2f"}
            lines.append(line(name, time, ratio * math.sqrt(bars_per_year), **look))
    if not lines or lines[0]["name"] != "agent":
        return None
    title = f"Rolling Sharpe, {ROLLING_DAYS} days"
    caption = f"Annual, over {window:,} bars each; one month says little: swings of several units are noise."
    label = f"Annual Sharpe ratio of the last {ROLLING_DAYS} days: {', '.join(x['name'] for x in lines)}."
    return Figure(title, label, lines, {"yaxis": axis("Sharpe, annual", zeroline=True), "legend": IN_ORDER}, caption)


def distribution(frame: pl.DataFrame, best: str | None) -> Figure | None:
    """Draws a histogram of the returns per bar, counts on a log scale."""
    found = {name: returns(values) for name, values in curves(frame).items() if name in ("agent", best)}
    found = {name: r for name, r in found.items() if r.std() > 0}
    if "agent" not in found:
        return None
    together = np.concatenate(list(found.values()))
    edges = np.linspace(together.min(), together.max(), NUM_BINS + 1)
    lines = []
    for name, r in found.items():
        count = np.histogram(r, edges)[0].astype(float)
        count[count == 0] = np.nan
        look = {"form": ",d", "hovertemplate": "%{y:,d} bars near %{x:.2%}"}
        trace = line(name, np.zeros(NUM_BINS), count, style(name)["color"], width=1.8, **look)
        trace["x"] = packed((edges[:-1] + edges[1:]) / 2)
        trace["line"]["shape"] = "hvh"
        lines.append(trace)
    r = found["agent"]
    z = (r - r.mean()) / r.std()
    shape = f"skewness {np.mean(z**3):.2f}, kurtosis {np.mean(z**4):.1f} (normal: 3)"
    facts = f"Agent: deviation {r.std(ddof=1):.3%}, worst bar {r.min():.2%}, best bar {r.max():.2%}, {shape}."
    layout = {
        "xaxis": axis("return of a bar", type="linear", tickformat=".1%"),
        "yaxis": axis("bars (log scale)", type="log", dtick=1, tickformat=",d"),
    }
    return Figure("Distribution of returns", f"Histogram of returns per bar. {facts}", lines, layout, facts)


def forest(title: str, blocks: Mapping[str, Mapping[str, Any]], caption: str = "") -> Figure | None:
    """Draws Sharpe ratios with their 95 % intervals, a row for each name; the first is marked.

    Args:
        title: of the plot.
        blocks: by name, with `sharpe` and `sharpe_interval`; undefined is drawn at 0.
        caption: under it.
    """
    known = {name: b.get("sharpe_interval") or [None] for name, b in blocks.items()}
    rows = {name: (b.get("sharpe") or 0.0, *known[name]) for name, b in blocks.items() if None not in known[name]}
    if not rows:
        return None
    names, (value, low, high) = [escape(name) for name in rows], np.array(list(rows.values())).T
    colors = ["var(--agent)"] + ["var(--soft)"] * (len(rows) - 1)
    hover = "%{y}: %{x:.2f}<extra></extra>"
    points = []
    for i, (name, color) in enumerate(zip(names, colors, strict=True)):
        ends = {"array": [high[i] - value[i]], "arrayminus": [value[i] - low[i]], "color": color}
        marker = {"color": color, "size": 11, "symbol": "diamond" if i else "circle"}
        trace = {"type": "scatter", "mode": "markers", "x": [value[i]], "y": [name], "hovertemplate": hover}
        points.append({**trace, "marker": marker, "error_x": ends})
    layout = {
        "xaxis": axis("annual Sharpe, 95 % interval", type="linear", tickformat=".2~f"),
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True, "fixedrange": True},
        "shapes": [rule(0.0, "--ink", "solid")],
        "showlegend": False,
    }
    spoken = "; ".join(f"{name} {v:.2f} ({a:.2f} to {b:.2f})" for name, (v, a, b) in rows.items())
    return Figure(title, f"Sharpe and interval: {spoken}.", points, layout, caption, height=90 + 30 * len(rows))


def sensitivity(backtest: pl.DataFrame, by: str, other: float, agent: str | None, windows: str = "") -> Figure | None:
    """Draws Sharpe against cost (at a delay) or delay (at a cost), mean of seeds and windows; bars show their spread.

    Args:
        backtest: with `policy`, `cost` (bps), `delay` (bars), `sharpe`.
        by: "cost" or "delay".
        other: value of the one that is held.
        agent: policy that is marked; None: every one that is no baseline.
        windows: in words, where there are several.
    """
    held = {"cost": "delay", "delay": "cost"}[by]
    rows = backtest.filter((pl.col(held) == other) & pl.col("sharpe").is_not_null() & pl.col("sharpe").is_not_nan())
    if rows[by].n_unique() < 2:
        return None
    s = pl.col("sharpe")
    points = rows.group_by("policy", by).agg(s.mean(), low=s.min(), high=s.max()).sort("policy", by)
    own = {agent} if agent else set(points["policy"]) - set(BASELINES.names)
    parts = {str(name): part for (name,), part in points.group_by("policy", maintain_order=True)}
    order = sorted(parts, key=lambda name: name in own)
    lines = [against(name, parts[name], by, i, name in own) for i, name in enumerate(order)]
    unit = {"cost": "bps of the traded value", "delay": "bars"}
    at = f"at a {held} of {other:g} {unit[held]}"
    layout = {
        "xaxis": axis(f"{by}, {unit[by]}", type="linear", tickvals=sorted(rows[by].unique().to_list())),
        "yaxis": axis("Sharpe, annual"),
    }
    title = {"cost": "Sharpe against cost", "delay": "Sharpe against delay"}[by]
    caption = f"Mean of the seeds{f' and of {windows}' if windows else ''}, {at}; vertical bars: lowest and highest."
    return Figure(title, f"{title}, {at}, for {len(lines)} policies.", lines, layout, caption)


def against(name: str, part: pl.DataFrame, by: str, index: int, own: bool) -> dict[str, Any]:
    """Describes a policy's curve over cost or delay; the run's own has its spread."""
    mean, low, high = (part[column].to_numpy() for column in ("sharpe", "low", "high"))
    trace = line(name, np.zeros(len(part)), mean, **style("agent" if own else name, index))
    trace |= {"x": part[by].to_list(), "mode": "lines+markers", "hovertemplate": f"%{{y:.2f}} at {by} %{{x}}"}
    if own and (high > low).any():
        ends = {"array": (high - mean).tolist(), "arrayminus": (mean - low).tolist()}
        trace["error_y"] = {**ends, "color": "var(--agent)", "thickness": 1}
    return trace
