"""Baselines, strategies to compare with: every public function here is one; its name is its command-line name.

A function of a `Setting` is a rule: the target weights that it would hold after each row, (T, N), from rows <= t.
A function of a `Window` depends on where a window begins or on the agent that is compared: it returns `Orders`.
Host code without jax; the account that charges the agent charges them.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from himari_jax.candles import Candles
from himari_jax.features.indicators import daily_deviation, scaled_momentum
from himari_jax.features.market import segments
from himari_jax.features.windows import bars_of
from himari_jax.positions.base_positions import Base, base_positions
from himari_jax.positions.sizing import SizingRules, cap_targets

MOMENTUM_HOURS = 720
TREND_DAYS = (7, 14, 28, 56, 90)
MONTH = 28  # days of the deviation in which `trend` measures a momentum


class Orders(NamedTuple):
    """Orders of a strategy at each decision row of a window."""

    target: np.ndarray  # (S, N) weights, long only, sum <= 1
    trade: np.ndarray  # (S, N) bool, whether an order is given


class Setting(NamedTuple):
    """Inputs of a rule: candles, base sizing and its parameters."""

    candles: Candles
    base_sizing: Base
    sizing: SizingRules


class Window(NamedTuple):
    """A part of a span, with the inputs of the strategies that are not rules."""

    seen: np.ndarray  # (S,) rows of the market that are known at each decision
    tradable: np.ndarray  # (S, N) bool, of the bar of the fill
    first: np.ndarray  # (S,) bool, first row of a stretch or of the window
    mean_weights: np.ndarray  # (N,) of the agent in this window
    traded: float  # sum |delta| of the agent per bar, mean
    draw: int = 0  # number of the draw of chance
    base: np.ndarray | None = None  # (S, N) base positions with the caps, nan where idle; None: none is known


def cash(setting: Setting) -> np.ndarray:
    """Holds no position at any time."""
    return np.zeros(setting.candles.close.shape)


def buy_and_hold(window: Window) -> Orders:
    """1/N of each asset at its first possible fill of a stretch, then no order."""
    trade: np.ndarray = np.zeros(window.tradable.shape, bool)
    edges: list[int] = [*np.flatnonzero(window.first).tolist(), len(trade)]
    for start, stop in pairwise(edges):
        possible = window.tradable[start:stop]
        for n in np.flatnonzero(possible.any(0)):
            trade[start + possible[:, n].argmax(), n] = True
    return Orders(np.full(trade.shape, 1 / trade.shape[1]), trade)


def equal_weight(setting: Setting) -> np.ndarray:
    """1/N of each asset, rebalanced every bar."""
    shape = setting.candles.close.shape
    return np.full(shape, 1 / shape[1])


def base(setting: Setting) -> np.ndarray:
    """Multiplier 1: the base position with the caps."""
    positions = base_positions(setting.base_sizing, setting.candles, setting.sizing)
    return cap_targets(np.ones_like(positions), positions, setting.sizing.max_position_pct, setting.sizing.max_gross)


def vol_target(setting: Setting) -> np.ndarray:
    """The vol-target position, at most fully invested."""
    return _ungeared(base_positions("vol-target", setting.candles, setting.sizing))


def kelly(setting: Setting) -> np.ndarray:
    """The Bayesian Kelly position, at most fully invested."""
    return _ungeared(base_positions("kelly", setting.candles, setting.sizing))


def momentum(setting: Setting) -> np.ndarray:
    """1/N in each asset whose return over the last 720 hours of its segment is positive, else nothing."""
    close, lag = setting.candles.close, bars_of(MOMENTUM_HOURS, setting.candles.bar_ms)
    rising = np.zeros(close.shape, bool)
    for start, stop in segments(setting.candles):
        now = close[start:stop]
        rising[start:stop][lag:] = now[lag:] > now[: max(0, len(now) - lag)]
    return rising / close.shape[1]


def trend(setting: Setting) -> np.ndarray:
    """Multiplier `clip(1 + mean_k tanh(mom_k), 0, 2)` of the base, with the caps: momenta of 7, 14, 28, 56 and 90 days.

    `mom_k` as in the feature set `trend`, of each segment. It has no parameter to fit. Where k days, or the 28 of its
    deviation, are not yet full, a momentum counts as 0: with less history the rule is nearer to the base.
    """
    candles, sizing = setting.candles, setting.sizing
    multiplier = np.ones(candles.close.shape)
    for start, stop in segments(candles):
        for n, log_close in enumerate(np.log(candles.close[start:stop]).T):
            deviation = daily_deviation(log_close, MONTH, candles.bar_ms)
            momenta = (scaled_momentum(log_close, deviation, days, candles.bar_ms) for days in TREND_DAYS)
            tilt = sum(np.tanh(np.nan_to_num(each)) for each in momenta) / len(TREND_DAYS)
            multiplier[start:stop, n] += tilt
    positions = base_positions(setting.base_sizing, candles, sizing)
    return cap_targets(np.clip(multiplier, 0, 2), positions, sizing.max_position_pct, sizing.max_gross)


def random(window: Window) -> Orders:
    """Jumps, at random bars, to weights drawn evenly from [0, twice the agent's mean], with the agent's turnover.

    The first bar of a stretch is one of them. Shown is the draw of many whose Sharpe ratio is the median one.

    Two weights differ by `2 m / 3` on average, so a jump comes with probability `traded / sum(2 m / 3)`.
    """
    rng = np.random.default_rng(window.draw)
    per_jump = (2 * window.mean_weights / 3).sum()
    chance = min(1.0, window.traded / per_jump) if per_jump > 0 else 0.0
    shape = window.tradable.shape
    target = rng.uniform(0, 2, shape) * window.mean_weights
    target /= np.maximum(target.sum(1, keepdims=True), 1.0)
    jumps = rng.random((shape[0], 1)) < chance
    jumps[window.first] = True  # else it would stay in cash where the agent begins
    return Orders(target, np.broadcast_to(jumps, shape))


def constant(window: Window) -> Orders:
    """The base position times one number for each asset, held as much as by the agent: what is left of it is timing.

    Where an asset has no base position, the agent's mean weight.
    """
    shape = window.tradable.shape
    base = np.zeros(shape) if window.base is None else np.asarray(window.base, np.float64)
    decides = np.isfinite(base).all(1)
    mean = base[decides].mean(0) if decides.any() else np.zeros(shape[1])
    base, known = np.nan_to_num(base), mean > 0
    multiplier = np.where(known, window.mean_weights / np.where(known, mean, 1.0), 0.0)
    return Orders(_ungeared(np.where(known, base * multiplier, window.mean_weights)), np.ones(shape, bool))


def _ungeared(positions: np.ndarray) -> np.ndarray:
    """Scaled down as a whole where they sum to more than 1."""
    return positions / np.maximum(positions.sum(1, keepdims=True), 1.0)
