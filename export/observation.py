"""The observation that the server builds: market features of the newest candles and the caller's account; no jax."""

from typing import NamedTuple

import numpy as np

from himari_jax.candles import Candles
from himari_jax.features import market_features


class Account(NamedTuple):
    """What the caller holds, in money and units."""

    equity: float
    units: np.ndarray  # (N,)
    entry_price: np.ndarray  # (N,) average, fees excluded; anything where nothing is held


def account_state(account: Account, close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and entry ratios, (N,) each, of an account at the newest closes."""
    weights = account.units * close / account.equity
    held = account.units > 0
    ratio = np.where(held, close / np.where(held, account.entry_price, 1.0), 1.0)
    return weights, ratio


def observe(candles: Candles, weights: np.ndarray, entry_ratio: np.ndarray) -> np.ndarray:
    """The observation of the newest bar, (D,) float32, as the environment builds it."""
    features, corr = market_features(candles)
    return assemble(features[-1], corr[-1], weights, entry_ratio)


def assemble(features: np.ndarray, corr: np.ndarray, weights: np.ndarray, entry_ratio: np.ndarray) -> np.ndarray:
    """Market rows (N, 12), (P,) and the account's weights and entry ratios (N,) -> (D,) float32."""
    held, gross = weights > 0, weights.sum()
    allocation = weights / gross if gross > 0 else np.zeros_like(weights)
    distance = np.where(held, entry_ratio - 1, 0.0)
    profit = np.where(held, weights * (1 - 1 / entry_ratio), 0.0)
    account = np.stack([weights, distance, profit, allocation], -1)
    assets = np.concatenate([features, account], -1).ravel()
    if not len(corr):
        return assets.astype(np.float32)
    return np.concatenate([assets, corr, [np.sum(allocation**2)]]).astype(np.float32)
