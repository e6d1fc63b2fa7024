"""Builds the market of candles and flags."""

from collections.abc import Sequence

import numpy as np

from envs.market import Market, build_market
from himari_jax.candles import Candles
from himari_jax.features.market import BASE, Features
from himari_jax.positions.base_positions import Base
from himari_jax.positions.sizing import SizingRules
from himari_jax.splits import Stretches, decision_rows
from train.config.market import MarketConfig


def market_from(
    candles: Candles,
    config: MarketConfig,
    delay: int = 0,
    base: Base | None = None,
    features: Features = BASE,
    computed: tuple[np.ndarray, np.ndarray] | None = None,
) -> Market:
    """Builds the market that the flags ask for, on the host.

    Args:
        candles: checked.
        config: base sizing with its rules, and the fill; its own delay is ignored.
        delay: bars by which features, correlations and base positions are late.
        base: instead of the base sizing of the flags.
        features: of the market.
        computed: the `market_features` of these candles, where they are known already.
    """
    rules, step, sizing = sizing_rules(config), config.step(candles.bar_ms), base or config.base_sizing
    return build_market(candles, sizing, rules, config.fill, delay, features=features, step=step, computed=computed)


def training_inputs(pairs: Sequence[tuple[Market, Stretches]]) -> tuple[np.ndarray, np.ndarray]:
    """Gathers features (L, N, k) and correlations (L, P) at all training decisions, to which the normalizer is fit.

    Args:
        pairs: market, on the host, and training span of each member.
    """
    rows = [decision_rows(span) for _, span in pairs]
    features = [market.features[own] for (market, _), own in zip(pairs, rows, strict=True)]
    corr = [market.corr[own] for (market, _), own in zip(pairs, rows, strict=True)]
    return np.concatenate(features), np.concatenate(corr)


def sizing_rules(market: MarketConfig) -> SizingRules:
    """Returns caps and parameters of the base sizing, from flags."""
    return SizingRules(
        max_position_pct=market.max_position_pct,
        max_gross=market.max_gross,
        kelly_fraction=market.kelly_fraction,
        kelly_prior_bars=market.kelly_prior_bars,
        kelly_half_life_days=market.kelly_half_life_days,
    )
