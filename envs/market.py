"""The one crossing from host to device: prices as relative moves, features, base positions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.base_positions import Base, base_positions
from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features import BASE, Features, market_features, segments
from himari_jax.sizing import SizingRules

FILLS = ("next-open", "same-close")


Array = Any  # np.ndarray on the host, jax.Array on the device


class Market(NamedTuple):
    """Everything of a market that does not depend on the account; shared by all episodes.

    Row t is what a decision at the close of bar t may know, and what happens to it until close[t+1].
    """

    to_fill: Array  # (T, N) fill / close[t] - 1
    to_mark: Array  # (T, N) close[t+1] / fill - 1
    features: Array  # (T, N, k) raw
    corr: Array  # (T, P) raw
    base: Array  # (T, N) base positions, share of equity; NaN before the first row of a file
    tradable: Array  # (T, N) bool, whether the bar of the fill trades

    @property
    def num_assets(self) -> int:
        """N."""
        return self.base.shape[-1]

    @property
    def num_features(self) -> int:
        """Market features of an asset, k."""
        return self.features.shape[-1]


def build_market(
    candles: Candles,
    base_sizing: Base = "constant",
    rules: SizingRules | None = None,
    fill: str = "next-open",
    delay: int = 0,
    dtype=np.float32,
    features: Features = BASE,
) -> Market:
    """Aligns prices in float64 on the host and rounds once; numpy arrays, ready for `device_put`.

    Args:
        candles: checked candles.
        base_sizing: command-line name of a base sizing, or positions from a file.
        rules: caps and parameters of the base sizing.
        fill: next-open trades at open[t+1], same-close at close[t].
        delay: rows by which features, correlations and base positions are late; prices are not.
        dtype: of the arrays.
        features: what is seen of the market.

    Raises:
        InputError: unknown fill, a negative delay, or a user's features that are no numbers.
    """
    if fill not in FILLS:
        raise InputError(f"--fill {fill}: allowed are {', '.join(FILLS)}")
    if delay < 0:
        raise InputError(f"--delay {delay}: allowed is 0 or more bars")
    to_fill, to_mark, tradable = align_prices(candles, fill)
    values, corr = market_features(candles, features)
    base = base_positions(base_sizing, candles, rules or SizingRules())
    values, corr, base = (delayed(x, candles, delay) for x in (values, corr, base))
    to_fill, to_mark, values, corr, base = (x.astype(dtype) for x in (to_fill, to_mark, values, corr, base))
    return Market(to_fill, to_mark, values, corr, base, tradable)


def align_prices(candles: Candles, fill: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """to_fill, to_mark and tradable, (T, N) each; the last row of a segment has no next bar and holds 0."""
    to_fill = np.zeros_like(candles.close)
    to_mark = np.zeros_like(candles.close)
    tradable = np.zeros(candles.close.shape, bool)
    for start, stop in segments(candles):
        now, following = slice(start, stop - 1), slice(start + 1, stop)
        price = candles.open[following] if fill == "next-open" else candles.close[now]
        to_fill[now] = price / candles.close[now] - 1
        to_mark[now] = candles.close[following] / price - 1
        tradable[now] = candles.tradable[following if fill == "next-open" else now]
    return to_fill, to_mark, tradable


def delayed(x: np.ndarray, candles: Candles, delay: int) -> np.ndarray:
    """Row t of the result is row t - delay of the same segment (the segment's first row before that)."""
    if delay == 0:
        return x
    row = np.arange(len(x))
    first = np.zeros(len(x), np.int64)
    for start, stop in segments(candles):
        first[start:stop] = start
    return x[np.maximum(row - delay, first)]


def to_device(market: Market) -> Market:
    """Moves the arrays to the default device, once."""
    return jax.tree.map(jnp.asarray, market)
