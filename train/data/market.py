"""From candles and flags to a market."""

from envs.market import Market, build_market
from himari_jax.candles import Candles
from himari_jax.features import BASE, Features
from himari_jax.sizing import SizingRules
from train.config.market import MarketConfig


def market_of(candles: Candles, config: MarketConfig, features: Features = BASE) -> Market:
    """The market as a strategy sees it, without delay."""
    return build_market(candles, config.base_sizing, sizing_rules(config), config.fill, features=features)


def sizing_rules(market: MarketConfig) -> SizingRules:
    """Caps and parameters of the base sizing, from flags."""
    return SizingRules(
        max_position_pct=market.max_position_pct,
        max_gross=market.max_gross,
        kelly_fraction=market.kelly_fraction,
        kelly_prior_bars=market.kelly_prior_bars,
        kelly_half_life_days=market.kelly_half_life_days,
    )
