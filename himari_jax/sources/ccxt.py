"""Candles of an exchange, downloaded by ccxt (extra live) into a cache and read from there: --exchange, --since."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from himari_jax.candles import RawCandles
from himari_jax.errors import InputError
from himari_jax.live.clock import Clock
from himari_jax.live.feed import Feed
from himari_jax.sources.request import SourceRequest

LIVE = True  # --since and --until belong to it


@dataclass(frozen=True)
class Options:
    """Options of an exchange."""

    exchange: Annotated[str, tyro.conf.arg(aliases=["--exchange"])] = "binance"
    """The exchange, as ccxt calls it: binance, kraken, coinbase, bybit, okx, ..."""


def load(request: SourceRequest) -> list[RawCandles]:
    """Candles of each symbol, such as BTC/USDT, from `request.since` to `request.until`.

    What the cache has is not asked for again: the same request has the same candles.

    Raises:
        InputError: no such exchange, market or bar, or a history that the exchange no longer has.
        SourceError: the exchange does not answer.
    """
    if not request.symbols:
        raise InputError("--symbols: name markets of the exchange, such as BTC/USDT")
    from himari_jax.sources.cached import load_cached

    return load_cached(live_feed(request.options or Options()), request)


def live_feed(options: Options, clock: Clock | None = None) -> Feed:
    """The exchange, to be asked again and again.

    Raises:
        InputError: no such exchange.
    """
    from himari_jax.live.exchange import ExchangeFeed

    return ExchangeFeed(options.exchange, clock)
