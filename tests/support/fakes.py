"""A fake exchange with a market of chance, and live sources that ask it in this process."""

import numpy as np
import pytest

from himari_jax.live.clock import SimulatedClock
from himari_jax.live.fake import FakeExchange
from himari_jax.live.paging import read_pages
from himari_jax.times import HOUR_MS

START = 1_704_067_200_000  # 2024-01-01
SYMBOL = "BTC/USDT"


def market_rows(count, seed=0, start=START):
    """Hourly candles of chance that open where the one before closed, (count, 6)."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(count)))
    open_ = np.append(100.0, close[:-1])
    high = np.maximum(open_, close) * (1 + 0.002 * rng.random(count))
    low = np.minimum(open_, close) * (1 - 0.002 * rng.random(count))
    return np.column_stack([start + HOUR_MS * np.arange(count), open_, high, low, close, 5 + 10 * rng.random(count)])


def world(count=100, now_bars=None, **named):
    """A fake with a market of `count` hours, whose now lies a minute after `now_bars` of them; and its clock."""
    rows = named.pop("rows", None)
    candles = {SYMBOL: market_rows(count) if rows is None else rows}
    clock = SimulatedClock(START + HOUR_MS * (count if now_bars is None else now_bars) + 60_000)
    return FakeExchange(candles, HOUR_MS, clock, **named), clock


def exchange_on(fake, clock, name="binance"):
    """An exchange of ccxt that asks a fake."""
    pytest.importorskip("ccxt")
    from himari_jax.live.addresses import Route
    from himari_jax.live.exchange import ExchangeFeed
    from himari_jax.live.fake_server import route_ccxt_to

    feed = ExchangeFeed(name, clock, Route())
    route_ccxt_to(feed.api, fake)
    return feed


def coins_on(fake, clock, ids=None):
    """CoinGecko that is a fake."""
    pytest.importorskip("httpx")
    from himari_jax.live.coingecko import CoinGeckoFeed
    from himari_jax.live.fake_server import httpx_client_of

    return CoinGeckoFeed({"BTC": "bitcoin"} if ids is None else ids, clock, httpx_client_of(fake))


def read_all(feed, clock, symbol=SYMBOL, bar_ms=HOUR_MS, since=START, until=2**60, notes=None):
    """All closed candles of a source, (K, 6)."""
    note = (lambda line: None) if notes is None else notes.append
    return np.concatenate([np.zeros((0, 6)), *read_pages(feed, symbol, bar_ms, since, until, clock, note)])
