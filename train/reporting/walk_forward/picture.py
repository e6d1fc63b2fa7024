"""Draws walk-forward tests side by side, an SVG for the docs: their tracks, and their difference by block."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from himari_jax.errors import InputError
from himari_jax.times import parse_iso
from train.artifacts.files import write_text
from train.reporting.figure import thin
from train.reporting.formats import sentence, signed
from train.reporting.plots import curves, epoch
from train.reporting.run_files import Run, read_run
from train.reporting.svg import GRID, INK, SOFT, document, element, horizontal, points, text
from train.reporting.walk_sentences import caution, labels, pooled

WIDTH, LEFT, RIGHT = 936, 62, 188  # pixels; margins of a panel, on the right for the names
TRACKS, BARS, HEAD, GAP = 270, 200, 40, 66  # heights of the two panels, of what is above each, and between them
COLORS = ("#c2410c", "#1d4ed8", "#7e22ce", "#0e7490")  # of the tests, in their order
BESIDE = {"base": "#30363d", "trend": "#047857"}  # baselines of the first test, drawn with all
MOST_POINTS = 500  # of a curve
LETTERS = 104  # of a line under the panels
PALE = 0.35  # share of its color in a bar of one bar late
NEAR = 13  # pixels between two names


class Curve(NamedTuple):
    """A track as it is drawn."""

    name: str
    time: np.ndarray  # (L,) epoch ms
    equity: np.ndarray  # (L,)
    color: str
    width: float


def write_picture(path: Path, folders: Mapping[str, Path]) -> Path:
    """Writes the picture of finished walk-forward tests.

    Args:
        path: of the SVG.
        folders: run folders by the name that the picture calls them, such as pathwise and ppo; up to four.

    Raises:
        InputError: a folder holds no finished walk-forward test, or a file is damaged.
        StorageError: a file could not be read or written.
    """
    write_text(path, picture({name: read_run(folder) for name, folder in folders.items()}))
    return path


def picture(runs: Mapping[str, Run]) -> str:
    """Draws walk-forward tests of the same candles as an SVG: their tracks above, their differences by block below.

    Raises:
        InputError: no test, more than there are colors, or one without blocks or without equity.parquet.
    """
    if not 1 <= len(runs) <= len(COLORS):
        raise InputError(f"a picture of {len(runs)} tests: must be 1 to {len(COLORS)}")
    for name, run in runs.items():
        if run.frame is None or not (run.result.get("walk_forward") or {}).get("blocks"):
            raise InputError(f"{name} ({run.name}): no walk-forward test with equity.parquet is there")
    said = "; ".join(f"{name} {against_constant(run.result)}" for name, run in runs.items())
    warned = caution(next(iter(runs.values())).result)
    words = [f"The whole track: {said}. In brackets 95 % intervals. Pale: one bar late."]
    words += [f"{sentence(warned)}."] if warned else []
    below = [part for sentence in words for part in textwrap.wrap(sentence, LETTERS)]
    foot = HEAD + TRACKS + GAP + BARS + 42
    height = foot + 17 * len(below)
    parts = [
        title(20, "One unit over all test blocks as one track, costs included (log scale)"),
        tracks(runs, HEAD),
        title(HEAD + TRACKS + GAP - 18, "Sharpe minus that of the constant multiplier, by test block"),
        bars(runs, HEAD + TRACKS + GAP),
        *(text(LEFT, foot + 17 * k, part) for k, part in enumerate(below)),
    ]
    return document(WIDTH, height, parts, f"Walk-forward tests: {said}", font_size=12, fill=SOFT)


def against_constant(result: Mapping[str, Any]) -> str:
    """Words the difference of the whole track to its constant, with its interval where that is known."""
    ends = (result.get("timing_value") or {}).get("interval") or []
    known = [signed(x) for x in ends if x is not None]
    return signed(pooled(result).get("difference")) + (f" [{', '.join(known)}]" if len(known) == 2 else "")


def tracks(runs: Mapping[str, Run], top: float) -> str:
    """Draws the tracks on a log scale, a border at each block, a name at each end."""
    found = tracks_of(runs)
    time = np.concatenate([curve.time for curve in found])
    equity = np.concatenate([curve.equity for curve in found])
    start, end, low, high = float(time.min()), float(time.max()), math.log(equity.min()), math.log(equity.max())

    def at(when: Any, value: Any) -> tuple[Any, Any]:
        across = (when - start) / max(end - start, 1) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, top + TRACKS * (1 - (np.log(value) - low) / max(high - low, 1e-9))

    parts = []
    for tick in ticks(math.exp(low), math.exp(high)):
        y = float(at(start, tick)[1])
        parts.append(across(y) + text(LEFT - 6, y + 4, f"{tick:g}", text_anchor="end"))
    result = next(iter(runs.values())).result
    blocks = result["walk_forward"]["blocks"]
    for name, block in zip(labels(blocks), blocks, strict=True):
        x = float(at(parse_iso(block["test"][0]), math.exp(low))[0])
        parts.append(element("line", x1=x, x2=x, y1=top, y2=top + TRACKS, stroke=SOFT, stroke_dasharray="2 4"))
        parts.append(text(x + 4, top + TRACKS + 16, name))
    ends = []
    for curve in found:
        rows = thin(curve.equity, MOST_POINTS)
        xs, ys = at(curve.time[rows], curve.equity[rows])
        look: dict[str, Any] = {
            "fill": "none",
            "stroke": curve.color,
            "stroke_width": curve.width,
            "stroke_linejoin": "round",
        }
        parts.append(element("polyline", points=points(zip(xs, ys, strict=True)), **look))
        ends.append((float(ys[-1]), f"{curve.name} {curve.equity[-1]:.3g}", curve.color))
    for y, name, color in apart(ends):
        parts.append(text(WIDTH - RIGHT + 6, y + 4, name, color=color))
    return "".join(parts)


def tracks_of(runs: Mapping[str, Run]) -> list[Curve]:
    """Collects the curves to draw: baselines of the first test below, the tests above, the first one on top."""
    found = []
    for name, run, color in reversed([*zip(runs, runs.values(), COLORS, strict=False)]):
        assert run.frame is not None
        found.append(Curve(name, epoch(run.frame), curves(run.frame)["agent"], color, 2.2))
    frame = next(iter(runs.values())).frame
    assert frame is not None
    own = curves(frame)
    beside = [Curve(name, epoch(frame), own[name], color, 1.2) for name, color in BESIDE.items() if name in own]
    return [curve for curve in [*beside, *found] if curve.equity.min() > 0]  # ruin has no place on a log scale


def bars(runs: Mapping[str, Run], top: float) -> str:
    """Draws the difference by block, a group for each, one bar late beside each in pale."""
    groups: dict[str, list[tuple[float | None, str]]] = {}
    for run, color in zip(runs.values(), COLORS, strict=False):
        blocks = run.result["walk_forward"]["blocks"]
        for name, block in zip(labels(blocks), blocks, strict=True):
            pair = [(block.get("difference"), color), (block.get("late_difference"), pale(color))]
            groups.setdefault(name, []).extend(pair)
    known = [value for group in groups.values() for value, _ in group if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    scale = BARS / ((high - low) or 1.0)
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    parts = []
    for tick in even_ticks(low, high):
        y = top + (high - tick) * scale
        words = text(LEFT - 6, y + 4, f"{tick:+.2g}" if tick else "0", text_anchor="end")
        parts.append(across(y, INK if tick == 0 else GRID) + words)
    for k, (name, group) in enumerate(sorted(groups.items())):
        bar = 0.8 * wide / len(group)
        for place, (value, color) in enumerate(group):
            if value is None:
                continue
            x, y = LEFT + wide * (k + 0.1) + bar * place, top + (high - max(value, 0.0)) * scale
            parts.append(element("rect", x=x, y=y, width=bar - 1, height=abs(value) * scale, fill=color))
        parts.append(text(LEFT + wide * (k + 0.5), top + BARS + 16, name, text_anchor="middle"))
    for k, (name, color) in enumerate(zip(runs, COLORS, strict=False)):
        parts.append(text(WIDTH - RIGHT + 6, top + 12 + 16 * k, name, color=color))
    return "".join(parts)


def pale(color: str) -> str:
    """Mixes a color such as #1d4ed8 with white; a transparent one would show the lines behind it."""
    parts = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(255 - PALE * (255 - part)):02x}" for part in parts)


def ticks(low: float, high: float) -> list[float]:
    """Values 1, 2 and 5 times a power of ten in a range; of a wide one powers of ten alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    return [step * 10.0**k for k in powers for step in steps if low <= step * 10.0**k <= high]


def even_ticks(low: float, high: float) -> list[float]:
    """Spaces about five even ticks through 0."""
    rough = ((high - low) or 1.0) / 5
    step = min((m * 10.0 ** math.floor(math.log10(rough)) for m in (1, 2, 5, 10)), key=lambda m: abs(m - rough))
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def apart(ends: Sequence[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Moves names down until none lies on another: height, name and color of each."""
    placed: list[tuple[float, str, str]] = []
    for y, name, color in sorted(ends):
        placed.append((max(y, placed[-1][0] + NEAR) if placed else y, name, color))
    return placed


def across(y: float, color: str = GRID) -> str:
    """Draws a line across a panel."""
    return horizontal(LEFT, WIDTH - RIGHT, y, color)


def title(y: float, words: str) -> str:
    """Writes the title of a panel."""
    return text(LEFT, y, words, INK, font_weight=600)
