"""Learning curves of a run: where the best evaluations stand, the advice that follows, and the plots for plotly."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Literal, NamedTuple

import numpy as np

from train.reporting.figure import IN_ORDER, SERIES, Figure, axis, line

PANELS = {
    "Return per episode": {"episode_return": "return"},
    "Approximate KL of an update": {"approx_kl": "KL"},
    "Entropy and log deviation of the policy": {"entropy": "entropy", "log_std": "log deviation"},
    "Variance explained by the value head": {"explained_variance": "share"},
    "Loss of the policy": {"policy_loss": "policy"},
    "Loss of the value head": {"value_loss": "value"},
}


class BestEvaluation(NamedTuple):
    """Position of a seed's best evaluation in the order of training."""

    position: Literal["first", "between", "last"]
    advice: str | None  # what to do; None between first and last


def locate_best(
    updates: Sequence[int], sharpes: Sequence[float | None], best: int, total_steps: int
) -> BestEvaluation | None:
    """Locates the best evaluation of a seed among all; None for a single evaluation, or where the best is missing.

    Args:
        updates: at which validation was measured, in order, (E,).
        sharpes: measured there, None or not finite where undefined, (E,).
        best: update of the best one, the first of equals.
        total_steps: that the run was trained for.
    """
    finite = {update: x for update, x in zip(updates, sharpes, strict=True) if x is not None and math.isfinite(x)}
    if len(finite) < 2 or best not in finite:
        return None
    order, values = list(finite), list(finite.values())
    if best == updates[-1]:
        return BestEvaluation(
            "last",
            f"best validation is the last of {len(order)} evaluations (Sharpe {values[-1]:+.2f}, {values[-2]:+.2f} "
            f"before it): still improving; train longer with --total-steps {2 * total_steps}, in a new run",
        )
    if best == order[0]:
        after = "only unlearned" if values[-1] < values[0] else "improved nothing"
        return BestEvaluation(
            "first",
            f"best validation is the first of {len(order)} evaluations (Sharpe {values[0]:+.2f}, {values[-1]:+.2f} at "
            f"the end): training after it {after}; try more --weight-decay, a lower --learning-rate or another --bar",
        )
    return BestEvaluation("between", None)


def summarize_curve(
    metrics: Sequence[Mapping[str, Any]], best_update: Sequence[int], chosen: int, total_steps: int
) -> dict[str, Any]:
    """Summarizes the learning curve of a run: the block `course` of result.json.

    Args:
        metrics: lines of metrics.jsonl, of every part of the run.
        best_update: of each seed, (K,).
        chosen: index of the seed that the advice is about.
        total_steps: that the run was trained for.
    """
    updates = [line["update"] for line in metrics if "update" in line]
    found = []
    for k, best in enumerate(best_update):
        sharpes = [validation_sharpe(line, k) for line in metrics if "update" in line]
        found.append(locate_best(updates, sharpes, best, total_steps))
    mine = found[chosen]
    return {
        "best": mine and mine.position,
        "best_by_seed": [each and each.position for each in found],
        "advice": mine and mine.advice,
    }


