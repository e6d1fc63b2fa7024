"""The one crossing from host to device: prices as relative moves, features, base positions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features.market import BASE, Features, market_features, segments
from himari_jax.positions.base_positions import Base, base_positions
from himari_jax.positions.sizing import SizingRules, cap_targets
from himari_jax.splits import Stretches, decision_rows

FILLS = ("next-open", "same-close")


Array = Any  # np.ndarray on the host, jax.Array on the device


class Market(NamedTuple):
    """Everything of a market that does not depend on the account; shared by all episodes.

    Row t is what a decision at the close of bar t may know, and what happens to it until the next decision, whose row
    is t + D for decisions every D bars.
    """

    to_fill: Array  # (T, N) fill / close[t] - 1
    to_mark: Array  # (T, N) close[t+D] / fill - 1
    features: Array  # (T, N, k) raw
    corr: Array  # (T, P) raw
    base: Array  # (T, N) base positions, share of equity; NaN before the first row of a file
    tradable: Array  # (T, N) bool, whether the bar of the fill trades

    @property
    def num_assets(self) -> int:
        """Number of assets, N."""
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
    step: int = 1,
    computed: tuple[np.ndarray, np.ndarray] | None = None,
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
        step: D, bars from decision to decision; positions drift between them.
        computed: the `market_features` of these candles, where they are known already.

    Raises:
        InputError: unknown fill, a negative delay, or a user's features that are no numbers.
    """
    if fill not in FILLS:
        raise InputError(f"--fill {fill}: must be one of {', '.join(FILLS)}")
    if delay < 0:
        raise InputError(f"--delay {delay}: must be 0 or more bars")
    to_fill, to_mark, tradable = align_prices(candles, fill, step)
    values, corr = market_features(candles, features) if computed is None else computed
    base = base_positions(base_sizing, candles, rules or SizingRules())
    values, corr, base = (delayed(x, candles, delay) for x in (values, corr, base))
    to_fill, to_mark, values, corr, base = (x.astype(dtype) for x in (to_fill, to_mark, values, corr, base))
    return Market(to_fill, to_mark, values, corr, base, tradable)


def align_prices(candles: Candles, fill: str, step: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """to_fill, to_mark and tradable, (T, N) each; the last `step` rows of a segment have no mark and hold 0."""
    to_fill = np.zeros_like(candles.close)
    to_mark = np.zeros_like(candles.close)
    tradable = np.zeros(candles.close.shape, bool)
    for start, stop in segments(candles):
        if stop - start <= step:
            continue
        now, following = slice(start, stop - step), slice(start + 1, stop - step + 1)
        price = candles.open[following] if fill == "next-open" else candles.close[now]
        to_fill[now] = price / candles.close[now] - 1
        to_mark[now] = candles.close[start + step : stop] / price - 1
        tradable[now] = candles.tradable[following if fill == "next-open" else now]
    return to_fill, to_mark, tradable


def stack_decisions(parts: Sequence[tuple[Market, Stretches]], any_phase: bool = False) -> tuple[Market, Stretches]:
    """A market of decisions alone, one after the other, and its stretches: what training on several markets draws from.

    Args:
        parts: markets on the host that have as many assets, each with its decision rows.
        any_phase: for decisions every D rows, take those at every other phase too, as stretches of their own.
    """
    rows = [(market, as_phases(span) if any_phase else span) for market, span in parts]
    picked = [[x[decision_rows(span)] for x in market] for market, span in rows]
    edges = np.cumsum([0, *(len(each) for _, span in rows for each in span)])
    stretches = tuple(range(int(start), int(stop)) for start, stop in pairwise(edges))
    return Market(*(np.concatenate(columns) for columns in zip(*picked, strict=True))), stretches


def as_phases(span: Stretches) -> Stretches:
    """The decision rows at every phase of each stretch."""
    return tuple(
        range(each.start + k, each.stop, each.step)
        for each in span
        for k in range(min(each.step, each.stop - each.start))
    )


def base_returns(market: Market, rows: np.ndarray, max_position_pct: float, max_gross: float) -> np.ndarray:
    """Simple returns of multiplier 1 from decision to decision, without costs, (L,) float64.

    Args:
        market: on the host.
        rows: (L,) decision rows.
        max_position_pct, max_gross: caps of the account.
    """
    base = np.asarray(market.base, np.float64)[rows]
    held = cap_targets(np.ones_like(base), base, max_position_pct, max_gross)
    moves = (1 + np.asarray(market.to_fill, np.float64)[rows]) * (1 + np.asarray(market.to_mark, np.float64)[rows]) - 1
    return np.asarray((held * moves).sum(-1))


def risk_aversion(returns: np.ndarray) -> float:
    """Weight of the squared log return that makes multiplier 1 the best constant, at least 1/4.

    `lambda = max(mean(g) / (2 mean(g^2)) - 1/2, 1/4)`: the best constant multiple of g for
    `log_return - lambda log_return^2` is 1 to second order.

    Args:
        returns: (L,) g, the base position's own return from decision to decision on the training rows.
    """
    square = float(np.mean(returns**2))
    return max(float(np.mean(returns)) / (2 * square) - 0.5, 0.25) if square > 0 else 0.25


def delayed(x: np.ndarray, candles: Candles, delay: int) -> np.ndarray:
    """Shifts rows later: row t becomes row t - delay of the same segment, or the segment's first row."""
    if delay == 0:
        return x
    row = np.arange(len(x))
    first = np.zeros(len(x), np.int64)
    for start, stop in segments(candles):
        first[start:stop] = start
    return x[np.maximum(row - delay, first)]


def to_device(market: Market) -> Market:
    """Moves the arrays to the default device, once."""
    return jax.device_put(market)
