"""Draws prove.svg: the share of the optimum over steps, a small panel for each market."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.artifacts.files import write_text
from train.artifacts.metrics_file import read_metrics
from train.reporting.svg import INK, document, element, horizontal, points, text

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
    parts = []
    for place, name in enumerate(names):
        x, y = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
        parts.append(panel(name, [b for b in blocks if b["name"] == name], x, y))
    foot = rows * HEIGHT + 14
    parts += [text(LEFT + 90 * k, foot, name, color) for k, (name, color) in enumerate(COLORS.items())]
    info = "share of the optimum over million steps; lines are medians, areas lowest to highest seed"
    parts.append(text(LEFT + 190, foot, info))
    label = "Share of the optimum over steps"
    write_text(path, document(COLUMNS * WIDTH, rows * HEIGHT + 22, parts, label, font_size=11))


def panel(name: str, blocks: Sequence[dict[str, Any]], x0: float, y0: float) -> str:
    """Draws the panel of one market."""
    most = max(block["steps"] for block in blocks)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(steps: float, share: float) -> tuple[float, float]:
        height = (min(max(share, LOWEST), 1.0) - LOWEST) / (1 - LOWEST)
        return LEFT + inner_width * steps / most, TOP + inner_height * (1 - height)

    parts = [text(LEFT, 16, name, INK)]
    for share in (0, 0.5, 1):
        (left, y), (right, _) = at(0, share), at(most, share)
        parts.append(horizontal(left, right, y))
        parts.append(text(LEFT - 5, y + 4, f"{share:g}", text_anchor="end"))
    for steps in (0, most / 2, most):
        parts.append(text(at(steps, 0)[0], HEIGHT - 8, f"{steps / 1e6:.2g}", text_anchor="middle"))
    for block in blocks:
        lines = read_metrics(Path(block["folder"]))
        info = [(x["steps"], sorted(x["ratio_by_seed"])) for x in lines if x.get("ratio_by_seed")]
        color = COLORS[block["algorithm"]]
        area = points([at(s, r[-1]) for s, r in info] + [at(s, r[0]) for s, r in reversed(info)])
        curve = points(at(s, statistics.median(r)) for s, r in info)
        parts.append(element("polygon", points=area, fill=color, opacity=0.15))
        parts.append(element("polyline", points=curve, fill="none", stroke=color, stroke_width=1.8))
    return element("g", "".join(parts), transform=f"translate({x0},{y0})")
