"""Describes figures of a walk-forward test to plotly: the stitched track, blocks, symbols, and the permutation null."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import polars as pl

from himari_jax.times import YEAR_MS, parse_iso
from train.reporting.evidence_plots import rule
from train.reporting.figure import IN_ORDER, Figure, axis, line, packed, style, thinned
from train.reporting.formats import sentence, signed
from train.reporting.plots import curves, epoch
from train.reporting.walk_sentences import KINDS, caution, interval, labels, pooled, statistic

DRAWN = ("trend", "constant", "base", "agent")  # on the stitched track, the last one on top
WIDEST_TEXT = 12  # blocks, up to which a cell of the heat map is wide enough for its number
NUM_BINS = 40


def track(frame: pl.DataFrame, result: Mapping[str, Any]) -> Figure:
    """Draws what one unit became over all test blocks, with a mark where the policy was retrained.

    Args:
        frame: as equity.parquet, one track over all blocks.
        result: as result.json, its blocks in the order of time.
    """
    blocks = result["walk_forward"]["blocks"]
    time, found = epoch(frame), curves(frame)
    shown = {name: found[name] for name in DRAWN if name in found}
    traces = [line(name, time, values, **style(name)) for name, values in shown.items()]
    borders = [rule(parse_iso(block["test"][0]), "--soft", "dot") for block in blocks[1:]]
    positive = all(values.min() > 0 for values in shown.values())
    scale = {"type": "log", "title": {"text": "equity, 1 at the start (log scale)"}} if positive else {}
    layout = {"yaxis": {**axis("equity, 1 at the start", tickformat=".3~g"), **scale}, "shapes": borders}
    ends = ", ".join(f"{name} {values[-1]:.2f}" for name, values in reversed(shown.items()))
    caption = "Costs included, those of changing the policy too."
    if borders:
        caption = f"Dotted: a new test block, decided by a policy that was trained on what lay before it. {caption}"
    label = f"Equity over {len(blocks)} test blocks as one track; one unit became: {ends}."
    return Figure(
        "Out-of-sample track", label, traces, layout, f"{caption}{thinned(len(frame))}{warning(result)}", height=440
    )


def by_block(result: Mapping[str, Any]) -> Figure:
    """Draws each block's Sharpe ratio minus that of its constant multiplier, and the same one bar late."""
    blocks = result["walk_forward"]["blocks"]
    names, bars = labels(blocks), []
    for name, key, color in (
        ("on time", "difference", "var(--agent)"),
        ("one bar late", "late_difference", "var(--b1)"),
    ):
        values = [block.get(key) for block in blocks]
        look = {"marker": {"color": color}, "hovertemplate": f"%{{y:+.2f}} {name}, block %{{x}}<extra></extra>"}
        bars.append({"type": "bar", "name": name, "x": names, "y": values, **look})
    known = [block["difference"] for block in blocks if block.get("difference") is not None]
    layout = {
        "xaxis": axis("test block", type="category"),
        "yaxis": axis("Sharpe minus the constant's", tickformat="+.2~f", zeroline=True, zerolinecolor="var(--ink)"),
        "barmode": "group",
        "legend": IN_ORDER,
    }
    caption = f"Ahead in {sum(value > 0 for value in known)} of {len(known)} blocks; the whole track: "
    caption += f"{signed(pooled(result).get('difference'))}, one bar late {signed(pooled(result).get('late'))}."
    caption += f"{last_end(blocks)}{error_of_one(result)}{warning(result)}"
    spoken = ", ".join(f"{name} {signed(block.get('difference'))}" for name, block in zip(names, blocks, strict=True))
    label = f"Difference of the annual Sharpe ratio to the constant multiplier by test block: {spoken}."
    return Figure("Difference by block", label, bars, layout, caption)


def warning(result: Mapping[str, Any]) -> str:
    """Words the caution as the last sentence of a caption; empty where there is none."""
    text = caution(result)
    return f" {sentence(text)}." if text else ""


