"""Permuted candles: the null market of a permutation test, with the bars of real candles in an order made by chance.

A bar of one asset is, in ratios that do not depend on the price it stands at,

    gap    open[t] / close[t-1]
    shape  high[t] / open[t], low[t] / open[t]
    move   close[t] / close[t-1]

with its volume and its mark `tradable`. All of it moves together, and the bars of all assets at one time move together,
so that what one bar says (its range, its volume, the correlation of assets) stays true. What later bars follow from
earlier ones goes. Prices are chained again from the first close of a segment:

    close'[t] = close[first] exp(sum of log move[source[u]] over first < u <= t)
    open'[t]  = close'[t-1] gap[source[t]],    high'[t] = open'[t] shape[source[t]],    ...

Which bars may change places (**a regime**): all times at which the same assets have a bar that can move, in the same
segments (so that the price on the other side of a long gap still fits). A bar that cannot move is the first one of a
segment: no close stands before it, so it has no gap. Over a change of membership nothing wider is possible: an asset
cannot take a bar from before it existed, and if SOL moves with the permutation of BTC, that maps the times with SOL
onto themselves, and so those without.

**What a regime keeps.** The sum of its log moves, so its drift: every segment of every asset ends at its own last
close, and buy and hold of a whole segment earns what it earned. The test asks whether the *order* of the bars inside
regimes matters, and says nothing of the drifts: a slow trend rule can live on the drift of a long regime in the null
market too. That raises the null's Sharpe ratios and costs the test power. Short regimes and short segments are permuted
little, which works to the same side. A span of a split is no regime: bars cross its cuts, so the drift of a test span
differs from draw to draw, and a statistic should be a difference to a baseline of the same draw.

**What goes besides the edge.** With single bars: clusters of volatility, the time of day, runs of bars that are not
tradable. A policy that merely sizes by volatility then looks like one with an edge. Blocks keep clusters, and the
distance of hours, inside a block; they are the harder null. But they keep *everything* inside a block, an edge faster
than a block included: they ask about dependence that lasts longer, and a rule that lives on less does as well there.

Source: Timothy Masters, "Permutation and Randomization Tests for Trading System Development", 2020. He permutes gaps
and intrabar moves apart from each other; here a bar stays whole, so that its gap belongs to its range and volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.times import DAY_MS

Kind = Literal["bars", "blocks"]
BLOCK_BARS = 20  # a month of days on a market with weekends


@dataclass(frozen=True)
class Regimes:
    """Times that may exchange their bars: those of one label."""

    time: np.ndarray  # (U,) int64, every time of any part, in order, epoch milliseconds
    label: np.ndarray  # (U,) int, 0 to R - 1
    movable: tuple[np.ndarray, ...]  # of each part (T, N) bool: a bar that is not the first of its segment


def permute_candles(
    parts: Sequence[Candles], rng: np.random.Generator, kind: Kind = "bars", block: int | None = None
) -> tuple[Candles, ...]:
    """Draws a null market: the candles with their bars in an order made by chance, one order for all assets.

    Times, symbols and segments stay, and so does the first bar of each segment and, up to rounding, its last close.
    NaN (an asset without a bar there) stays where it is; what follows it is a segment of its own. What is not tradable
    moves with its bar. The result says `synthetic`: chance made it, and no trial on it is one on the market.

    Args:
        parts: candles of N assets on one time axis, or the members of a pool, each with its own.
        rng: equal states draw equal orders, whatever the prices.
        kind: `bars` permutes single bars; `blocks` runs of consecutive bars that keep their order, cut anew (from an
            offset by chance) in each draw and each regime, so that the first and the last of a regime may be shorter.
        block: bars of a block; None: `default_block`. For `blocks` alone.

    Raises:
        InputError: no parts, parts of different bars, or a block that is below 1 or not asked for.
    """
    length = _block_length(parts, kind, block)
    found = regimes(parts)
    source = _draw(found.label, length, rng)
    out = []
    for each, movable in zip(parts, found.movable, strict=True):
        place = np.searchsorted(found.time, each.time)  # (T,) row on the common axis
        own = np.full(len(found.time), -1)
        own[place] = np.arange(len(place))
        # -1 only where nothing of this part moves: regimes map the times of an asset onto themselves.
        out.append(_rebuild(each, movable, own[source[place]]))
    return tuple(out)


def regimes(parts: Sequence[Candles]) -> Regimes:
    """Finds the times that may exchange bars: those with the same assets, in the same segments, that can move."""
    time = np.unique(np.concatenate([each.time for each in parts]))
    keys, movable = [], []
    for each in parts:
        starts, present = _starts(each)
        moves = present & ~starts
        key = np.zeros((len(time), len(each.symbols)), np.int64)
        key[np.searchsorted(time, each.time)] = np.where(moves, np.cumsum(starts, axis=0), 0)
        keys.append(key)
        movable.append(moves)
    table = np.concatenate(keys, axis=1)
    # Rows change at few places: only the first row of each run is compared with the others.
    heads = np.flatnonzero(np.concatenate([[True], (table[1:] != table[:-1]).any(axis=1)]))
    label = np.unique(table[heads], axis=0, return_inverse=True)[1].reshape(-1)
    return Regimes(time, np.repeat(label, np.diff(heads, append=len(time))), tuple(movable))


def default_block(parts: Sequence[Candles]) -> int:
    """Bars of a block where none is asked for: the bars of a day, and at least 20.

    20 bars of a day are a month of sessions, 24 of an hour a day: long enough for the nearest clusters of volatility
    and the pattern of a day, shorter than the trends (weeks on hours, months on days) that a test should break. A block
    of a month of hours would leave those on the null market.
    """
    time = np.unique(np.concatenate([each.time for each in parts]))
    return max(BLOCK_BARS, round(len(time) / len(np.unique(time // DAY_MS))))


def _block_length(parts: Sequence[Candles], kind: Kind, block: int | None) -> int:
    """Bars that stay together, checked."""
    if not parts:
        raise InputError("no candles to permute: at least one part is needed")
    if len(bars := {each.bar_ms for each in parts}) > 1:
        raise InputError(f"candles to permute have bars of {sorted(bars)} ms: must be one length for all")
    if kind not in ("bars", "blocks"):
        raise InputError(f"permutation kind {kind}: must be one of bars, blocks")
    if kind == "bars":
        if block is not None:
            raise InputError(f"permutation block {block}: allowed for kind blocks, not bars")
        return 1
    if block is None:
        return default_block(parts)
    if block < 1:
        raise InputError(f"permutation block {block}: must be an integer >= 1")
    return block


def _starts(candles: Candles) -> tuple[np.ndarray, np.ndarray]:
    """Bars without a bar of their asset and segment before them, and bars that exist, (T, N) bool each."""
    present = np.isfinite(candles.close)
    follows = np.zeros(present.shape, bool)
    follows[1:] = present[:-1] & (np.diff(candles.segment) == 0)[:, None]
    return present & ~follows, present


def _draw(label: np.ndarray, block: int, rng: np.random.Generator) -> np.ndarray:
    """The row (U,) from which each row takes its bars: a permutation inside each label, of blocks that stay whole."""
    rows = np.argsort(label, kind="stable")  # regime by regime, in time order
    regime = label[rows]
    sizes = np.bincount(label)
    position = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # in its regime
    offset = rng.integers(block, size=len(sizes))
    # Also where the regime pauses, as long as an asset is missing: what lies on both sides is not consecutive.
    opens = ((position + offset[regime]) % block == 0) | (np.diff(rows, prepend=-2) != 1) | (position == 0)
    number = np.cumsum(opens) - 1
    rank = rng.permutation(number[-1] + 1)[number]
    source = np.empty_like(rows)
    source[rows] = rows[np.lexsort((rank, regime))]  # stable: the order inside a block is kept
    return source


def _rebuild(candles: Candles, movable: np.ndarray, source: np.ndarray) -> Candles:
    """Candles whose movable bars (T, N) come from the rows `source` (T,), chained from the first of each segment."""
    row = np.arange(len(source))[:, None]
    first = np.maximum.accumulate(np.where(movable, 0, row), axis=0)  # (T, N) the row that a price is chained from

    def moved(values: np.ndarray, otherwise: np.ndarray | float) -> np.ndarray:
        return np.where(movable, values[source], otherwise)

    before = _row_before(candles.close)
    path = np.cumsum(moved(np.log(candles.close / before), 0.0), axis=0)
    # From the first close by a factor: a bar that moved nothing repeats the close before it to the last digit.
    start, base = (np.take_along_axis(x, first, axis=0) for x in (candles.close, path))
    close = np.where(movable, start * np.exp(path - base), candles.close)
    opens = np.where(movable, _row_before(close) * moved(candles.open / before, 1.0), candles.open)
    high = opens * moved(candles.high / candles.open, 1.0)
    low = opens * moved(candles.low / candles.open, 1.0)
    return replace(
        candles,
        open=opens,
        # Rounding must not put an end outside the range.
        high=np.where(movable, np.maximum(high, np.maximum(opens, close)), candles.high),
        low=np.where(movable, np.minimum(low, np.minimum(opens, close)), candles.low),
        close=close,
        volume=moved(candles.volume, candles.volume),
        tradable=moved(candles.tradable, candles.tradable),
        synthetic=True,
    )


def _row_before(values: np.ndarray) -> np.ndarray:
    """Row t-1 at row t; the first row itself at row 0."""
    return np.concatenate([values[:1], values[:-1]])
