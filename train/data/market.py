"""From candles and flags to a market."""

from envs.market import Market, build_market
from himari_jax.base_positions import Base
from himari_jax.candles import Candles
from himari_jax.sizing import SizingRules
from train.config.market import MarketConfig


def market_of(candles: Candles, config: MarketConfig, base: Base | None = None) -> Market:
    """The market as a strategy sees it; with another base than the sizing of the flags where one is given."""
    return build_market(candles, base or config.base_sizing, sizing_rules(config), config.fill)


def sizing_rules(market: MarketConfig) -> SizingRules:
    """Caps and parameters of the base sizing, from flags."""
    return SizingRules(
        max_position_pct=market.max_position_pct,
        max_gross=market.max_gross,
        kelly_fraction=market.kelly_fraction,
        kelly_prior_bars=market.kelly_prior_bars,
        kelly_half_life_days=market.kelly_half_life_days,
    )
