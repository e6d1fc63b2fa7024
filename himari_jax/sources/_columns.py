"""Columns: which column of a table is which, and how a message names its cells."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.errors import InputError

if TYPE_CHECKING:
    import polars as pl

PRICES = ("open", "high", "low", "close")
# Earlier names win: epoch numbers leave no doubt, `date` beside `unix` often has no zone.
ALIASES = {
    "time": (
        *("unix", "unixtimestamp", "unixtime", "epoch", "opentime", "opentimestamp", "starttime", "timestamp"),
        *("timestamputc", "datetimeutc", "timeutc", "dateutc", "opentimeutc", "gmttime", "datetime", "time", "date"),
        *("ts", "t"),
    ),
    "open": ("open", "openprice", "priceopen", "o"),
    "high": ("high", "highprice", "pricehigh", "h"),
    "low": ("low", "lowprice", "pricelow", "l"),
    "close": ("close", "closeprice", "priceclose", "c"),
    "volume": ("volumebase", "basevolume", "basevol", "baseassetvolume", "volumefrom", "volume", "vol", "v"),
}
SYMBOL_NAMES = ("symbol", "ticker", "pair", "instrument")
PLAIN_VOLUME = ("volume", "vol", "v")
MONEY = ("usd", "usdt", "usdc", "busd", "fdusd", "tusd", "dai", "eur", "gbp", "jpy", "krw", "try", "chf", "aud", "cad")
QUOTES = (*MONEY, "btc", "xbt", "eth", "bnb")
# What `str.strip` takes for a space; polars alone would leave the four separators \x1c to \x1f.
SPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


@dataclass(frozen=True)
class Cells:
    """Where the cells of one column stand in a file."""

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
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def plain(name: str) -> str:
    """A name in lower case without punctuation: `Open Time` and `open_time` are the same."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def score(names: Sequence[str]) -> int:
    """How many of time, open, high, low and close stand among the names: says which line is a header."""
    found = {plain(name) for name in names}
    return sum(any(alias in found for alias in ALIASES[role]) for role in ("time", *PRICES))


def choose_columns(names: Sequence[str], symbol: str, origin: str) -> dict[str, int]:
    """The column of each role: time, open, high, low, close, volume (in units of the base asset).

    Raises:
        InputError: a column is missing or stands twice.
    """
    keys = [plain(name) for name in names]
    chosen = {}
    for role, aliases in ALIASES.items():
        aliases = (*_base_volumes(keys, symbol), *aliases) if role == "volume" else aliases
        name = next((alias for alias in aliases if alias in keys), None)
        if name is None:
            have = ", ".join(shown(name) for name in names[:12])
            raise InputError(f"{origin}: no column {role}; allowed names are {', '.join(aliases)}; found {have}")
        if keys.count(name) > 1:
            raise InputError(f"{origin}: {keys.count(name)} columns are called {name}; allowed: one column {role}")
        chosen[role] = keys.index(name)
    return chosen


def one_symbol(names: Sequence[str], columns: Iterable[Iterable[object]], origin: str) -> None:
    """Refuses a file that holds several symbols below each other.

    Raises:
        InputError: names two of them.
    """
    for name, column in zip(names, columns, strict=True):
        if plain(name) in SYMBOL_NAMES and len(found := sorted(map(str, set(column)))) > 1:
            two = " and ".join(shown(symbol) for symbol in found[:2])
            raise InputError(f"{origin}: column {shown(name)} holds {len(found)} symbols, {two}; allowed: one per file")


def _base_volumes(keys: Sequence[str], symbol: str) -> list[str]:
    """Columns such as `volume_btc` of a BTC symbol; `volume` beside one counts the money, not the coins."""
    tokens = [plain(token) for token in re.split(r"[^A-Za-z0-9]+", symbol)]
    shorn = [token.removesuffix(quote) for token in tokens for quote in QUOTES if token.endswith(quote)]
    named = [f"volume{base}" for base in (*shorn, *tokens) if base and f"volume{base}" in keys and base not in MONEY]
    coins = {key for key in keys if re.fullmatch("volume[a-z0-9]{2,6}", key)} - {f"volume{quote}" for quote in MONEY}
    coins -= set(ALIASES["volume"])
    return named or (list(coins) if len(coins) == 1 else [])


def volume_note(name: str) -> list[str]:
    """Says which column was taken where it is not called volume."""
    return [] if plain(name) in PLAIN_VOLUME else [f"volume from column {shown(name)}"]
