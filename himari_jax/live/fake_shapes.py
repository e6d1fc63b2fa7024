"""Formats of the answers of Binance, Kraken and CoinGecko: markets and candles."""

from collections.abc import Callable
from typing import Any

import numpy as np

from himari_jax.times import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS

KRAKEN_NEWEST = 720  # candles of an answer, whatever is asked for
IDS = {"BTC": "bitcoin", "ETH": "ethereum"}  # of coins; others are called by their symbol
DECOYS = [{"id": "batcat", "symbol": "btc", "name": "batcat"}]  # symbols are not unique


def listing(name: str, symbols: list[str]) -> Any:
    """The markets: exchangeInfo of Binance, AssetPairs of Kraken, the list of coins of CoinGecko."""
    pairs = [tuple(symbol.split("/")) for symbol in symbols]
    if name == "exchangeInfo":
        return {"symbols": [binance_market(base, quote) for base, quote in pairs]}
    if name == "AssetPairs":
        return {"error": [], "result": {kraken_id(base, quote): kraken_market(base, quote) for base, quote in pairs}}
    bases = dict.fromkeys(base for base, _ in pairs)
    if name == "Assets":
        coins = {kraken_code(code): {"altname": kraken_code(code), "decimals": 8} for pair in pairs for code in pair}
        return {"error": [], "result": coins}
    listed = [{"id": coin_id(base), "symbol": base.lower(), "name": coin_id(base).title()} for base in bases]
    return [*DECOYS, *listed]


