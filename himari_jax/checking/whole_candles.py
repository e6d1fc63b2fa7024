"""Fast path of the checks: recognizes candles without fault or gap, and makes of them what the full checks would."""

from collections.abc import Sequence

import numpy as np

from himari_jax.candles import COLUMNS, Candles, RawCandles
from himari_jax.checking.alignment import FLAT_RUN, flat_runs, grid_step
from himari_jax.checking.candles import check_candles
from himari_jax.checking.rows import MOST_VOLUME, PRICE_RANGE


def served_candles(raws: Sequence[RawCandles], bar_ms: int, calendar: str, now_ms: int) -> Candles:
    """Checks the candles of a decision on their newest row: whole ones by the fast path, others by all the checks.

    Args:
        raws, bar_ms, calendar, now_ms: as of `check_candles`.

    Raises:
        InputError: the first thing that cannot be repaired.
    """
    candles = whole_candles(raws, bar_ms, calendar, now_ms)
    if candles is None:
        candles, _ = check_candles(raws, bar_ms=bar_ms, calendar=calendar, now_ms=now_ms, served=True)
    return candles


def whole_candles(raws: Sequence[RawCandles], bar_ms: int, calendar: str, now_ms: int) -> Candles | None:
    """The candles that `check_candles` makes of a request of whole candles, bit for bit; None: those are needed.

    Whole are candles of a market that never closes, one after the other on the grid, of all symbols at the same times,
    with prices that need no repair. The newest may be unfinished.

    Args:
        raws: one per symbol, in the order of the columns to be.
        bar_ms: length of a bar, milliseconds.
        calendar: as of `check_candles`.
        now_ms: epoch milliseconds.
    """
    time = raws[0].time
    if calendar != "continuous" or len(time) < 2 or time[0] % grid_step(bar_ms) or time[-1] > now_ms:
        return None
    if not (np.diff(time) == bar_ms).all() or len({raw.symbol for raw in raws}) < len(raws):
        return None
    segment, tradable = np.zeros(len(time), np.int32), []
    for raw in raws:
        if raw.notes or raw.faults or raw.synthetic or not np.array_equal(raw.time, time) or not is_whole(raw):
            return None
        if raw.volume.min() > 0:
            tradable.append(np.ones(len(time), bool))
        else:
            prices = np.stack([raw.open, raw.high, raw.low, raw.close])
            tradable.append(flat_runs(prices, raw.volume, segment) < FLAT_RUN)
    stop = len(time) - int(time[-1] + bar_ms > now_ms)
    open_, high, low, close, volume = (side_by_side([getattr(raw, x) for raw in raws])[:stop] for x in COLUMNS)
    symbols, marks = tuple(raw.symbol for raw in raws), side_by_side(tradable)[:stop]
    return Candles(symbols, bar_ms, calendar, time[:stop], open_, high, low, close, volume, marks, segment[:stop])


def is_whole(raw: RawCandles) -> bool:
    """Whether every row keeps the rules of `himari_jax.checking.rows` as it is."""
    top, bottom = np.maximum(raw.open, raw.close), np.minimum(raw.open, raw.close)
    ordered = (raw.high >= top).all() and (raw.low <= bottom).all()  # false of a NaN, too
    least, most = PRICE_RANGE
    traded = raw.volume.min() >= 0 and raw.volume.max() <= MOST_VOLUME
    return bool(ordered and traded and raw.low.min() >= least and raw.high.max() <= most)


def side_by_side(columns: list[np.ndarray]) -> np.ndarray:
    """(T, N) of N columns (T,), in the order of memory of `np.stack`."""
    return np.ascontiguousarray(columns[0])[:, None] if len(columns) == 1 else np.stack(columns, axis=1)
