"""Market features by set and the pair correlations: one way for training, backtest and server."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from himari_jax.candles import COLUMNS, Candles
from himari_jax.errors import InputError
from himari_jax.features.indicators import difference, rolling_mean
from himari_jax.features.windows import per_hour
from himari_jax.plugins import FEATURE_SETS
from himari_jax.times import iso_second

ACCOUNT_FEATURES = ("position", "entry_distance", "unrealized_pnl", "allocation")
ANY_SYMBOL = "asset"  # in names of an observation, whichever symbol of a pool
MOST_MARKET = 1e6  # beyond which a market input is no observation of a policy


@dataclass(frozen=True)
class FeatureSet:
    """A function from candles to features, with their names and their look-back."""

    name: str  # of the set, or of the user's file
    names: tuple[str, ...]  # of its features
    lookback: Callable[[int], int]  # rows that they may depend on, by the length of a bar in milliseconds
    function: Callable[..., np.ndarray]  # of the candles of one segment, (T, N, k) float64
    code: bytes | None = None  # of the user's file; None for a set by name
    mark: str = ""  # identity of the function: the SHA-256 of the file; empty for a set by name

    def values(self, candles: Candles) -> np.ndarray:
        """The features of one segment, (T, N, k) float64; 0 where a window is not yet full.

        Raises:
            InputError: a user's function fails, or gives what is no number after its look-back.
        """
        found = self.function(candles)
        if self.code is None:
            return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)
        full, bad = self.lookback(candles.bar_ms) - 1, ~(np.abs(found) <= MOST_MARKET)
        if bad[full:].any():
            row, n, k = (int(x[0]) for x in np.nonzero(bad[full:]))
            value, when = found[full + row, n, k], iso_second(candles.time[full + row] + candles.bar_ms)
            raise InputError(
                f"{self.name}: {self.names[k]} of {candles.symbols[n]} at {when} is {value:g}; allowed after the "
                f"{full + 1} rows of its look-back (LOOKBACK): finite numbers from -{MOST_MARKET:g} to {MOST_MARKET:g}"
            )
        return np.where(bad, 0.0, found)

    def newest(self, candles: Candles, rows: int) -> np.ndarray:
        """The last rows of `values`, (rows, N, k), bit for bit; a set by name lays out no others."""
        if self.code is None:
            return np.nan_to_num(self.function(candles, newest=rows), nan=0.0, posinf=0.0, neginf=0.0)
        return self.values(candles)[-rows:]


@dataclass(frozen=True)
class Features:
    """The feature sets that a policy sees, in their order.

    Raises:
        InputError: two features have one name.
    """

    sets: tuple[FeatureSet, ...]

    def __post_init__(self):
        owner = dict.fromkeys(ACCOUNT_FEATURES, "the account")
        for one in self.sets:
            for name in one.names:
                if name in owner:
                    raise InputError(f"--features {one.name}: {name} is a feature of {owner[name]}; rename it")
                owner[name] = one.name

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the market features of an asset."""
        return tuple(name for one in self.sets for name in one.names)

    @property
    def marks(self) -> tuple[str, ...]:
        """Identity of each set: its name, or the SHA-256 of its file."""
        return tuple(one.mark or one.name for one in self.sets)

    @property
    def files(self) -> dict[str, bytes]:
        """The user's files by name."""
        return {one.name: one.code for one in self.sets if one.code is not None}

    def lookback(self, bar_ms: int) -> int:
        """Rows that any of them, or a pair correlation, may depend on."""
        return max(25 * per_hour(bar_ms), *(one.lookback(bar_ms) for one in self.sets))


def named_set(name: str) -> FeatureSet:
    """The feature set of that name.

    Raises:
        InputError: there is none.
    """
    function = FEATURE_SETS.load(name)
    return FeatureSet(name, function.names, function.lookback, function)


BASE = Features((named_set("base"),))
MARKET_FEATURES = BASE.names