def curve_summary(result: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns `course` of a result, computed for a run of 0.1.0, which lacks it; None where nothing was trained.

    Args:
        result: as result.json.
        metrics: lines of metrics.jsonl.
    """
    if "course" in result or "best_update" not in result:
        return result.get("course")
    chosen = [block["seed"] for block in result["seeds"]].index(result["chosen_seed"])
    return summarize_curve(metrics, result["best_update"], chosen, result["timings"]["steps"])


def curve_advice(result: Mapping[str, Any], summary: Mapping[str, Any] | None) -> str:
    """Words the advice on the learning curve, with the seed where there are several; empty where there is none."""
    if summary is None or summary["advice"] is None:
        return ""
    of = f"seed {result['chosen_seed']}: " if len(result["seeds"]) > 1 else ""
    return f"{of}{summary['advice']}"


def validation_sharpe(line: Mapping[str, Any], seed: int) -> float | None:
    """Reads the validation Sharpe of a seed off a line of metrics.jsonl; None where it has none."""
    measured = line.get("validation_sharpe_by_seed") or []
    return measured[seed] if seed < len(measured) else None


def draw_curves(
    metrics: Sequence[Mapping[str, Any]], seeds: Sequence[int], best: Mapping[int, tuple[int, str]]
) -> list[Figure]:
    """Draws the learning curves, one small plot for each measured quantity.

    Args:
        metrics: lines of metrics.jsonl.
        seeds: their numbers.
        best: update of the best evaluation by index of its seed, and words beside its mark, if any.
    """
    by_seed = [row.get("validation_sharpe_by_seed") or [] for row in metrics]
    found = {f"seed {s}": [x[k] if k < len(x) else None for x in by_seed] for k, s in enumerate(seeds)}
    panels = {"Validation Sharpe": found}
    for title, keys in PANELS.items():
        panels[title] = {label: [row.get(key) for row in metrics] for key, label in keys.items()}
    steps = [row.get("steps") for row in metrics]
    captions = {"Validation Sharpe": "The other plots are means over the seeds."} if len(seeds) > 1 else {}
    drawn = {title: small(title, steps, columns, captions.get(title, "")) for title, columns in panels.items()}
    measured = {row["update"]: row for row in metrics if "update" in row}
    known = {k: mark for k, mark in best.items() if mark[0] in measured}  # metrics.jsonl may have been cut since
    if known and (curve := drawn["Validation Sharpe"]) is not None:
        drawn["Validation Sharpe"] = circled(curve, measured, known)
    return [figure for figure in drawn.values() if figure]


def circled(curve: Figure, measured: Mapping[int, Mapping[str, Any]], best: Mapping[int, tuple[int, str]]) -> Figure:
    """Circles the best evaluation of each seed in the plot of the validation, with words and an arrow where given.

    Args:
        curve: the plot.
        measured: lines of metrics.jsonl by update.
        best: as `draw_curves` takes it.
    """
    marks, notes, end = [], [], max(row["steps"] for row in measured.values())
    for k, (update, words) in best.items():
        color = f"var({SERIES[k % len(SERIES)]})"
        x, y = measured[update]["steps"], measured[update]["validation_sharpe_by_seed"][k]
        marker = {"symbol": "circle-open", "size": 13, "color": color, "line": {"width": 2.4}}
        trace = {"type": "scatter", "mode": "markers", "x": [x], "y": [y], "marker": marker, "showlegend": False}
        marks.append({**trace, "hovertemplate": "best: %{y:.3~g} at %{x:,d} steps<extra></extra>"})
        if words:
            late = 2 * x > end
            arrow = {"showarrow": True, "arrowhead": 0, "standoff": 8, "ax": -24 if late else 24, "ay": -18}
            side = "right" if late else "left"
            notes.append({"x": x, "y": y, "text": escape(words), "xanchor": side, "arrowcolor": "var(--soft)", **arrow})
    caption = f"Circled: the best evaluation, whose parameters are kept. {curve.caption}".strip()
    spoken = "".join(f" Marked is {note['text']}, {note['y']:.3g} at {note['x']:,} steps." for note in notes)
    layout = {**curve.layout, "annotations": notes}
    return curve._replace(
        traces=[*curve.traces, *marks], layout=layout, caption=caption, label=f"{curve.label}{spoken}"
    )


def small(title: str, steps: list[Any], columns: Mapping[str, Iterable[Any]], caption: str) -> Figure | None:
    """Draws a small plot over environment steps; None where nothing was measured."""
    lines, last = [], []
    for i, (name, column) in enumerate(columns.items()):
        x, y = np.array([steps, list(column)], np.float64)  # None becomes nan
        x, y = np.stack([x, y])[:, np.isfinite(x + y)]
        if not len(x):
            continue
        trace = line(name, x, y, SERIES[i % len(SERIES)], width=1.8, form=".3~g")
        trace |= {"mode": "lines+markers" if len(x) < 40 else "lines", "hovertemplate": "%{y:.3~g} at %{x:,d} steps"}
        trace["marker"] = {"size": 4}
        lines.append(trace)
        last.append(f"{name} {y[-1]:.3g}")
    if not lines:
        return None
    layout = {"xaxis": axis("steps", type="linear", tickformat="~s"), "showlegend": len(lines) > 1, "legend": IN_ORDER}
    return Figure(title, f"{title} over training; at the end: {', '.join(last)}.", lines, layout, caption, height=260)
