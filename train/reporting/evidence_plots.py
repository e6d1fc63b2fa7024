"""Describes what the verdict rests on to plotly: the resampled difference, and what the sample could find."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from himari_jax.statistics.power import LEVEL, OFTEN, smallest_found
from train.reporting.figure import IN_ORDER, Figure, axis, packed

WIDEST = 2.0  # true difference of annual Sharpe ratios, up to which power is drawn
YEARS = (3, 8)  # samples beside this one
NUM_DIFFERENCES = 101


def histogram_of_samples(
    samples: np.ndarray, rival: str, result: Mapping[str, Any], interval: Sequence[float]
) -> Figure | None:
    """Draws the bootstrap distribution of the paired Sharpe difference, with 0 and what is worth having.

    Args:
        samples: resampled differences, (n,).
        rival: whom they are to.
        result: as result.json; without `rivals` and `power`, of an older one, the interval stands for them.
        interval: of 95 %.
    """
    values = np.asarray(samples, np.float64).ravel()
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    count, edges = np.histogram(values, 60)
    middle = packed((edges[:-1] + edges[1:]) / 2, "f8")
    bars = {"type": "bar", "x": middle, "y": packed(count, "i4"), "marker": {"color": "var(--agent)"}}
    bars["hovertemplate"] = "%{y:,d} resamples near %{x:+.2f}<extra></extra>"
    marks = [rule(x, "--soft", "dash") for x in interval] + [rule(0.0, "--ink", "solid")]
    caption = f"{np.mean(values > 0):.1%} of {len(values):,} resamples lie above 0 (solid)"
    if (measured := (result.get("rivals") or {}).get(rival)) is not None:
        caption += f": one-sided p {measured['p']:.3f}"
    caption += f". Dashed: the 95 % interval, {interval[0]:+.2f} to {interval[1]:+.2f}."
    worthwhile = (result.get("power") or {}).get("worthwhile")
    if worthwhile is not None:
        marks.append(rule(worthwhile, "--good", "dot"))
        caption += f" Dotted: {worthwhile:+g}, from which on a difference is worth having (--worthwhile)."
    layout = {
        "xaxis": axis(f"Sharpe of the agent minus that of {rival}", type="linear", tickformat=".2~f"),
        "yaxis": axis("resamples"),
        "shapes": marks,
        "bargap": 0,
        "showlegend": False,
    }
    title = "Bootstrap of the difference"
    return Figure(title, f"Histogram of the paired Sharpe difference to {rival}; {caption}", [bars], layout, caption)


def power_curves(power: Mapping[str, Any] | None) -> Figure | None:
    """Draws how likely a true difference is found: in this sample, and in some years of the same policy.

    `Phi(d / error - Phi^-1(1 - level))`, the error falling with the square root of the time.

    Args:
        power: block of result.json; None, or without a finite error: no figure.
    """
    error = (power or {}).get("standard_error")
    if not power or error is None or not math.isfinite(error) or error <= 0:
        return None
    level, years = power.get("level", LEVEL), power["years"]
    differences = np.linspace(0, WIDEST, NUM_DIFFERENCES)
    lines: list[dict[str, Any]] = []
    named = {f"this sample, {years:.1f} years": years, **{f"{n} years": n for n in YEARS}}
    for (name, length), color in zip(named.items(), ("--agent", "--b1", "--b2"), strict=True):
        found = ndtr(differences / (error * math.sqrt(years / length)) - ndtri(1 - level))
        stroke = {"color": f"var({color})", "width": 1.6 if lines else 2.6, "dash": "dash" if lines else "solid"}
        trace = {"type": "scatter", "mode": "lines", "name": name, "line": stroke, "x": packed(differences, "f8")}
        lines.append({**trace, "y": packed(found), "hovertemplate": "%{y:.0%} of a true %{x:.2f}"})
    marks = [across(share) for share in (0.5, OFTEN)]
    half, often = (smallest_found(error, share, level) for share in (0.5, OFTEN))
    layout = {
        "xaxis": axis("true Sharpe difference", type="linear", range=[0, WIDEST], tickformat=".1f"),
        "yaxis": axis("probability of EDGE by the test", range=[0, 1.02], tickformat=".0%"),
        "shapes": marks,
        "legend": IN_ORDER,
    }
    caption = (
        f"Dotted: even odds and 4 times in 5; this sample reaches them at true differences of {half:.2f} and "
        f"{often:.2f}. One-sided test at {level:.2g}, before the other gates of the verdict."
    )
    if level < LEVEL:
        alone = [f"{smallest_found(error, share):.2f}" for share in (0.5, OFTEN)]
        caption += f" It shares {LEVEL:.0%} with other trials; as the only one: {' and '.join(alone)}."
    label = f"Probability of finding a true difference against its size. {caption}"
    return Figure("What this sample could find", label, lines, layout, caption)


def rule(x: float, color: str, dash: str) -> dict[str, Any]:
    """Describes a vertical line through a plot."""
    stroke = {"color": f"var({color})", "width": 1.5, "dash": dash}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": stroke}


def across(y: float) -> dict[str, Any]:
    """Describes a dotted line across a plot."""
    stroke = {"color": "var(--soft)", "width": 1.2, "dash": "dot"}
    return {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y, "line": stroke}
