"""Time-ordered training, validation and test spans with an embargo."""

from dataclasses import dataclass

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features import BASE, segments

Stretches = tuple[tuple[int, int], ...]  # (start, stop) rows at which decisions are made


@dataclass(frozen=True)
class Split:
    """Decision rows of the three spans; a decision at row t needs row t + 1 in the same segment and span."""

    train: Stretches
    val: Stretches
    test: Stretches
    cuts: tuple[int, int]  # first rows of the validation and of the test span, embargo included


def split_rows(candles: Candles, fractions: tuple[float, float] = (0.6, 0.8), warm_up: int | None = None) -> Split:
    """Cuts at `floor(fraction * T)`; the first `warm_up` rows after a cut or a gap are embargo and warm-up.

    Args:
        candles: checked.
        fractions: where validation and test begin.
        warm_up: rows; None: the look-back of the features `base`.

    Raises:
        InputError: a span keeps no row to decide at; names both numbers.
    """
    rows, warm_up = len(candles.time), BASE.lookback(candles.bar_ms) if warm_up is None else warm_up
    first, second = (int(np.floor(fraction * rows)) for fraction in fractions)
    edges = {"train": (0, first), "val": (first, second), "test": (second, rows)}
    spans = {name: stretches(candles, start, stop, warm_up) for name, (start, stop) in edges.items()}
    for name, span in spans.items():
        if not span:
            longest = max(min(high, edges[name][1]) - max(low, edges[name][0]) for low, high in segments(candles))
            raise InputError(
                f"{', '.join(candles.symbols)}: the {name} span has at most {max(longest, 0)} bars without a longer "
                f"gap, but a look-back of {warm_up} bars and an episode of at least 1 need {warm_up + 2}; "
                "give more candles or other cuts (--split)"
            )
    return Split(**spans, cuts=(first, second))


def stretches(candles: Candles, start: int, stop: int, warm_up: int) -> Stretches:
    """Decision rows of [start, stop): within each segment, after the warm-up, without its last row."""
    found = []
    for low, high in segments(candles):
        low, high = max(low, start), min(high, stop)
        if low + warm_up < high - 1:
            found.append((low + warm_up, high - 1))
    return tuple(found)


def from_row(span: Stretches, row: int) -> Stretches:
    """The decision rows of a span that are not before a row."""
    return tuple((max(start, row), stop) for start, stop in span if max(start, row) < stop)


def decision_rows(span: Stretches) -> np.ndarray:
    """All decision rows of a span, (L,) int32, in order."""
    return np.concatenate([np.arange(start, stop, dtype=np.int32) for start, stop in span])


def count_rows(span: Stretches) -> int:
    """Number of decisions in a span."""
    return sum(stop - start for start, stop in span)
