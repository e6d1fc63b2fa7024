"""The points of a grid and of a random search, all of them before anything is trained. Light: no jax."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from train.config.vary import Choices, Dimension, Point, Range

DIGITS = 6  # of a number that is drawn: what the table shows is what was tried


def grid(dimensions: Sequence[Dimension]) -> list[Point]:
    """Lists every combination, the first dimension slowest.

    Args:
        dimensions: of listed values.
    """
    lists = [each.texts for each in dimensions if isinstance(each, Choices)]
    return [dict(zip([each.name for each in dimensions], texts, strict=True)) for texts in itertools.product(*lists)]


def draw(dimensions: Sequence[Dimension], count: int, seed: int) -> list[Point]:
    """Draws points at random, none twice; a longer draw begins with the same points.

    Args:
        dimensions: of lists or ranges.
        count: not more than there are.
        seed: of the draws.
    """
    rng, found = np.random.default_rng(seed), dict[tuple[str, ...], Point]()
    while len(found) < count:
        point = {each.name: draw_one(each, rng) for each in dimensions}
        found.setdefault(tuple(point.values()), point)
    return list(found.values())


def draw_one(dimension: Dimension, rng: np.random.Generator) -> str:
    """Draws a value of a dimension, as text."""
    if isinstance(dimension, Choices):
        return dimension.texts[rng.integers(len(dimension.texts))]
    if dimension.log:
        return draw_log(dimension, rng)
    if (count := dimension.count) is not None:
        return as_text(dimension.low + (dimension.step or 1) * int(rng.integers(count)), dimension)
    return as_text(rng.uniform(dimension.low, dimension.high), dimension)


def draw_log(dimension: Range, rng: np.random.Generator) -> str:
    """Draws a value uniform in the logarithm; a whole number has half a unit to both sides."""
    half = 0.5 if dimension.whole else 0.0
    value = math.exp(rng.uniform(math.log(dimension.low - half), math.log(dimension.high + half)))
    return as_text(min(max(value, dimension.low), dimension.high), dimension)


def as_text(value: float, dimension: Range) -> str:
    """Formats a number as `configure` reads it."""
    return str(round(value)) if dimension.whole else f"{value:.{DIGITS}g}"
