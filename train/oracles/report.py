"""Writes the report of a run on a market with a known optimum: the learned policy beside the best one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from envs.oracles.oracle import Oracle
from train.artifacts.files import write_text
from train.artifacts.metrics_file import read_metrics
from train.artifacts.run_folder import stored_json
from train.oracles.console import cells
from train.oracles.scoring import OraclePath
from train.reporting.figure import IN_ORDER, SERIES, Figure, axis, figures, line, packed
from train.reporting.learning_curves import PANELS, small
from train.reporting.page import document, heading, pairs, row, table, tag
from train.reporting.report import made_by

DIAGONAL = 2  # points of a straight line


def write_oracle_report(folder: Path, env: Oracle, path: OraclePath) -> None:
    """Writes `report.html` beside a `result.json` with `oracle` in it.

    Args:
        folder: of the run.
        env: the market.
        path: the policy that is shown, on one path.

    Raises:
        InputError: a file of the run is damaged.
        StorageError: it could not be written.
    """
    result = json.loads((folder / "result.json").read_text())
    config, metrics = stored_json(folder), read_metrics(folder)
    sections = [
        ("Learned and best", figures(policy_figures(result, env, path), "pair")),
        ("Seeds", seeds(result)),
        ("Training", figures(training(result, metrics), "grid")),
        ("Settings", pairs(result["parameters"]) + pairs(config["flags"]["ppo"]) + pairs(result["timings"])),
    ]
    title = f"{result['env']}: {headline(result)}"
    write_text(folder / "report.html", document(title, header(result), sections, made_by(config, folder.name)))


def headline(result: Mapping[str, Any]) -> str:
    """Words how near the policy came to the optimum."""
    block = result["oracle"]
    return f"regret {block['regret']:.1e}" if block["ratio"] is None else f"{block['ratio']:.1%} of the optimum"


def header(result: Mapping[str, Any]) -> str:
    """Writes the market and the outcome as HTML."""
    block = result["oracle"]
    what = f"{result['env']}, policy {result['policy']}, last iterate, seed {result['shown_seed']}"
    reason = (
        f"{block['value']:.4e} of utility per bar; the best policy has {block['optimum']:.4e}, "
        f"{block['naive_name']} {block['naive']:.4e}"
    )
    turnover = (
        f"Turnover per bar {block['turnover']:.4g}, of the best policy {block['optimal_turnover']:.4g}. Both play on "
        "the same paths; what counts is the mean that the simulator knows, not what a path happened to pay."
    )
    return heading(what, headline(result), reason) + tag("p", turnover)


def policy_figures(result: Mapping[str, Any], env: Oracle, path: OraclePath) -> Iterator[Figure | None]:
    """Draws weights over time, and over what is seen or against the best ones."""
    bars = np.arange(len(path.weights), dtype=np.float64)
    lines = []
    for n in range(path.weights.shape[1]):
        of = f" {n + 1}" if path.weights.shape[1] > 1 else ""
        color = SERIES[n % len(SERIES)]
        lines.append(bar_line(f"best{of}", bars, path.best[:, n], color, dash="dot", width=1.6))
        lines.append(bar_line(f"learned{of}", bars, path.weights[:, n], color, width=2.2))
    layout = {"xaxis": axis("bar", type="linear"), "yaxis": axis("weight"), "legend": IN_ORDER}
    label = f"Weights of the learned and of the best policy over {len(bars)} bars of one path."
    yield Figure("One path", label, lines, layout, "Each from its own earlier weights, on the same prices.", height=360)
    yield over_what_is_seen(env, path) if env.plot_axis else None
    if np.ptp(path.instead) > 0:
        yield against_the_best(path)


def bar_line(name: str, bars: np.ndarray, values: np.ndarray, color: str, **more: Any) -> dict[str, Any]:
    """Describes a curve over bars, (S,)."""
    return {**line(name, bars, values, color, **more), "hovertemplate": "%{y:.4g} at bar %{x:d}"}


def over_what_is_seen(env: Oracle, path: OraclePath) -> Figure:
    """Draws weights over the first number of the observation."""
    seen = path.seen[:, 0]
    marks = [
        dots("best in its place", seen, path.instead[:, 0], "--b3"),
        dots("learned", seen, path.weights[:, 0], "--agent"),
    ]
    layout = {
        "xaxis": axis(env.plot_axis, type="linear"),
        "yaxis": axis("weight"),
        "legend": IN_ORDER,
    }
    label = f"Weights over {env.plot_axis}: learned, and what the best policy would hold there."
    return Figure("Over what is seen", label, marks, layout, "", height=360)


def against_the_best(path: OraclePath) -> Figure:
    """Draws learned weights against those that the best policy would take there; on the diagonal they agree."""
    best, learned = path.instead[:, 0], path.weights[:, 0]
    ends = np.linspace(min(best.min(), learned.min()), max(best.max(), learned.max()), DIAGONAL)
    marks = [
        {**bar_line("equal", ends, ends, "--b0", dash="dash"), "hoverinfo": "skip"},
        dots("a bar", best, learned, "--agent"),
    ]
    layout = {
        "xaxis": axis("best weight in its place", type="linear"),
        "yaxis": axis("learned weight"),
        "legend": IN_ORDER,
    }
    share = float(np.corrcoef(best, learned)[0, 1]) if np.ptp(learned) > 0 else float("nan")
    return Figure(
        "Against the best", f"Correlation {share:.3f}.", marks, layout, f"Correlation {share:.3f}.", height=360
    )


def dots(name: str, x: np.ndarray, y: np.ndarray, color: str) -> dict[str, Any]:
    """Describes points, (S,)."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": packed(x),
        "y": packed(y),
        "marker": {"color": f"var({color})", "size": 5, "opacity": 0.6},
        "hovertemplate": "%{y:.4g} at %{x:.4g}",
    }


def training(result: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> Iterator[Figure | None]:
    """Draws the score over steps, and what PPO measured."""
    by_seed = [line.get("ratio_by_seed") or [] for line in metrics]
    steps = [line.get("steps") for line in metrics]
    found = {
        f"seed {block['seed']}": [x[k] if k < len(x) else None for x in by_seed]
        for k, block in enumerate(result["seeds"])
    }
    of = "Share of the optimum" if result["oracle"]["ratio"] is not None else "Utility per bar"
    yield small(of, steps, found, "")
    if result["algorithm"] != "ppo":
        return  # the rest is PPO's own
    for title, keys in PANELS.items():
        yield small(title, steps, {label: [line.get(key) for line in metrics] for key, label in keys.items()}, "")


def seeds(result: Mapping[str, Any]) -> str:
    """Writes a table with a row for each seed."""
    heads = ["", "value", "standard error", "share of the optimum", "regret", "turnover", "mean weights"]
    rows = [row(f"seed {block['seed']}", *cells(block, turnover=".4g")) for block in result["seeds"]]
    return table(heads, rows, "Shown above: the median seed.", "numbers")
