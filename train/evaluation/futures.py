"""Changes candles after a row: the altered futures of the causality audit."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from himari_jax.candles import COLUMNS, RawCandles

JUMP = 0.1  # of every price at the first bar that changes, up or down: larger than what an hour brings by itself
STEP, WIDEST = 0.02, 6.0  # deviation of a bar's log return there, and of the whole way: of millions of bars, too


def another_future(raws: Sequence[RawCandles], after_ms: int, sign: int, seed: int = 0) -> list[RawCandles]:
    """Keeps the candles up to the one that opens at `after_ms`; later ones jump by `sign` and go another way.

    Args:
        raws: as a source read them, in time order or not.
        after_ms: epoch milliseconds; candles that open later change in every column.
        sign: +1 up, -1 down.
        seed: of their path.
    """
    rng, others = np.random.default_rng(seed), []
    for raw in raws:
        # By time and not by row: what stands there twice changes twice alike.
        times, where = np.unique(raw.time, return_inverse=True)
        later, size = times > after_ms, len(times)
        walk = min(STEP, WIDEST / math.sqrt(max(1, later.sum())))
        steps = np.cumsum(np.where(later, rng.normal(0, walk, size), 0))
        move = np.exp(np.where(later, sign * JUMP + steps, 0))[where]
        gap, more = np.exp(rng.normal(0, 0.01, size))[where], rng.lognormal(0, 1, size)[where]
        close = raw.close * move
        opens = close * gap
        bars = {
            "open": opens,
            "close": close,
            "high": np.maximum(opens, close) * 1.01,
            "low": np.minimum(opens, close) * 0.98,
            "volume": raw.volume * more + 1,
        }
        others.append(
            replace(raw, **{name: np.where(later[where], bars[name], getattr(raw, name)) for name in COLUMNS})
        )
    return others


def between(raws: Sequence[RawCandles], first_ms: int, last_ms: int) -> list[RawCandles]:
    """Cuts the candles that open from `first_ms` to `last_ms`."""
    kept = [(raw, (raw.time >= first_ms) & (raw.time <= last_ms)) for raw in raws]
    return [replace(raw, **{n: getattr(raw, n)[rows] for n in ("row", "time", *COLUMNS)}) for raw, rows in kept]


def no_future(raws: Sequence[RawCandles], after_ms: int) -> list[RawCandles]:
    """Cuts the candles after the one that opens at `after_ms`."""
    return between(raws, -(2**62), after_ms)