def binance_market(base: str, quote: str) -> dict[str, Any]:
    """A market as Binance lists it."""
    sizes = {"baseAssetPrecision": 8, "quotePrecision": 8, "filters": [], "permissions": ["SPOT"]}
    return {"symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote, **sizes}


def kraken_market(base: str, quote: str) -> dict[str, Any]:
    """A market as Kraken lists it."""
    names = {"altname": kraken_id(base, quote), "wsname": f"{base}/{quote}", "base": kraken_code(base), "quote": quote}
    return {
        **names,
        "pair_decimals": 2,
        "lot_decimals": 8,
        "fees": [[0, 0.26]],
        "fees_maker": [[0, 0.16]],
        "status": "online",
    }


def kraken_code(base: str) -> str:
    """Kraken's own name of a coin."""
    return "XBT" if base == "BTC" else base


def kraken_id(base: str, quote: str) -> str:
    """Kraken's own name of a market."""
    return kraken_code(base) + quote


def coin_id(base: str) -> str:
    """CoinGecko's id of a coin."""
    return IDS.get(base, base.lower())


def asked_for(path: list[str], query: dict[str, str], symbols: list[str]) -> tuple[str, str, int | None]:
    """The shape, the symbol and the bar that a request is for; None: prices have no bar.

    Raises:
        LookupError: status and body of the refusal.
    """
    pairs = {symbol: tuple(symbol.split("/")) for symbol in symbols}
    if path[-1:] == ["klines"]:
        found = [symbol for symbol, pair in pairs.items() if "".join(pair) == query.get("symbol")]
        if not found:
            raise LookupError(400, {"code": -1121, "msg": "Invalid symbol."})
        return "klines", found[0], bar_of(query["interval"])
    if path[-1:] == ["OHLC"]:
        found = [symbol for symbol, pair in pairs.items() if kraken_id(*pair) == query.get("pair")]
        if not found:
            raise LookupError(200, {"error": ["EQuery:Unknown asset pair"]})
        return "OHLC", found[0], int(query["interval"]) * MINUTE_MS
    if path[:3] == ["api", "v3", "coins"] and len(path) > 4:
        found = [symbol for symbol, pair in pairs.items() if coin_id(pair[0]) == path[3]]
        if not found:
            raise LookupError(404, {"error": "coin not found"})
        return "/".join(path[4:]), found[0], None
    raise LookupError(404, {"error": "no such address"})


def bar_of(interval: str) -> int:
    """Milliseconds of Binance's name of a bar."""
    return int(interval[:-1]) * {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}[interval[-1]]


def klines(rows: np.ndarray, query: dict[str, str], now: int, bar_ms: int, factor: float) -> Any:
    """Binance: from startTime on, at most 1000, the running candle among them; volumes in coin and in money."""
    limit = min(int(query.get("limit", 500)), 1000)
    begin, end = int(query.get("startTime", 0)), int(query.get("endTime", 2**62))
    inside = rows[(rows[:, 0] >= begin) & (rows[:, 0] <= end)]
    inside = inside[:limit] if "startTime" in query else inside[-limit:]
    return [
        [
            int(t),
            repr(o),
            repr(h),
            repr(low),
            repr(c),
            repr(v * factor),
            int(t) + bar_ms - 1,
            repr(v * c),
            9,
            "0",
            "0",
            "0",
        ]
        for t, o, h, low, c, v in inside.tolist()
    ]


def ohlc_kraken(rows: np.ndarray, query: dict[str, str], now: int, bar_ms: int, factor: float) -> Any:
    """Kraken: those after `since` among the newest 720, the running candle among them; no volume in money."""
    since = float(query.get("since", 0)) * 1000
    newest = rows[-KRAKEN_NEWEST:]
    candles = [
        [int(t) // 1000, repr(o), repr(h), repr(low), repr(c), repr(c), repr(v * factor), 9]
        for t, o, h, low, c, v in newest[newest[:, 0] > since].tolist()
    ]
    return {"error": [], "result": {query["pair"]: candles, "last": int(rows[-1, 0]) // 1000 if len(rows) else 0}}


def market_chart(rows: np.ndarray, query: dict[str, str], now: int, bar_ms: int, factor: float) -> Any:
    """CoinGecko: prices off the grid, every 5 minutes, hour or day by the length of the window; volumes of 24 hours."""
    begin, end = float(query["from"]) * 1000, min(float(query["to"]) * 1000, now)
    window = float(query["to"]) * 1000 - begin
    step = 300_000 if window <= DAY_MS else HOUR_MS if window <= 90 * DAY_MS else DAY_MS
    time = np.arange(-(-begin // step) * step, end + 1, step)
    off = (time // step % 11) * 20_000.0 % (step / 2)  # up to 200 s late
    price = np.interp(time, np.append(rows[:, 0], min(rows[-1, 0] + bar_ms, now)), np.append(rows[:, 1], rows[-1, 4]))
    spent = np.append(0.0, np.cumsum(rows[:, 4] * rows[:, 5]))
    at = [np.searchsorted(rows[:, 0] + bar_ms, moment, side="right") for moment in (time, time - DAY_MS)]
    volume = (spent[at[0]] - spent[at[1]]) * factor
    known = (
        (time + off <= now)
        & (time >= rows[0, 0])
        & np.isin(time // HOUR_MS * HOUR_MS, np.append(rows[:, 0], rows[-1, 0] + bar_ms))
    )
    points = np.column_stack([time + off, price, volume])[known]
    return {"prices": points[:, :2].tolist(), "market_caps": [], "total_volumes": points[:, [0, 2]].tolist()}


def ohlc_coingecko(rows: np.ndarray, query: dict[str, str], now: int, bar_ms: int, factor: float) -> Any:
    """CoinGecko: candles of 4 hours or days, stamped with their close, without a volume."""
    step = 4 * HOUR_MS if float(query.get("days", 1)) <= 30 else 4 * DAY_MS
    candles = longer(rows, step)[-180:, :5]
    candles[:, 0] += step
    return candles.tolist()


def longer(rows: np.ndarray, bar_ms: int) -> np.ndarray:
    """Candles of a longer bar.

    Args:
        rows: (K, 6) of a bar that divides it.
        bar_ms: of the result.
    """
    begins, first = np.unique(rows[:, 0] // bar_ms * bar_ms, return_index=True)
    last = np.append(first[1:], len(rows)) - 1
    highs, lows = np.maximum.reduceat(rows[:, 2], first), np.minimum.reduceat(rows[:, 3], first)
    volumes = np.add.reduceat(rows[:, 5], first)
    return np.column_stack([begins, rows[first, 1], highs, lows, rows[last, 4], volumes])


FORMATS: dict[str, Callable[[np.ndarray, dict[str, str], int, int, float], Any]] = {
    "klines": klines,
    "OHLC": ohlc_kraken,
    "market_chart/range": market_chart,
    "ohlc": ohlc_coingecko,
}
