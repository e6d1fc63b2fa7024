"""Exchanges: their candles by ccxt, one page a call; what each of them cannot give, and what its volumes must be."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from himari_jax.errors import InputError, SourceError, first_line
from himari_jax.live.addresses import Route, route_from_environment
from himari_jax.live.clock import Clock, SystemClock
from himari_jax.live.feed import Page, empty_rows
from himari_jax.live.retries import TryAgainError, date_ms, retry, retry_after
from himari_jax.times import MINUTE_MS, bar_name

TIMEOUT_MS = 20_000
PAGE = 300  # bars of a call where ccxt does not know
UNITS = (0.5, 2.0)  # volume x close over the quote volume of a page; other units are off by far more


class Limits(NamedTuple):
    """Facts about an exchange that ccxt does not have."""

    newest: int | None = None  # candles that can be had at all
    rows: tuple[str, ...] = ()  # where the rows stand in its answer
    quote: int | None = None  # which number of a row is the volume in the quote currency


LIMITS = {
    "binance": Limits(quote=7),
    "binanceus": Limits(quote=7),
    "bybit": Limits(rows=("result", "list"), quote=6),
    "okx": Limits(rows=("data",), quote=7),
    "kraken": Limits(newest=720),
    "hyperliquid": Limits(newest=5000),
}


class ExchangeFeed:
    """Candles of an exchange; the methods are those of `himari_jax.live.feed.Feed`.

    Args:
        exchange: as ccxt calls it.
        clock: waits before a request is repeated.
        route: of the requests; None: by the environment.

    Raises:
        InputError: ccxt knows no such exchange, or it has no candles.
    """

    kind = "exchange"

    def __init__(self, exchange: str, clock: Clock | None = None, route: Route | None = None):
        import ccxt

        if exchange not in ccxt.exchanges:
            near = get_close_matches(exchange.lower(), ccxt.exchanges, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise InputError(
                f"--exchange {exchange}: ccxt knows no such exchange, it knows {len(ccxt.exchanges)}{meant}"
            )
        self.name, self.limits = exchange, LIMITS.get(exchange, Limits())
        self.clock = SystemClock() if clock is None else clock
        self.errors = ccxt
        self.api: Any = getattr(ccxt, exchange)({"timeout": TIMEOUT_MS, "enableRateLimit": True})
        if not self.api.has["fetchOHLCV"]:
            raise InputError(f"--exchange {exchange}: has no candles; allowed: another exchange")
        if exchange == "binance":  # its futures are other hosts, which some countries do not reach
            self.api.options["fetchMarkets"] = {"types": ["spot"]}
        self.broken, self.parsed = False, None
        self.api.parse_json = self._parse_json
        _apply_route(self.api, route_from_environment() if route is None else route)

    @cached_property
    def markets(self) -> Mapping[str, Any]:
        """The markets by symbol, asked for once."""
        where = f"{self.name}: its list of markets"
        return retry(lambda: self._call(self.api.load_markets), self.clock, where)

    def page_bars(self, bar_ms: int) -> int:
        """Bars that one call can have."""
        known = (self.api.features or {}).get("spot") or {}
        return int((known.get("fetchOHLCV") or {}).get("limit") or PAGE)

    def newest(self, bar_ms: int) -> int | None:
        """Number of candles, the newest, that the source still has; None: all since the listing."""
        return self.limits.newest

    def check(self, symbol: str, bar_ms: int) -> None:
        """Raises InputError where the exchange has no such symbol or bar."""
        bars = {self.api.parse_timeframe(text) * 1000: text for text in self.api.timeframes}
        if bar_ms not in bars:
            names = " ".join(bar_name(length) for length in sorted(bars) if length >= MINUTE_MS)
            raise InputError(f"--bar {bar_name(bar_ms)}: {self.name} has no such bars; it must be one of {names}")
        if symbol not in self.markets:
            near = get_close_matches(symbol.upper(), self.markets, 3, 0.7)
            meant = f"; near are {', '.join(near)}" if near else ""
            raise InputError(f"--symbols {symbol}: {self.name} has no such market; write names such as BTC/USDT{meant}")

    def about(self, symbol: str) -> dict[str, str]:
        """Further facts that identify the candles: none."""
        return {}

    def fetch(self, symbol: str, bar_ms: int, since_ms: int, bars: int | None = None) -> Page:
        """Candles that open at or after a moment, the running one among them.

        Raises:
            TryAgainError: the exchange is busy, did not answer, or its answer was cut.
            SourceError: it refuses, or its volumes are in other units than they should be.
        """
        self.check(symbol, bar_ms)
        timeframe = next(text for text in self.api.timeframes if self.api.parse_timeframe(text) * 1000 == bar_ms)
        most = min(bars or self.page_bars(bar_ms), self.page_bars(bar_ms))
        found = self._call(lambda: self.api.fetch_ohlcv(symbol, timeframe, since_ms, most))
        rows = np.array([[np.nan if x is None else float(x) for x in row[:6]] for row in found]).reshape(-1, 6)
        self._check_units(symbol, rows)
        return Page(rows if len(rows) else empty_rows(), date_ms(self.api.last_response_headers))

    def _call(self, request: Callable[[], Any]) -> Any:
        """Calls ccxt and turns its errors into ours."""
        api, errors = self.api, self.errors
        api.last_response_headers, self.broken = None, False
        try:
            found = request()
        except (errors.NetworkError, errors.OperationFailed) as error:
            after = retry_after(api.last_response_headers, self.clock.now_ms())
            raise TryAgainError(f"{type(error).__name__}: {first_line(error, 120)}", after) from error
        except errors.BaseError as error:
            raise SourceError(f"{self.name}: {type(error).__name__}: {first_line(error)}") from error
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            if not self.broken:
                raise
            raise TryAgainError("its answer is cut or is no JSON") from error
        if self.broken:
            raise TryAgainError("its answer is cut or is no JSON")
        return found

    def _parse_json(self, text: str) -> Any:
        """JSON of an answer; ccxt takes what is none for a text, and a cut list of candles for no candles."""
        try:
            self.parsed = self.api.on_json_response(text)
        except ValueError:
            self.broken, self.parsed = True, None
        return self.parsed

    def _check_units(self, symbol: str, rows: np.ndarray) -> None:
        """Raises SourceError where volume x close is not about the quote volume, where the exchange reports one."""
        if self.limits.quote is None:
            return
        raw: Any = self.parsed
        for key in self.limits.rows:
            raw = raw.get(key) if isinstance(raw, dict) else None
        money = {int(row[0]): float(row[self.limits.quote]) for row in raw or ()}
        known = rows[np.isin(rows[:, 0], list(money))]
        base, quote = float((known[:, 4] * known[:, 5]).sum()), sum(money[int(time)] for time in known[:, 0])
        low, high = UNITS
        if base > 0 and quote > 0 and not low <= base / quote <= high:
            raise SourceError(
                f"{self.name} {symbol}: volume x close is {base / quote:.3g} times the quote volume: the volume does "
                "not count the base asset; nothing was taken: another version of ccxt, or another exchange"
            )


def _apply_route(api: Any, route: Route) -> None:
    """Sends the requests of an exchange along a route."""
    if route.proxy is not None:
        setattr(api, "socksProxy" if route.proxy.startswith("socks") else "httpsProxy", route.proxy)
    if route.instead is not None:
        fetch = api.fetch
        api.fetch = lambda url, *args, **named: fetch(route.rewrite(url), *args, **named)
