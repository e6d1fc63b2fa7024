"""The proof as a drawing: share of the optimum over steps, one small panel for each market; prove.svg."""

import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from train.artifacts.files import write_text
from train.artifacts.metrics_file import read_metrics

WIDTH, HEIGHT, COLUMNS = 280, 170, 3  # of a panel, pixels; panels side by side
LEFT, RIGHT, TOP, BOTTOM = 34, 12, 26, 24  # margins inside a panel
COLORS = {"ppo": "#1d4ed8", "pathwise": "#c2410c"}
LOWEST = -0.25  # of the shares drawn


def write_plot(blocks: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the runs that have a share of an optimum.

    Args:
        blocks: runs of `train.prove`, with `folder`.
        path: of the SVG.
    """
    names = list(dict.fromkeys(block["name"] for block in blocks if block["ratio"] is not None))
    if not names:
        return
    rows = -(-len(names) // COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * WIDTH} {rows * HEIGHT + 22}" '
        f'font-family="system-ui, sans-serif" font-size="11" role="img" aria-label="Share of the optimum over steps">',
        f'<rect width="{COLUMNS * WIDTH}" height="{rows * HEIGHT + 22}" fill="#fff"/>',
    ]
    for place, name in enumerate(names):
        x, y = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
        parts.append(panel(name, [b for b in blocks if b["name"] == name], x, y))
    for k, (name, color) in enumerate(COLORS.items()):
        parts.append(f'<text x="{LEFT + 90 * k}" y="{rows * HEIGHT + 14}" fill="{color}">{name}</text>')
    info = "share of the optimum over million steps; lines are medians, areas lowest to highest seed"
    parts.append(f'<text x="{LEFT + 190}" y="{rows * HEIGHT + 14}" fill="#5b6470">{info}</text></svg>')
    write_text(path, "\n".join(parts) + "\n")


def panel(name: str, blocks: Sequence[dict[str, Any]], x0: float, y0: float) -> str:
    """One market."""
    most = max(block["steps"] for block in blocks)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(steps: float, share: float) -> str:
        height = (min(max(share, LOWEST), 1.0) - LOWEST) / (1 - LOWEST)
        return f"{LEFT + inner_width * steps / most:.1f},{TOP + inner_height * (1 - height):.1f}"

    parts = [f'<g transform="translate({x0},{y0})"><text x="{LEFT}" y="16" fill="#16191d">{escape(name)}</text>']
    for share in (0, 0.5, 1):
        (left, y), right = at(0, share).split(","), at(most, share).split(",")[0]
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="#d9dde3"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{float(y) + 4:.1f}" text-anchor="end" fill="#5b6470">{share:g}</text>')
    for steps in (0, most / 2, most):
        x = at(steps, 0).split(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle" fill="#5b6470">{steps / 1e6:.2g}</text>')
    for block in blocks:
        lines = read_metrics(Path(block["folder"]))
        info = [(x["steps"], sorted(x["ratio_by_seed"])) for x in lines if x.get("ratio_by_seed")]
        color = COLORS[block["algorithm"]]
        area = [at(s, r[-1]) for s, r in info] + [at(s, r[0]) for s, r in reversed(info)]
        curve = [at(s, statistics.median(r)) for s, r in info]
        parts.append(f'<polygon points="{" ".join(area)}" fill="{color}" opacity="0.15"/>')
        parts.append(f'<polyline points="{" ".join(curve)}" fill="none" stroke="{color}" stroke-width="1.8"/>')
    return "".join(parts) + "</g>"
