"""Audits own features before anything is trained on them: are they causal, repeatable, true to their look-back?"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features.market import Features, FeatureSet, rows_of, segments
from himari_jax.times import iso_second

AUDITED_ROWS = 8  # of a stretch after which the future changes, beside its first and its last two
AUDITED_STRETCHES = 3  # the longest ones
JUMP = 0.1  # of every price at the first bar that changes, up or down
NEAR = 1e-9  # relative beyond 1: what the missing of rows older than the look-back may change by rounding


def audit_features(features: Features, candles: Candles) -> None:
    """Refuses a user's features that know later candles, older ones than they say, or change from call to call.

    Args:
        features: sets by name need no audit.
        candles: that training will see.

    Raises:
        InputError: one line: which feature, when, by how much.
    """
    for one in features.sets:
        if one.code is not None:
            full = one.lookback(candles.bar_ms) - 1
            usable = [edges for edges in segments(candles) if edges[1] - edges[0] > full + 2]
            for start, stop in sorted(usable, key=lambda edges: edges[0] - edges[1])[:AUDITED_STRETCHES]:
                audit_stretch(one, rows_of(candles, start, stop), full)


def audit_stretch(one: FeatureSet, candles: Candles, full: int) -> None:
    """Audits one set over one stretch.

    Args:
        one: a user's set.
        candles: of one segment.
        full: the first row whose look-back is whole.
    """
    one.values(candles)  # refuses what is no number
    ours = one.function(candles)
    if not np.array_equal(ours, one.function(candles), equal_nan=True):
        raise InputError(f"{one.name}: features() gives other values when called again; fix its seed")
    for t in audited_rows(full, len(candles.time)):
        for what, other in other_futures(candles, t):
            if (found := largest_change(ours[: t + 1], one.function(other)[: t + 1])) is not None:
                raise InputError(
                    f"{one.name}: knows later candles: {place(one, candles, *found)} where those after "
                    f"{iso_second(candles.time[t] + candles.bar_ms)} {what}; a row must depend on rows up to itself "
                    "alone, to the last bit"
                )
        short = one.function(rows_of(candles, t - full, t + 1))[-1:]
        if (found := largest_change(ours[t : t + 1], short, NEAR)) is not None:
            raise InputError(
                f"{one.name}: knows candles older than its look-back of {full + 1} rows: "
                f"{place(one, candles, *found, t)} without them; say how far it looks back with a line such as "
                'LOOKBACK = "90d"'
            )


def audited_rows(full: int, rows: int, number: int = AUDITED_ROWS) -> list[int]:
    """Rows after which the future changes: the first, some in between at various hours, the last two with a future."""
    last = rows - 2
    between = [full + (last - full) * (k + 1) // (number + 1) - 5 * k % 24 for k in range(number)]
    return sorted({full, *(t for t in between if t > full), max(full, last - 1), last})


def other_futures(candles: Candles, t: int) -> Iterator[tuple[str, Candles]]:
    """Yields the same candles up to row t with another future, or none, after a description."""
    yield "go up", another_future(candles, t, 1)
    yield "go down", another_future(candles, t, -1)
    yield "are missing", rows_of(candles, 0, t + 1)


def another_future(candles: Candles, t: int, sign: int) -> Candles:
    """The same candles up to row t; later ones jump by `sign` and go another way, in every column."""
    rng, shape = np.random.default_rng(t), candles.close[t + 1 :].shape
    move = np.exp(sign * JUMP + np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    close = candles.close[t + 1 :] * move
    opens = close * np.exp(rng.normal(0, 0.01, shape))
    later = {
        "open": opens,
        "high": np.maximum(opens, close) * 1.01,
        "low": np.minimum(opens, close) * 0.98,
        "close": close,
        "volume": candles.volume[t + 1 :] * rng.lognormal(0, 1, shape) + 1,
    }
    joined: dict[str, Any] = {name: np.concatenate([getattr(candles, name)[: t + 1], x]) for name, x in later.items()}
    return replace(candles, **joined)


def largest_change(ours: np.ndarray, theirs: np.ndarray, near: float = 0.0) -> tuple[int, int, int, float] | None:
    """Row, asset, feature and size of the largest change between two (T, N, k) beyond `near`; None without a change."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    gap = np.where(same, 0.0, np.abs(ours - theirs))
    gap = np.where(np.isnan(gap), np.inf, gap)
    gap = np.where(gap <= near * np.maximum(1.0, np.abs(ours)), 0.0, gap)
    if not gap.any():
        return None
    row, n, k = (int(x) for x in np.unravel_index(np.argmax(gap), gap.shape))
    return row, n, k, float(gap[row, n, k])


def place(one: FeatureSet, candles: Candles, row: int, n: int, k: int, gap: float, offset: int = 0) -> str:
    """Words a change: of which number, when and by how much."""
    when = iso_second(candles.time[offset + row] + candles.bar_ms)
    return f"{one.names[k]} of {candles.symbols[n]} at {when} changes by {gap:.2g}"
