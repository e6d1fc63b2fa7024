"""Strategies to compare with: target weights on the host, from rows <= t, charged by the same account."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from envs.market import late
from himari_jax.candles import Candles
from himari_jax.features import segments
from himari_jax.sizing import SizingRules, base_positions, cap_targets
from himari_jax.splits import Stretches, decision_rows

MOMENTUM_BARS = 720


class Orders(NamedTuple):
    """What a strategy wants at each decision row of a span."""

    target: np.ndarray  # (L, N) weights, long only, sum <= 1
    trade: np.ndarray  # (L, N) bool, whether an order is given


class Setting(NamedTuple):
    """What a baseline may look at."""

    candles: Candles
    tradable: np.ndarray  # (T, N) bool, of the bar of the fill
    span: Stretches
    base_sizing: str
    rules: SizingRules
    delay: int
    mean_weights: np.ndarray  # (N,) of the agent on this span
    traded: float  # sum |delta| of the agent per bar, mean

    @property
    def shape(self) -> tuple[int, int]:
        """(L, N)."""
        return len(decision_rows(self.span)), len(self.candles.symbols)


def cash(setting: Setting) -> Orders:
    """Nothing, ever."""
    return every_bar(np.zeros(setting.shape))


def buy_and_hold(setting: Setting) -> Orders:
    """1/N of each asset at its first possible fill of a stretch, then no order."""
    trade = np.zeros(setting.shape, bool)
    offset = 0
    for start, stop in setting.span:
        possible = setting.tradable[start:stop]
        for n in np.flatnonzero(possible.any(0)):
            trade[offset + possible[:, n].argmax(), n] = True
        offset += stop - start
    return Orders(np.full(setting.shape, 1 / setting.shape[1]), trade)


def equal_weight(setting: Setting) -> Orders:
    """1/N of each asset, rebalanced every bar."""
    return every_bar(np.full(setting.shape, 1 / setting.shape[1]))


def base(setting: Setting) -> Orders:
    """Multiplier 1: the base position with the caps."""
    positions = base_positions(setting.base_sizing, setting.candles, setting.rules)
    capped = cap_targets(np.ones_like(positions), positions, setting.rules.max_position_pct, setting.rules.max_gross)
    return every_bar(delayed(capped, setting))


def vol_target(setting: Setting) -> Orders:
    """The vol-target position, at most fully invested."""
    positions = base_positions("vol-target", setting.candles, setting.rules)
    gross = np.maximum(positions.sum(1, keepdims=True), 1.0)
    return every_bar(delayed(positions / gross, setting))


def kelly(setting: Setting) -> Orders:
    """The Bayesian Kelly position, at most fully invested."""
    positions = base_positions("kelly", setting.candles, setting.rules)
    gross = np.maximum(positions.sum(1, keepdims=True), 1.0)
    return every_bar(delayed(positions / gross, setting))


def momentum(setting: Setting) -> Orders:
    """1/N in each asset whose return over the last 720 bars of its segment is positive, else nothing."""
    close = setting.candles.close
    rising = np.zeros(close.shape, bool)
    for start, stop in segments(setting.candles):
        now = close[start:stop]
        rising[start:stop][MOMENTUM_BARS:] = now[MOMENTUM_BARS:] > now[: max(0, len(now) - MOMENTUM_BARS)]
    return every_bar(delayed(rising / close.shape[1], setting))


def random(setting: Setting) -> Orders:
    """Jumps, at random bars, to weights drawn evenly from [0, twice the agent's mean], with the agent's turnover.

    Two draws differ by `2 m / 3` on average, so a jump comes with probability `traded / sum(2 m / 3)`.
    """
    rng = np.random.default_rng(0)
    per_jump = (2 * setting.mean_weights / 3).sum()
    chance = min(1.0, setting.traded / per_jump) if per_jump > 0 else 0.0
    rows, assets = setting.shape
    target = rng.uniform(0, 2, (rows, assets)) * setting.mean_weights
    target /= np.maximum(target.sum(1, keepdims=True), 1.0)
    jumps = rng.random((rows, 1)) < chance
    jumps[0] = True
    return Orders(target, np.broadcast_to(jumps, target.shape))


def constant(setting: Setting) -> Orders:
    """The agent's mean weights, rebalanced every bar: what is left of the agent is timing."""
    return every_bar(np.broadcast_to(setting.mean_weights, setting.shape))


BASELINES: dict[str, Callable[[Setting], Orders]] = {
    strategy.__name__: strategy
    for strategy in (cash, buy_and_hold, equal_weight, base, vol_target, kelly, momentum, random, constant)
}


def every_bar(target: np.ndarray) -> Orders:
    """An order at every row."""
    return Orders(target, np.ones(target.shape, bool))


def delayed(weights: np.ndarray, setting: Setting) -> np.ndarray:
    """Weights of all rows (T, N), `delay` rows late, at the decision rows (L, N)."""
    return late(weights, setting.candles, setting.delay)[decision_rows(setting.span)]


def all_orders(setting: Setting) -> Orders:
    """Every baseline, stacked: leaves (K, L, N) in the order of `BASELINES`."""
    orders = [strategy(setting) for strategy in BASELINES.values()]
    return Orders(*(np.stack(leaves) for leaves in zip(*orders, strict=True)))
