"""Answers of exchanges and data services saved as JSON: read as the same candles, or refused with the reason."""

import json

import numpy as np
import pytest
from candle_files import outcome, read
from vendor_rows import series

from himari_jax.candles import COLUMNS

ROWS = [[int(time), *candle] for time, *candle in series(1).tolist()]
TIME, OPEN, HIGH, LOW, CLOSE, VOLUME = map(list, zip(*ROWS, strict=True))
TEXTS = [list(map(str, row)) for row in ROWS]
OBJECTS = [dict(zip("tohlcv", row, strict=True)) for row in ROWS]
SECONDS = [time // 1000 for time in TIME]
LISTS = {"t": SECONDS, "o": OPEN, "h": HIGH, "l": LOW, "c": CLOSE, "v": VOLUME}
NAMED = [dict(zip(("time", *COLUMNS), row, strict=True)) for row in ROWS]
READ = {
    "ccxt": ROWS,
    "Binance": [[*row, row[0] + 3_599_999, "1.0", 5, "1", "1", "0"] for row in ROWS],
    "Bybit": {"retCode": 0, "result": {"symbol": "BTCUSDT", "list": [[*row, "1"] for row in TEXTS]}, "time": 1705},
    "OKX": {"code": "0", "msg": "", "data": [[*row, "1", "1", "1"] for row in TEXTS]},
    "Bitstamp": {"data": {"pair": "BTC/USD", "ohlc": NAMED}},
    "Finnhub": {**LISTS, "s": "ok"},
    "Deribit": {"result": {"ticks": TIME, "open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}},
    "Polygon": {"ticker": "X:BTCUSD", "results": [{**row, "vw": 1.0, "n": 5} for row in OBJECTS], "status": "OK"},
    "Alpaca": {"bars": {"BTC/USD": OBJECTS}, "next_page_token": None},
    "Hyperliquid": [{**row, "T": row["t"] + 3_599_999, "s": "BTC", "i": "1h", "n": 5} for row in OBJECTS],
    "a list in a list": [{"symbol": "BTCUSDT_PERP.A", "history": OBJECTS}],
    "tables of something else beside": {"symbols": [{"id": 1, "name": "BTC"}], "bars": OBJECTS},
    "pandas table": {"schema": {"fields": [{"name": "time", "type": "integer"}]}, "data": NAMED},
    "pandas records": NAMED,
    "pandas columns": {
        name: {str(row[0]): row[k] for row in ROWS} for k, name in enumerate(COLUMNS, 1)
    },
    "pandas index": {str(row[0]): dict(zip(COLUMNS, row[1:], strict=True)) for row in ROWS},
    "Alpha Vantage": {
        "Meta Data": {"1. Information": "x", "6. Time Zone": "UTC"},
        "Time Series (60min)": {
            str(row[0]): {f"{k}. {name}": str(x) for k, (name, x) in enumerate(zip(COLUMNS, row[1:], strict=True), 1)}
            for row in ROWS
        },
    },
}  # fmt: skip
REFUSED = {
    "Kraken, a mean price before the volume": (
        {"error": [], "result": {"XXBTZUSD": [[t, o, h, low, c, (h + low) / 2, v] for t, o, h, low, c, v in ROWS]}},
        "may be a volume or another price",
    ),
    "Coinbase": ([[t, low, h, o, c, v] for t, o, h, low, c, v in ROWS], "open and close or close and open"),
    "Bitfinex": ([[t, o, c, h, low, v] for t, o, h, low, c, v in ROWS], "open and close or close and open"),
    "CoinGecko's prices": ({"prices": [[row[0], row[4]] for row in ROWS]}, "no table of candles"),
    "two symbols": ({"bars": {"BTC/USD": OBJECTS, "ETH/USD": OBJECTS}}, "2 tables, 'BTC/USD', 'ETH/USD'"),
    "an error": ({"code": -1121, "msg": "Invalid symbol."}, "no table of candles"),
    "nothing": ([], "no candles"),
    "two currencies": (
        [
            {"t": row["time"], **{f"{name}_{money}": row[name] for money in ("usd", "eur") for name in COLUMNS}}
            for row in NAMED
        ],
        "prices in usd and in eur",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_the_candles_of_every_answer_are_the_same(name):
    raw = read(json.dumps(READ[name]), suffix=".json")
    np.testing.assert_array_equal(np.stack([raw.time, *(getattr(raw, name) for name in COLUMNS)], axis=1), series(1))
    assert raw.faults == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_wrongly_is_refused_with_the_reason(name):
    value, words = REFUSED[name]
    found = outcome(lambda: read(json.dumps(value), suffix=".json", symbol="market"))
    assert words in found
