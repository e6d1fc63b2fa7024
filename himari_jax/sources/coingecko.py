"""Prices of CoinGecko, aggregated over exchanges: its volumes are rolling figures of 24 hours. --since, keys below."""

from dataclasses import dataclass

from himari_jax.candles import RawCandles
from himari_jax.command import require
from himari_jax.errors import InputError
from himari_jax.live.clock import Clock
from himari_jax.live.feed import Feed
from himari_jax.sources.request import SourceRequest

LIVE = True  # --since and --until belong to it


@dataclass(frozen=True)
class Options:
    """Options of CoinGecko; keys are read from COINGECKO_DEMO_API_KEY and COINGECKO_PRO_API_KEY."""

    ids: tuple[str, ...] = ()
    """Ids of coins whose symbols others have, too: BTC=bitcoin ETH=ethereum."""

    def __post_init__(self) -> None:
        """Refuses what is no pair."""
        for text in self.ids:
            symbol, mark, coin = text.partition("=")
            require(bool(symbol and mark and coin), "--coingecko.ids", text, "SYMBOL=ID, such as BTC=bitcoin")

    @property
    def pinned(self) -> dict[str, str]:
        """Ids by symbol."""
        return {text.partition("=")[0]: text.partition("=")[2] for text in self.ids}


def load(request: SourceRequest) -> list[RawCandles]:
    """Candles of each coin, such as BTC, BTC/EUR or bitcoin, from `request.since` to `request.until`.

    What the cache has is not asked for again: the same request has the same candles.

    Raises:
        InputError: no such coin, several of that symbol, or a history that cannot be had.
        SourceError: CoinGecko does not answer.
    """
    if not request.symbols:
        raise InputError("--symbols: name coins, such as BTC or bitcoin")
    from himari_jax.sources.cached import load_cached

    return load_cached(live_feed(request.options or Options()), request)


def live_feed(options: Options, clock: Clock | None = None) -> Feed:
    """CoinGecko, to be asked again and again."""
    from himari_jax.live.coingecko import CoinGeckoFeed

    return CoinGeckoFeed(options.pinned, clock)
