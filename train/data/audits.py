"""Audits the user's code that makes inputs of a training: own features, and the base sizing."""

from collections.abc import Mapping
from typing import Any

from himari_jax.candles import Candles
from himari_jax.features.audit import audit_features
from himari_jax.features.market import Features
from himari_jax.positions.audit import audit_sizing
from himari_jax.positions.base_positions import Base
from train.config.market import MarketConfig
from train.data.market import sizing_rules


def audit_inputs(
    parts: Mapping[int, Candles], features: Features, account: MarketConfig, base: Base, audited: set[Any]
) -> None:
    """Refuses own features, or a base sizing, that know later candles or give what is no number or no position.

    Args:
        parts: candles by the number of the part; other futures are tried on the base sizing in the longest one.
        features: of the market.
        account: flags.
        base: positions of a file need no audit.
        audited: base sizings that passed, by part, rules and first row; is added to.

    Raises:
        InputError: one line.
    """
    longest, rules = max(parts, key=lambda number: len(parts[number].time)), sizing_rules(account)
    for number, candles in parts.items():
        audit_features(features, candles)
        first = max(0, features.lookback(candles.bar_ms) - 1 - account.delay)
        key = (number, base, rules, first)
        if isinstance(base, str) and key not in audited:
            audit_sizing(base, candles, rules, first, futures=number == longest)
            audited.add(key)