def observation_width(num_assets: int, num_features: int = len(MARKET_FEATURES)) -> int:
    """D(N) = (k + 4) N + N (N - 1) / 2 + [N > 1], k market features of an asset."""
    width = num_features + len(ACCOUNT_FEATURES)
    return width * num_assets + num_assets * (num_assets - 1) // 2 + (num_assets > 1)


def observation_names(symbols: tuple[str, ...], features: Features = BASE) -> tuple[str, ...]:
    """Names of the D numbers of an observation, in order."""
    names = [f"{symbol}.{name}" for symbol in symbols for name in features.names + ACCOUNT_FEATURES]
    pairs = [f"correlation.{symbols[i]}.{symbols[j]}" for i, j in pair_indices(len(symbols))]
    return (*names, *pairs, *(("herfindahl",) if len(symbols) > 1 else ()))


def pair_indices(num_assets: int) -> list[tuple[int, int]]:
    """The P pairs (i < j) in symbol order."""
    return [(i, j) for i in range(num_assets) for j in range(i + 1, num_assets)]


def market_features(candles: Candles, features: Features = BASE) -> tuple[np.ndarray, np.ndarray]:
    """Market features (T, N, k) and correlations (T, P), float64, from rows <= t of the same segment.

    Rows whose windows are not yet full (fewer than the look-back into a segment) hold 0 where a feature is undefined;
    no episode starts there.

    Raises:
        InputError: a user's function fails, or gives what is no number.
    """
    parts, correlations = [], []
    for start, stop in segments(candles):
        part = rows_of(candles, start, stop)
        parts.append(np.concatenate([one.values(part) for one in features.sets], axis=-1))
        correlations.append(pair_correlations(part))
    return np.concatenate(parts), np.concatenate(correlations)


def newest_features(candles: Candles, features: Features = BASE, rows: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The last rows of `market_features`, bit for bit, as many as the newest segment has or fewer.

    Raises:
        InputError: a user's function fails, or gives what is no number.
    """
    part = rows_of(candles, *segments(candles)[-1])
    found = [one.newest(part, rows) for one in features.sets]
    return np.concatenate(found, axis=-1), pair_correlations(part)[-rows:]


def segments(candles: Candles) -> list[tuple[int, int]]:
    """(start, stop) rows of each segment."""
    cuts = np.flatnonzero(np.diff(candles.segment)) + 1
    edges = [0, *cuts.tolist(), len(candles.segment)]
    return list(pairwise(edges))


def rows_of(candles: Candles, start: int, stop: int) -> Candles:
    """The candles of the rows [start, stop) of one segment, as if there were no others."""
    columns = {name: getattr(candles, name)[start:stop] for name in ("time", *COLUMNS, "tradable")}
    return replace(candles, **columns, segment=np.zeros(stop - start, np.int32))


def pair_correlations(candles: Candles) -> np.ndarray:
    """Rolling 24 h correlation of 1 h log returns of each pair over one segment, (T, P); 0 where a window is flat.

    Bars longer than an hour: 24 returns of a bar.
    """
    close, hour = candles.close, per_hour(candles.bar_ms)
    rows, assets = close.shape
    out = np.zeros((rows, assets * (assets - 1) // 2))
    day = 24 * hour
    if assets < 2 or rows < day + hour:
        return out
    returns = [difference(np.log(close[:, n]), hour)[hour:] for n in range(assets)]
    mean = [rolling_mean(r, day) for r in returns]
    square = [rolling_mean(r * r, day) for r in returns]
    variance = [s - m * m for m, s in zip(mean, square, strict=True)]
    for p, (i, j) in enumerate(pair_indices(assets)):
        covariance = rolling_mean(returns[i] * returns[j], day) - mean[i] * mean[j]
        # The remainder of a constant return after the subtraction is rounding, not variance.
        moves = (variance[i] > 1e-10 * square[i]) & (variance[j] > 1e-10 * square[j])
        scale = np.sqrt(np.where(moves, variance[i] * variance[j], 1.0))
        out[hour:, p] = np.where(moves, np.clip(covariance / scale, -1, 1), 0.0)
    return out
