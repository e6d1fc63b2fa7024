"""CoinGecko: prices aggregated over exchanges, as candles on the grid of hours.

`market_chart/range` has the price of about every hour, a little off the hour, and what was traded in the 24 hours
before. The price nearest to an hour, within half of one, is the price of that hour. A candle opens at the price of its
beginning and closes at that of its end; high and low are the extremes of the prices from one to the other. Its volume
is the rolling figure of 24 hours at its end, in units of the coin: another thing than what was traded in the bar.
"""

import json
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import httpx
import numpy as np

from himari_jax.errors import InputError, SourceError, first_line
from himari_jax.live.addresses import Route, route_from_environment
from himari_jax.live.clock import Clock, SystemClock
from himari_jax.live.feed import Page, empty_rows
from himari_jax.live.retries import TryAgainError, date_ms, retry, retry_after
from himari_jax.times import DAY_MS, HOUR_MS, bar_name

DEMO_KEY, PRO_KEY = "COINGECKO_DEMO_API_KEY", "COINGECKO_PRO_API_KEY"  # environment
DEMO_DAYS = 365  # of history
WINDOW_MS = 90 * DAY_MS  # longer ones are answered with prices of days
TIMEOUT = 20.0  # seconds
SHOWN = 20  # candidates


class Access(NamedTuple):
    """One of CoinGecko's two hosts, and the key that it takes."""

    host: str
    headers: dict[str, str]
    days: int | None  # of history; None: all


def access(environment: Mapping[str, str]) -> Access:
    """The host that the keys in the environment are for; without one, the host of demo keys."""
    pro, demo = (environment.get(name) for name in (PRO_KEY, DEMO_KEY))
    if pro:
        return Access("https://pro-api.coingecko.com/api/v3", {"x-cg-pro-api-key": pro}, None)
    return Access("https://api.coingecko.com/api/v3", {"x-cg-demo-api-key": demo} if demo else {}, DEMO_DAYS)


