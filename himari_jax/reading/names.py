"""Names: of columns, symbols and files, compared without case and punctuation."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from himari_jax.times import BAR_UNITS, MINUTE_MS, WEEK_MS

MONEY = ("usd", "usdt", "usdc", "busd", "fdusd", "tusd", "dai", "eur", "gbp", "jpy", "krw", "try", "chf", "aud", "cad")
QUOTES = (*MONEY, "btc", "xbt", "eth", "bnb")
SEPARATOR = r"[\W_]+"  # between the tokens of a name, letters and digits of any script being none
# What stands in the name of a file beside a symbol, a bar and dates, and says nothing about which market it is.
NOISE = frozenset(
    "ascii ask audit bars bid candle candles candlestick csv dat data day daily export full futures hist historical "
    "history hour hourly kline klines last latest market min minute minutes month monthly of ohlc ohlcv price "
    "prices quotes raw spot tf timeframe to utc week weekly year yearly "
    "binance binanceus bitfinex bitget bitmex bitstamp bybit cex cmc coinapi coinbase coinbasepro coingecko deribit "
    "dukascopy finam gateio gemini hitbtc histdata htx huobi kraken kucoin mexc mt4 mt5 okex okx poloniex stooq "
    "tiingo tradingview upbit yahoo yfinance".split()
)
YEAR, MONTH, DAY = r"(?:19|20)\d{2}", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
DATED = re.compile(
    rf"[-_. ]*(?:(?<!\d){YEAR}(?:(?P<mark>[-_.])\d{{1,2}}(?:(?P=mark)\d{{1,2}})?|{MONTH}(?:{DAY})?)?(?!\d)"
    rf"|(?<!\d)\d{{1,2}}(?P<dot>[-_.])\d{{1,2}}(?P=dot){YEAR}(?!\d))"
)
EXPIRY = re.compile(r"\d{6}")  # one alone is the day on which a future ends: BTCUSD_240329; two are a span
STAMP = re.compile(r"\d+(t\d+z?)?")  # a date, an epoch number, minutes of a bar
UNITS = {**BAR_UNITS, "t": MINUTE_MS, "w": WEEK_MS}
WORDS_OF_BARS = {"minute": "1m", "hour": "1h", "hourly": "1h", "day": "1d", "daily": "1d", "weekly": "1w", "week": "1w"}
BAR = re.compile(r"(\d+)([mthdw])(?:in|ins|inute|inutes|r|rs|our|ours|ay|ays|eek|eeks)?")
METATRADER = re.compile(r"([mhdw])(\d+)")


def plain(name: str) -> str:
    """A name in lower case, letters and digits of any script alone: `Open Time` and `open_time` are the same."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())


def tokens(name: str) -> list[str]:
    """The words of a name: `Binance_BTCUSDT_1h` has three."""
    return [plain(word) for word in re.split(SEPARATOR, name) if plain(word)]


def spellings(symbol: str) -> set[str]:
    """Plain spellings of a symbol: USD also as USDT."""
    return {plain(symbol), re.sub("usd$", "usdt", plain(symbol))} - {""}


def bar_of_token(token: str) -> int | None:
    """Milliseconds of the bar that a word of a file's name stands for: `1h`, `H1`, `15min`; None: it is no bar."""
    text = WORDS_OF_BARS.get(token, token)
    if match := BAR.fullmatch(text):
        return int(match[1]) * UNITS[match[2]] or None
    if match := METATRADER.fullmatch(text):
        return int(match[2]) * UNITS[match[1]] or None
    return None


def bar_of_name(name: str) -> int | None:
    """The only bar that a file's name holds; None: none, or several."""
    found = {bar for token in tokens(undated(name)) if (bar := bar_of_token(token))}
    return found.pop() if len(found) == 1 else None


def undated(stem: str) -> str:
    """The name of a file without its dates: `BTCUSDT-1h-2024-03` is a part of `BTCUSDT-1h`; empty: dates alone."""
    return re.sub(r"[-_. ]+to(?=$|[-_. ])|^[-_. ]+", "", DATED.sub("", stem), flags=re.IGNORECASE)


def symbol_of(stem: str) -> str:
    """The name of a file without dates, bars, vendors and other words around the symbol; itself if nothing is left."""
    name = undated(stem)
    words = [(match.start(), match.end()) for match in re.finditer(r"[^\W_]+", name)]
    kept = [place for place in words if not _is_noise(plain(name[slice(*place)]))]
    return name[kept[0][0] : kept[-1][1]] if kept else stem


def names_symbol(stem: str, symbol: str) -> bool:
    """Whether the name of a file is the symbol beside words that say nothing about the market: bars, dates, vendors."""
    words, wanted = tokens(undated(stem)), spellings(symbol)
    if sum(EXPIRY.fullmatch(word) is not None for word in words) == 1:
        return "".join(words) in wanted
    for first in range(len(words)):
        for end in range(first + 1, len(words) + 1):
            if "".join(words[first:end]) in wanted and all(map(_is_noise, words[:first] + words[end:])):
                return True
    return False


def _is_noise(token: str) -> bool:
    return token in NOISE or bar_of_token(token) is not None or STAMP.fullmatch(token) is not None


def coins_of(symbol: str) -> set[str]:
    """The coins that a symbol names: of BTCUSDT btc; of ETHBTC eth, for btc is what is paid."""
    words = [*tokens(symbol), plain(symbol)]
    shorn = {word.removesuffix(quote) for word in words for quote in QUOTES if word.endswith(quote)}
    return {coin for coin in (*shorn, *words) if coin and coin not in MONEY}


def same_name(wanted: str, names: Iterable[str]) -> list[str]:
    """The names that are the wanted one: literally, else without case and punctuation, USD also as USDT."""
    names = list(names)
    hits = [name for name in names if name == wanted]
    return hits or [name for name in names if plain(name) in spellings(wanted)]


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message of one line."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
