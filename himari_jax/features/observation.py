"""The observation: market features and account features, assembled alike in training, backtest and server.

The functions on arrays work with numpy and jax: an array names its own functions by `__array_namespace__`.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from himari_jax.candles import Candles
from himari_jax.features.market import BASE, Features, market_features, observation_names
from himari_jax.features.windows import Lookbacks, lookbacks

Array = Any  # of numpy or jax; `...` stands for axes of accounts side by side


class Holdings(NamedTuple):
    """An account in money and units: equity, units held and entry prices."""

    equity: float
    units: np.ndarray  # (N,)
    entry_price: np.ndarray  # (N,) average, fees excluded; anything where nothing is held


def account_state(holdings: Holdings, close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and entry ratios, (N,) each, of holdings at the newest closes."""
    weights = holdings.units * close / holdings.equity
    held = holdings.units > 0
    ratio = np.where(held, close / np.where(held, holdings.entry_price, 1.0), 1.0)
    return weights, ratio


def account_features(weights: Array, entry_ratio: Array) -> Array:
    """Position, entry distance, unrealized P&L and allocation of each asset, (..., N) -> (..., N, 4); 0 when flat."""
    xp = weights.__array_namespace__()
    held = weights > 0
    gross = weights.sum(-1, keepdims=True)
    columns = (
        weights,
        xp.where(held, entry_ratio - 1, 0),
        xp.where(held, weights * (1 - 1 / entry_ratio), 0),
        weights / xp.where(gross > 0, gross, 1),
    )
    return xp.stack(columns, axis=-1)


def herfindahl(weights: Array) -> Array:
    """`sum((w / sum(w))^2)`, (..., N) -> (...); 0 when flat."""
    xp = weights.__array_namespace__()
    gross = weights.sum(-1, keepdims=True)
    return ((weights / xp.where(gross > 0, gross, 1)) ** 2).sum(-1)


def assemble(features: Array, corr: Array, weights: Array, entry_ratio: Array) -> Array:
    """The observation: k market and 4 account numbers of each asset, then correlations and Herfindahl index.

    Args:
        features: (..., N, k) of the market at the decision row.
        corr: (..., P) pair correlations; P is 0 for one asset, whose observation ends before them.
        weights: (..., N) shares of equity held.
        entry_ratio: (..., N) price / average entry price.

    Returns:
        (..., D).
    """
    xp = weights.__array_namespace__()
    seen = xp.concat([features, account_features(weights, entry_ratio)], axis=-1)
    assets = seen.reshape((*weights.shape[:-1], -1))
    if corr.shape[-1] == 0:
        return assets
    return xp.concat([assets, corr, herfindahl(weights)[..., None]], axis=-1)


def observe(candles: Candles, weights: np.ndarray, entry_ratio: np.ndarray, features: Features = BASE) -> np.ndarray:
    """The observation of the newest bar, (D,) float32, as the environment builds it."""
    values, corr = market_features(candles, features)
    return assemble(values[-1], corr[-1], weights, entry_ratio).astype(np.float32)


def features_hash(symbols: Sequence[str], bar_ms: int, features: Features = BASE) -> str:
    """SHA-256 of the names of an observation's numbers, the bar and what they are made by, as hex.

    Symbols count by their place, a user's file by its SHA-256. Of `base` on bars of an hour it is that of 0.1.0.
    """
    places = tuple(f"asset{n}" for n in range(len(symbols)))
    span, usual = lookbacks(bar_ms)._asdict(), Lookbacks._field_defaults
    parts: list[Any] = [observation_names(places, features), bar_ms, {k: span[k] for k in span if k not in usual}]
    if periods := {name: span[name] for name in usual if span[name] != usual[name]}:
        parts.append(periods)
    if features.marks != BASE.marks:
        parts.append([features.marks, features.lookback(bar_ms)])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
