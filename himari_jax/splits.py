"""Time-ordered training, validation and test spans with an embargo; which rows are decisions."""

from dataclasses import dataclass

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features import lookbacks, segments

Stretches = tuple[tuple[int, int], ...]  # (start, stop) rows at which decisions are made, every `step` rows
Cut = float | int  # where a span begins: a share of the rows below 1, or epoch milliseconds


@dataclass(frozen=True)
class Split:
    """Decision rows of the three spans; a decision at row t needs rows t + 1 to t + step in the same segment and span.

    Args:
        train, val, test: stretches of rows.
        cuts: first rows of the validation and of the test span, embargo included.
        step: bars from decision to decision.
    """

    train: Stretches
    val: Stretches
    test: Stretches
    cuts: tuple[int, int]
    step: int = 1


@dataclass(frozen=True)
class SplitRules:
    """How rows become decisions of the three spans.

    Args:
        cuts: where validation and test begin.
        embargo: rows after a cut at which nothing is decided: what must not overlap are returns, so that a decision
            interval and its delays are enough, and look-backs may lie before the cut. None: the whole look-back lies
            inside the span, as in 0.1.0.
        step: bars from decision to decision.
        phase_ms: decisions are at closes that are a multiple of the interval plus this, UTC; continuous markets alone.
        warm_up: rows of a segment before its first decision; None: the look-back of the features.
    """

    cuts: tuple[Cut, Cut] = (0.6, 0.8)
    embargo: int | None = None
    step: int = 1
    phase_ms: int = 0
    warm_up: int | None = None


def split_rows(candles: Candles, rules: SplitRules | tuple[Cut, Cut] = (0.6, 0.8)) -> Split:
    """Cuts the rows of candles into the three spans.

    Args:
        candles: checked.
        rules: or their cuts alone, `floor(fraction * T)` where they are shares.

    Raises:
        InputError: a span keeps no row to decide at; names both numbers.
    """
    rules = rules if isinstance(rules, SplitRules) else SplitRules(rules)
    first, second = (cut_row(candles, cut) for cut in rules.cuts)
    edges = {"train": (0, first), "val": (first, second), "test": (second, len(candles.time))}
    spans = {name: find_stretches(candles, rules, *edge, name != "train") for name, edge in edges.items()}
    for name, span in spans.items():
        if not span:
            raise InputError(too_short(candles, rules, name, *edges[name]))
    return Split(**spans, cuts=(first, second), step=rules.step)


def cut_row(candles: Candles, cut: Cut) -> int:
    """The first row of a span that begins at a share of the rows, or at a time."""
    rows = len(candles.time)
    return int(np.floor(cut * rows)) if cut < 1 else int(np.searchsorted(candles.time, cut))


def find_stretches(candles: Candles, rules: SplitRules, start: int, stop: int, after_cut: bool) -> Stretches:
    """Decision rows of [start, stop) by the rules.

    Args:
        candles: checked.
        rules: warm-up, embargo, interval.
        start, stop: rows.
        after_cut: whether another span ends at `start`, so that the embargo applies.
    """
    warm_up = lookbacks(candles.bar_ms).lookback if rules.warm_up is None else rules.warm_up
    if rules.embargo is None:
        return stretches(candles, start, stop, warm_up, rules.step, rules.phase_ms)
    begin = start + rules.embargo if after_cut else start
    possible = stretches(candles, 0, stop, warm_up, rules.step, rules.phase_ms)
    # From the first decision at or after `begin`: the look-back may lie before it, in the same segment.
    later = [(low + -(-max(begin - low, 0) // rules.step) * rules.step, high) for low, high in possible]
    return tuple((low, high) for low, high in later if low < high)


def stretches(candles: Candles, start: int, stop: int, warm_up: int, step: int = 1, phase_ms: int = 0) -> Stretches:
    """Decision rows of [start, stop): within each segment, after the warm-up, with `step` rows to follow.

    Args:
        candles: checked.
        start, stop: rows.
        warm_up: rows of a segment, inside [start, stop), before its first decision.
        step: bars from decision to decision.
        phase_ms: see `SplitRules`.
    """
    found = []
    for low, high in segments(candles):
        low, high = max(low, start) + warm_up, min(high, stop) - step
        if step > 1 and candles.calendar == "continuous" and low < high:
            close = int(candles.time[low]) + candles.bar_ms
            low += -(close - phase_ms) // candles.bar_ms % step
        if low < high:
            found.append((low, high))
    return tuple(found)


def too_short(candles: Candles, rules: SplitRules, name: str, start: int, stop: int) -> str:
    """The line that says why a span has no decision."""
    warm_up = lookbacks(candles.bar_ms).lookback if rules.warm_up is None else rules.warm_up
    longest = max(min(high, stop) - max(low, start) for low, high in segments(candles))
    need = f"a look-back of {warm_up} bars and an episode of at least 1 need {warm_up + 2}"
    if rules.embargo is not None and name != "train":
        need = (
            f"an embargo of {rules.embargo} bars and one decision need {rules.embargo + rules.step + 1}, and a look-back "
            f"of {warm_up} bars must lie before them"
        )
    return (
        f"{', '.join(candles.symbols)}: the {name} span has at most {max(longest, 0)} bars without a longer gap, but "
        f"{need}; give more candles or other cuts (--split)"
    )


def decision_rows(span: Stretches, step: int = 1) -> np.ndarray:
    """All decision rows of a span, (L,) int32, in order."""
    return np.concatenate([np.arange(start, stop, step, dtype=np.int32) for start, stop in span])


def count_rows(span: Stretches, step: int = 1) -> int:
    """How many decisions a span holds."""
    return sum(-(-(stop - start) // step) for start, stop in span)
