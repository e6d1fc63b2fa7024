"""Columns: which column of a table is which, and how a message names its cells."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.errors import InputError
from himari_jax.reading.names import QUOTES, plain

if TYPE_CHECKING:
    import polars as pl

PRICES = ("open", "high", "low", "close")
# Earlier names win: epoch numbers leave no doubt, `date` beside `unix` often has no zone.
ALIASES = {
    "time": (
        *("unix", "unixtimestamp", "unixtime", "epoch", "timeperiodstart", "windowstart", "opentime", "opentimestamp"),
        *("timeopen", "starttime", "candledatetimeutc", "timestamp", "timestamputc", "datetimeutc", "timeutc"),
        *("dateutc", "opentimeutc", "gmttime", "datetime", "time", "date", "tsevent", "ts", "t"),
        *(
            "timestampms",
            "start",
            "begin",
            "localtime",
            "tradedate",
            "tradingday",
            "day",
            "dt",
            "日期",
            "时间",
            "交易日期",
        ),
        *("datum", "fecha", "дата", "data"),
    ),
    "open": (
        *("open", "openprice", "priceopen", "openingprice", "o", "开盘", "开盘价"),
        *("eröffnung", "eröffn", "ouv", "apertura", "abertura", "откр"),
    ),
    "high": (
        *("high", "highprice", "pricehigh", "h", "最高", "最高价"),
        *("hoch", "plushaut", "máximo", "máxima", "massimo", "макс"),
    ),
    "low": (
        *("low", "lowprice", "pricelow", "l", "最低", "最低价"),
        *("tief", "plusbas", "mínimo", "mínima", "minimo", "мин"),
    ),
    "close": (
        *("close", "closeprice", "priceclose", "closingprice", "c", "tradeprice", "closelast", "last", "lastprice"),
        *("price", "收盘", "收盘价", "schluss", "schlusskurs", "zuletzt", "dernier", "último", "ultimo", "цена"),
    ),
    "volume": (
        *("homenotional", "volumebase", "basevolume", "basevol", "baseassetvolume", "volumefrom", "volume", "vol", "v"),
        *("volumetraded", "candleacctradevolume", "totalvolume", "realvolume", "成交量", "volumen", "объём"),
    ),
}
CLOCK_NAMES = (*ALIASES["time"], "hour", "hhmm", "hhmmss", "clock", "timeofday", "bartime", "tradetime")
TICK_VOLUMES = ("tickvolume", "tickvol", "tickqty", "ticks")  # number of price changes, where no volume is known
# Times that are not those of the open.
OTHER_TIMES = re.compile("(close|end|expiry|high|low|last|update|settle).*|.*(close|end|high|low|last)(time|date|ms)?")
SYMBOL_NAMES = (
    *("symbol", "ticker", "pair", "instrument", "tic", "name", "asset", "code", "market", "coin", "currency"),
    *("productid", "secid", "assetid", "symbolid", "instrumentid", "stockcode", "tscode", "cryptoname", "coinname"),
    *("stock", "品种", "股票代码", "代码"),
)
PLAIN_VOLUME = ("volume", "vol", "v")
# The characters that `str.strip` takes for a space; polars alone would leave the four separators \x1c to \x1f.
SPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


@dataclass(frozen=True)
class Cells:
    """The cells of one column and their rows in the file, for messages."""

    origin: str
    name: str
    row: np.ndarray  # (T,) int64, row of the file
    values: Callable[[], "pl.Series"]  # gives all cells (T,), texts or numbers, when a message needs one

    def refuse(self, index: int | np.integer, what: str, allowed: str) -> InputError:
        """The error that names file, row, column and value of one cell."""
        place = f"{self.origin}: row {self.row[index]}, column {shown(self.name)}"
        return InputError(f"{place}: {shown(self.values()[int(index)])} {what}; allowed: {allowed}")


def shown(text: object) -> str:
    """A cell, quoted and short, for a message of one line."""
    text = str(text)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def header_key(name: str) -> str:
    """A column's name for the tables above, without a number before it: `1. open` is `open`."""
    return plain(re.sub(r"^\s*\d+[a-z]?[.)]\s+", "", name))


def score(names: Sequence[str]) -> int:
    """Counts how many of time, open, high, low and close are among the names: a header has many."""
    found = {header_key(name) for name in names}
    timed = any(alias in found for alias in ALIASES["time"])
    return timed + max(sum(any(x + end in found for x in ALIASES[role]) for role in PRICES) for end in ("", *QUOTES))


def volume_note(name: str) -> list[str]:
    """Says which column was taken where it is not called volume."""
    return [] if plain(name) in PLAIN_VOLUME else [f"volume from column {shown(name)}"]