class CoinGeckoFeed:
    """Prices of coins; the methods are those of `himari_jax.live.feed.Feed`.

    A symbol is BTC, BTC/EUR with another currency than usd, or the id of a coin.

    Args:
        ids: of coins by symbol, where symbols are not unique.
        clock: waits before a request is repeated.
        client: sends the requests; None: one of its own, by the route that the environment names.
    """

    name, kind = "coingecko", "aggregated"

    def __init__(self, ids: Mapping[str, str], clock: Clock | None = None, client: httpx.Client | None = None):
        route = route_from_environment() if client is None else Route()
        self.ids = {symbol.upper(): coin for symbol, coin in ids.items()}
        self.clock = SystemClock() if clock is None else clock
        self.access = access(os.environ)
        self.base = route.rewrite(self.access.host)
        self.client = client or httpx.Client(timeout=TIMEOUT, proxy=route.proxy, trust_env=False)

    @cached_property
    def coins(self) -> list[dict[str, str]]:
        """All coins with id, symbol and name, asked for once."""
        where = "coingecko: its list of coins"
        found, _ = retry(lambda: self._get("/coins/list", {}), self.clock, where)
        return [coin for coin in found if isinstance(coin, dict)]

    def page_bars(self, bar_ms: int) -> int:
        """Bars that one call can have."""
        return max(1, (WINDOW_MS - HOUR_MS) // bar_ms - 1)

    def newest(self, bar_ms: int) -> int | None:
        """Number of candles, the newest, that the source still has; None: all."""
        return None if self.access.days is None else self.access.days * DAY_MS // bar_ms

    def check(self, symbol: str, bar_ms: int) -> None:
        """Raises InputError where there is no such coin, several, or bars are no hours that divide a day."""
        if bar_ms % HOUR_MS or DAY_MS % bar_ms:
            raise InputError(
                f"--bar {bar_name(bar_ms)}: coingecko has prices of hours; it must be one of 1h 2h 3h 4h 6h 8h 12h 1d"
            )
        self.coin(symbol)

    def about(self, symbol: str) -> dict[str, str]:
        """The coin's id, and the currency of its prices."""
        return {"id": self.coin(symbol), "currency": self.split(symbol)[1]}

    def split(self, symbol: str) -> tuple[str, str]:
        """Coin and currency of a symbol: BTC/EUR, BTC-EUR; usd where none is named."""
        if symbol.upper() in self.ids or not any(mark in symbol for mark in "/-"):
            return symbol, "usd"
        if any(coin.get("id") == symbol for coin in self.coins):  # ids have hyphens
            return symbol, "usd"
        mark = "/" if "/" in symbol else "-"
        coin, _, currency = symbol.rpartition(mark)
        return coin, currency.lower()

    def coin(self, symbol: str) -> str:
        """The id of a coin.

        Raises:
            InputError: no coin is called so, or several are.
        """
        name, _ = self.split(symbol)
        if (pinned := self.ids.get(name.upper(), self.ids.get(symbol.upper()))) is not None:
            if not any(coin.get("id") == pinned for coin in self.coins):
                raise InputError(f"--coingecko.ids {symbol}={pinned}: coingecko has no coin of that id")
            return pinned
        if any(coin.get("id") == name for coin in self.coins):
            return name
        called = [coin for coin in self.coins if coin.get("symbol", "").lower() == name.lower()]
        if len(called) == 1:
            return called[0]["id"]
        if not called:
            raise InputError(f"--symbols {symbol}: coingecko has no coin of that symbol or id")
        some = ", ".join(f"{coin['id']} ({coin.get('name', '')})" for coin in called[:SHOWN])
        more = f" and {len(called) - SHOWN} more" if len(called) > SHOWN else ""
        raise InputError(
            f"--symbols {symbol}: {len(called)} coins have this symbol: {some}{more}; say which by its id: "
            f"--coingecko.ids {name}=ID"
        )

    def fetch(self, symbol: str, bar_ms: int, since_ms: int, bars: int | None = None) -> Page:
        """Candles that open at or after a moment and whose last price is known.

        Raises:
            TryAgainError: it is busy, did not answer, or its answer was cut.
            SourceError: it refuses.
        """
        self.check(symbol, bar_ms)
        begin = -(-since_ms // bar_ms) * bar_ms
        end = begin + (min(bars, self.page_bars(bar_ms)) if bars else self.page_bars(bar_ms)) * bar_ms
        query = {
            "vs_currency": self.split(symbol)[1],
            "from": str((begin - HOUR_MS // 2) // 1000),
            "to": str((end + HOUR_MS // 2) // 1000),
        }
        found, headers = self._get(f"/coins/{self.coin(symbol)}/market_chart/range", query)
        try:
            prices, volumes = (np.array(found[key], float).reshape(-1, 2) for key in ("prices", "total_volumes"))
        except (KeyError, TypeError, ValueError) as error:
            raise TryAgainError("its answer has no prices and volumes") from error
        rows = to_candles(prices, volumes, bar_ms)
        return Page(rows[(rows[:, 0] >= begin) & (rows[:, 0] < end)], date_ms(headers))

    def _get(self, path: str, query: Mapping[str, str]) -> tuple[Any, Mapping[str, str]]:
        """JSON of an answer, and its headers."""
        try:
            answer = self.client.get(self.base + path, params=query, headers=self.access.headers)
            content = answer.content
        except httpx.TransportError as error:  # no connection, no answer in time, an answer that ends too early
            raise TryAgainError(f"{type(error).__name__}: {first_line(error, 120)}") from error
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if answer.status_code == 429 or answer.status_code >= 500:
            after = retry_after(answer.headers, self.clock.now_ms())
            raise TryAgainError(f"HTTP {answer.status_code} {error_message(found)}".strip(), after)
        if answer.status_code != 200:
            raise SourceError(f"coingecko: HTTP {answer.status_code}: {error_message(found) or 'refused'}; {KEYS}")
        if found is None:
            raise TryAgainError("its answer is cut or is no JSON")
        return found, answer.headers


KEYS = f"a key goes into {DEMO_KEY} or {PRO_KEY}, each for its own host; without the latter {DEMO_DAYS} days can be had"


def error_message(found: Any) -> str:
    """Reads the message of an error of CoinGecko, which comes in three shapes; empty where there is none.

    `{"status": {"error_code": 429, "error_message": "..."}}`, the same below `error`, and `{"error": "..."}`.
    """
    inner = found.get("error", found) if isinstance(found, dict) else None
    status = inner.get("status", inner) if isinstance(inner, dict) else inner
    text = status.get("error_message", "") if isinstance(status, dict) else status or ""
    return " ".join(str(text).split())[:200]


def to_candles(prices: np.ndarray, volumes: np.ndarray, bar_ms: int) -> np.ndarray:
    """Candles of prices: those whose first and last price are known, (K, 6) as a page has them.

    Args:
        prices: (P, 2) times in epoch milliseconds, off the grid, and prices.
        volumes: (P, 2) times, and money traded in the 24 hours before.
        bar_ms: whole hours.
    """
    hours, price = on_grid(prices)
    money = dict(zip(*(column.tolist() for column in on_grid(volumes)), strict=True))
    at = {int(hour): k for k, hour in enumerate(hours)}
    rows = []
    for hour, k in at.items():
        last = at.get(hour + bar_ms)
        if hour % bar_ms or last is None or (hour + bar_ms) not in money:
            continue
        inside = price[k : last + 1]
        volume = money[hour + bar_ms] / price[last]
        rows.append((hour, price[k], inside.max(), inside.min(), price[last], volume))
    return np.array(rows) if rows else empty_rows()


def on_grid(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hours in order, epoch milliseconds, and the value nearest to each, of the later point where two are as near.

    The last hour counts from a point at or after it on: a nearer one may still come before.

    Args:
        points: (P, 2) times and values.
    """
    points = points[np.isfinite(points).all(1)]
    time = points[:, 0].astype(np.int64)
    hour = (time + HOUR_MS // 2) // HOUR_MS * HOUR_MS
    order = np.lexsort((time, -np.abs(time - hour), hour))  # the nearest of an hour comes last
    hour, value = hour[order], points[order, 1]
    last = np.append(np.diff(hour) > 0, True)[: len(hour)] & (hour <= time.max(initial=0))
    return hour[last], value[last]
