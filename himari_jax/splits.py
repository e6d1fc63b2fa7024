"""Time-ordered training, validation and test spans with an embargo; which rows are decisions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features.market import BASE, segments
from himari_jax.times import DAY_MS, iso_minute

Stretches = tuple[range, ...]  # rows at which decisions are made, of each stretch without a longer gap
Cut = float | int  # where a span begins: a share of the rows below 1, or epoch milliseconds
SPANS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Decision rows of the three spans; a decision at row t is marked `step` rows later, in the same segment and span.

    Args:
        train, val, test: stretches of rows.
        cuts: where the validation and the test span begin, embargo included, epoch milliseconds.
    """

    train: Stretches
    val: Stretches
    test: Stretches
    cuts: tuple[int, int]

    @property
    def spans(self) -> dict[str, Stretches]:
        """The spans by name."""
        return {name: getattr(self, name) for name in SPANS}


def default_embargo(bar_ms: int, step: int = 1, delay: int = 0) -> int:
    """Rows after a cut without a decision: the decision interval, the delay and one bar more, at least a day."""
    return max(-(-DAY_MS // bar_ms), step + delay + 1)


@dataclass(frozen=True)
class SplitRules:
    """Rules by which rows become decisions of the three spans.

    Args:
        cuts: where validation and test begin.
        embargo: rows after a cut at which nothing is decided: what must not overlap are returns, so that a decision
            interval and its delays are enough, and look-backs may lie before the cut. None: the whole look-back lies
            inside the span, as in 0.1.0.
        step: bars from decision to decision.
        phase_ms: decisions are at closes that are a multiple of the interval plus this, UTC; continuous markets alone.
        warm_up: rows of a segment before its first decision; None: the look-back of the features `base`.
    """

    cuts: tuple[Cut, Cut] = (0.6, 0.8)
    embargo: int | None = None
    step: int = 1
    phase_ms: int = 0
    warm_up: int | None = None

    def look_back(self, candles: Candles) -> int:
        """Rows of a segment before its first decision."""
        return BASE.lookback(candles.bar_ms) if self.warm_up is None else self.warm_up


def split_rows(candles: Candles, rules: SplitRules | tuple[Cut, Cut] = (0.6, 0.8)) -> Split:
    """Cuts the rows of candles into the three spans.

    Args:
        candles: checked.
        rules: or their cuts alone, `floor(fraction * T)` where they are shares.

    Raises:
        InputError: a span keeps no row to decide at; names both numbers.
    """
    rules = rules if isinstance(rules, SplitRules) else SplitRules(rules)
    split = possible_split(candles, rules)
    for name, span in split.spans.items():
        if not span:
            raise InputError(too_short(candles, rules, name))
    return split


def possible_split(candles: Candles, rules: SplitRules) -> Split:
    """Cuts rows as `split_rows` does, but spans may be empty."""
    cuts = cut_times(candles.time, rules.cuts)
    spans = {name: find_span(candles, rules, cuts, name) for name in SPANS}
    return Split(**spans, cuts=cuts)


def cut_times(time: np.ndarray, cuts: tuple[Cut, Cut]) -> tuple[int, int]:
    """Starts of validation and test, epoch milliseconds, from shares of the rows with these times, or such times."""
    first, second = (int(time[int(np.floor(cut * len(time)))]) if cut < 1 else int(cut) for cut in cuts)
    return first, second


def find_span(candles: Candles, rules: SplitRules, cuts: tuple[int, int], name: str) -> Stretches:
    """Decision rows of a span: train, val, test, or all; it may be empty."""
    start, stop = edges(candles, cuts)[name]
    warm_up = rules.look_back(candles)
    if rules.embargo is None:
        return stretches(candles, start, stop, warm_up, rules.step, rules.phase_ms)
    begin = start + rules.embargo if name in ("val", "test") else start
    # From the first decision at or after `begin`: the look-back may lie before it, in the same segment.
    return from_row(stretches(candles, 0, stop, warm_up, rules.step, rules.phase_ms), begin)


def edges(candles: Candles, cuts: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """First row and row after the last one of each span by name."""
    first, second = (int(row) for row in np.searchsorted(candles.time, cuts))
    rows = len(candles.time)
    return {"train": (0, first), "val": (first, second), "test": (second, rows), "all": (0, rows)}


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
            low += -((close - phase_ms) // candles.bar_ms) % step
        if low < high:
            found.append(range(low, high, step))
    return tuple(found)


def too_short(candles: Candles, rules: SplitRules, name: str) -> str:
    """Words the refusal of a span without a decision."""
    warm_up = rules.look_back(candles)
    start, stop = edges(candles, cut_times(candles.time, rules.cuts))[name]
    longest = max(min(high, stop) - max(low, start) for low, high in segments(candles))
    need = f"a look-back of {warm_up} bars and an episode of at least 1 need {warm_up + rules.step + 1}"
    if rules.embargo is not None and name != "train":
        need = (
            f"an embargo of {rules.embargo} bars and one decision need {rules.embargo + rules.step + 1}, and a "
            f"look-back of {warm_up} bars must lie before them"
        )
    how = "give more candles or other cuts (--split)"
    if candles.calendar == "continuous" and stop - start > max(longest, 0):  # gaps split what would be longer
        how += ", or --calendar sessions if the market closes at night or on days of the week"
    return (
        f"{', '.join(candles.symbols)}: the {name} span has at most {max(longest, 0)} bars without a longer gap, but "
        f"{need}; the candles go from {iso_minute(candles.time[0])} to {iso_minute(candles.time[-1])}; {how}"
    )


def from_row(span: Stretches, row: int) -> Stretches:
    """The decision rows of a span that are not before a row."""
    later = (each[max(0, -(-(row - each.start) // each.step)) :] for each in span)
    return tuple(each for each in later if each)


def as_stretches(span: Iterable[range | Sequence[int]]) -> Stretches:
    """Stretches from ranges or (start, stop) pairs of rows."""
    return tuple(each if isinstance(each, range) else range(*map(int, each)) for each in span)


def group_rows(rows: np.ndarray, step: int) -> Stretches:
    """Stretches of rows (L,) in rising order: a new one begins where the next row is not `step` further."""
    parts = np.split(rows, np.flatnonzero(np.diff(rows) != step) + 1)
    return tuple(range(int(part[0]), int(part[-1]) + 1, step) for part in parts if len(part))


def decision_rows(span: Stretches) -> np.ndarray:
    """All decision rows of a span, (L,) int32, in order."""
    parts = [np.arange(each.start, each.stop, each.step, dtype=np.int32) for each in span]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def count_rows(span: Stretches) -> int:
    """Number of decisions in a span."""
    return sum(len(each) for each in span)