def last_end(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Says when the last block ends, which may be a part of one."""
    return f" The last block ends {blocks[-1]['test'][1][:10]}."


def error_of_one(result: Mapping[str, Any]) -> str:
    """Words the standard error of a single block, from that of the whole track by the square root of the time."""
    power, blocks = result.get("power") or {}, result["walk_forward"]["blocks"]
    error, years = power.get("standard_error"), power.get("years")
    if not error or not years:
        return ""
    lengths = [(parse_iso(block["test"][1]) - parse_iso(block["test"][0])) / YEAR_MS for block in blocks]
    length = float(np.median(lengths))
    if length <= 0:
        return ""
    return (
        f" One block says little: its difference has a standard error of about {error * math.sqrt(years / length):.2f}."
    )


def by_symbol(result: Mapping[str, Any]) -> Figure | None:
    """Draws the difference of each symbol's account to its constant, block by block, as colors; None without a pool."""
    blocks = result["walk_forward"]["blocks"]
    found = [block.get("by_symbol") or {} for block in blocks]
    names = list(dict.fromkeys([*(result.get("symbols") or ()), *(name for each in found for name in each)]))
    names = [name for name in names if any(each.get(name) for each in found)]
    if not names:
        return None
    cells = [[block.get("difference") for block in blocks]]
    cells += [[(each.get(name) or {}).get("difference") for each in found] for name in names]
    known = np.abs([value for row in cells for value in row if value is not None])
    top = float(np.quantile(known, 0.9)) if len(known) else 0.0
    top = top or 1.0
    heat = {
        "type": "heatmap",
        "x": labels(blocks),
        "y": ["all together", *map(escape, names)],
        "z": cells,
        "zmin": -top,
        "zmax": top,
        "colorscale": [[0, "var(--b1)"], [0.5, "var(--card)"], [1, "var(--agent)"]],
        "hovertemplate": "%{y}, block %{x}: %{z:+.2f}<extra></extra>",
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "showscale": len(blocks) > WIDEST_TEXT,
        "colorbar": {"title": {"text": "difference"}, "thickness": 12, "tickformat": "+.1f"},
        **({"texttemplate": "%{z:+.1f}"} if len(blocks) <= WIDEST_TEXT else {}),
    }
    layout = {
        "xaxis": axis("test block", type="category", showgrid=False),
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
        },
    }
    worst, best = known_ends(cells[1:])
    caption = f"Blue is ahead of the constant, orange behind it, from {worst} to {best}; the colors end at {top:.1f}."
    caption += f" Empty: no decision.{last_end(blocks)}{warning(result)}"
    label = f"Difference of the Sharpe ratio by test block and symbol, from {worst} to {best}."
    return Figure("Difference by block and symbol", label, [heat], layout, caption, height=110 + 28 * len(cells))


def known_ends(cells: Sequence[Sequence[float | None]]) -> tuple[str, str]:
    """Words the lowest and the highest of a table."""
    known = [value for row in cells for value in row if value is not None]
    return signed(min(known, default=None)), signed(max(known, default=None))


def permutation_null(found: Mapping[str, Any] | None) -> Figure | None:
    """Draws how policies do that were retrained on permuted candles, and where the real one stands.

    Args:
        found: `permutations` of `walk_forward`; None, or fewer than two known: no figure.
    """
    null = np.array([x for x in (found or {}).get("null") or [] if x is not None], np.float64)
    if not found or len(null) < 2:
        return None
    value, p = found.get("value"), found.get("p")
    together = null if value is None else np.append(null, value)
    low, high = float(together.min()), float(together.max())
    around = 0.06 * (high - low) or 0.1
    count, edges = np.histogram(null, NUM_BINS, (low, high))
    bars = {"type": "bar", "x": packed((edges[:-1] + edges[1:]) / 2, "f8"), "y": packed(count, "i4")}
    bars |= {"marker": {"color": "var(--soft)"}, "hovertemplate": "%{y:,d} permutations near %{x:+.2f}<extra></extra>"}
    marks, notes = [rule(0.0, "--ink", "dot")], []
    caption = f"{KINDS.get(found['kind'], found['kind']).capitalize()}, and the policies retrained each time."
    if value is not None:
        mark = rule(value, "--agent", "solid")
        marks.append({**mark, "line": {**mark["line"], "width": 3}})
        text = f"S {value:+.2f}" + ("" if p is None else f", p {p:.3f}")
        right = value > (low + high) / 2
        place = {"x": value, "xanchor": "right" if right else "left", "y": 1, "yref": "paper", "yanchor": "top"}
        notes.append({**place, "text": f" {text} ", "showarrow": False, "font": {"color": "var(--agent)", "size": 14}})
        better = int((null >= value).sum())
        caption += f" {better} of {len(null)} do as well as the real market (S, {signed(value)})"
        counted = f"(1 + {better}) / (1 + {len(null)}) = "
        if p is not None:  # an incomplete null would count another p
            caption += f": p = {counted if len(null) == found['number'] else ''}{p:.3f}"
        caption += "."
    layout = {
        "xaxis": axis(f"S: {statistic(found)}", type="linear", tickformat="+.2~f", range=[low - around, high + around]),
        "yaxis": axis("permutations"),
        "shapes": marks,
        "annotations": notes,
        "bargap": 0.05,
        "showlegend": False,
    }
    label = f"Histogram of S over {len(null)} permutations, {interval([null.min(), null.max()])}. {caption}"
    return Figure("Permutation test", label, [bars], layout, caption)
