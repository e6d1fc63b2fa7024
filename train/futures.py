"""Other futures of the same past: what an audit of causality shows to whatever it audits."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from himari_jax.candles import COLUMNS, RawCandles

JUMP = 0.1  # of every price at the first bar that changes, up or down: larger than what an hour brings by itself


def another_future(raws: Sequence[RawCandles], after_ms: int, sign: int, seed: int = 0) -> list[RawCandles]:
    """The same candles up to the one that opens at `after_ms`; later ones jump by `sign` and go another way.

    Args:
        raws: as a source read them, in time order or not.
        after_ms: epoch milliseconds; candles that open later change in every column.
        sign: +1 up, -1 down.
        seed: of the way they go.
    """
    rng, others = np.random.default_rng(seed), []
    for raw in raws:
        later, size = raw.time > after_ms, len(raw.time)
        order = np.argsort(raw.time, kind="stable")
        steps = np.zeros(size)
        steps[order] = np.cumsum(np.where(later[order], rng.normal(0, 0.02, size), 0))
        close = raw.close * np.exp(np.where(later, sign * JUMP + steps, 0))
        opens = close * np.exp(rng.normal(0, 0.01, size))
        bars = {
            "open": opens,
            "close": close,
            "high": np.maximum(opens, close) * 1.01,
            "low": np.minimum(opens, close) * 0.98,
            "volume": raw.volume * rng.lognormal(0, 1, size) + 1,
        }
        others.append(replace(raw, **{name: np.where(later, bars[name], getattr(raw, name)) for name in COLUMNS}))
    return others


def no_future(raws: Sequence[RawCandles], after_ms: int) -> list[RawCandles]:
    """The candles up to the one that opens at `after_ms` alone."""
    names = ("row", "time", *COLUMNS)
    return [replace(raw, **{name: getattr(raw, name)[raw.time <= after_ms] for name in names}) for raw in raws]
