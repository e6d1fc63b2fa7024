"""Files as vendors write them: each is read as the same candles, or refused with words that say what to do."""

from dataclasses import dataclass

import numpy as np
import pytest
from candle_files import outcome, read
from file_forms import ask
from vendor_rows import ROWS, series, write

from himari_jax.candles import COLUMNS

OHLCV = "open,high,low,close,volume"
NUMBERS = "{o},{h},{l},{c},{v}"
PLAIN = write(f"time,{OHLCV}\n", f"{{s}},{NUMBERS}")


@dataclass(frozen=True)
class Form:
    """A vendor's way to write candles."""

    head: str
    row: str
    hours: int = 1
    assume_utc: bool = False
    no_volume: bool = False
    symbol: str = "BTC-USD"
    scale: float = 1.0  # of the volume


DAILY = {"hours": 24, "assume_utc": True}
FORMS = {
    "Binance futures": Form(
        f"open_time,{OHLCV},close_time,quote_volume,count,taker_buy_volume,ignore\n",
        f"{{ms}},{NUMBERS},{{end}},{{q}},10,3.5,0",
    ),
    "HistData ASCII": Form("", "{t:%Y%m%d %H%M%S};{o};{h};{l};{c};{v}", assume_utc=True),
    "Kibot daily": Form("", f"{{t:%m/%d/%Y}},{NUMBERS}", **DAILY),
    "LEAN": Form("", f"{{t:%Y%m%d %H:%M}},{NUMBERS}", assume_utc=True),
    "rows with a symbol, no header": Form("", f"BTCUSD,60,{{t:%Y%m%d}},{{t:%H%M%S}},{NUMBERS},0", assume_utc=True),
    "Finam daily": Form(
        "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>\n",
        "SBER;D;{t:%Y%m%d};0;{o};{h};{l};{c};{v}",
        **DAILY,
    ),
    "Interactive Brokers": Form(
        f"date,{OHLCV},average,barCount\n", f"{{t:%Y%m%d}}  {{t:%H:%M:%S}},{NUMBERS},{{m}},5", assume_utc=True
    ),
    "Dukascopy": Form(
        "Local time,Open,High,Low,Close,Volume\n", f"{{t:%d.%m.%Y %H:%M:%S}}.000 GMT+0000,{NUMBERS}"
    ),
    "AmiBroker": Form(f"Ticker,Date/Time,{OHLCV}\n", f"BTC,{{t:%m/%d/%Y %H:%M:%S}},{NUMBERS}", assume_utc=True),
    "month by name, year of two digits": Form(f"Date,{OHLCV}\n", f"{{t:%d-%b-%y}},{NUMBERS}", **DAILY),
    "NSE": Form(
        '"Date ","series ","OPEN ","HIGH ","LOW ","PREV. CLOSE ","ltp ","close ","vwap ","52W H","VOLUME "\n',
        '"{t:%d-%b-%Y}","EQ","{o}","{h}","{l}","{o}","{l}","{c}","{m}","999","{v}"',
        **DAILY,
    ),
    "Investing.com": Form(
        '"Date","Price","Open","High","Low","Vol.","Change %"\n',
        '"{t:%b %d, %Y}","{c}","{o}","{h}","{l}","{v}K","1.25%"',
        scale=1000,
        **DAILY,
    ),
    "Investing.com in German": Form(
        '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"\n',
        '"{t:%d.%m.%Y}","{cc}","{oc}","{hc}","{lc}","{vc}K","1,25%"',
        scale=1000,
        **DAILY,
    ),
    "a German bank": Form(
        "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen\n", "{t:%d.%m.%Y};{oc};{hc};{lc};{cc};{vc}", **DAILY
    ),
    "Nasdaq.com": Form(
        "Date,Close/Last,Volume,Open,High,Low\n", "{t:%m/%d/%Y},${c},{v},${o},${h},${l}", **DAILY
    ),
    "CoinMarketCap": Form(
        "timeOpen;timeClose;timeHigh;timeLow;name;open;high;low;close;volume;marketCap;timestamp\n",
        '"{t:%Y-%m-%d}T00:00:00.000Z";"{t:%Y-%m-%d}T23:59:59.999Z";"{t:%Y-%m-%d}T11:00:00.000Z";'
        '"{t:%Y-%m-%d}T12:00:00.000Z";"2781";{o};{h};{l};{c};{v};9;"{t:%Y-%m-%d}T23:59:59.999Z"',
        hours=24,
    ),
    "CoinAPI": Form(
        "time_period_start;time_period_end;time_open;time_close;price_open;price_high;price_low;price_close;"
        "volume_traded;trades_count\n",
        "{t:%Y-%m-%dT%H:%M:%S}.0000000Z;{e:%Y-%m-%dT%H:%M:%S}.0000000Z;{t:%Y-%m-%dT%H}:00:01.1234567Z;"
        "{t:%Y-%m-%dT%H}:59:01.1234567Z;{o};{h};{l};{c};{v};5",
    ),
    "CryptoDataDownload": Form(
        "https://www.CryptoDataDownload.com\nUnix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n",
        "{ms},{t:%Y-%m-%d %H:%M:%S},BTCUSDT,{o},{h},{l},{c},{v},{q},5",
    ),
    "Kaggle's Bitstamp, of whatever name": Form(
        "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n",
        f"{{s}},{NUMBERS},{{q}},{{m}}",
        symbol="minutes",
    ),
    "BitMEX": Form(
        "timestamp,symbol,open,high,low,close,trades,volume,vwap,lastSize,turnover,homeNotional,foreignNotional\n",
        "{t:%Y-%m-%dT%H:%M:%S}.000Z,XBTUSD,{o},{h},{l},{c},5,9999,{m},1,1,{v},{q}",
    ),
    "akshare": Form(
        "日期,开盘,收盘,最高,最低,成交量,成交额\n", "{t:%Y-%m-%d},{o},{c},{h},{l},{v},{q}", **DAILY
    ),
    "nautilus": Form(f"{OHLCV},ts_event,ts_init\n", f"{NUMBERS},{{ns}},{{ns}}"),
    "Deribit": Form(f"ticks,{OHLCV},cost\n", f"{{ms}},{NUMBERS},{{q}}"),
    "Quandl": Form(
        "Date,Open,High,Low,Close,Volume,Ex-Dividend,Adj. Open,Adj. High,Adj. Low,Adj. Close,Adj. Volume\n",
        f"{{t:%Y-%m-%d}},{NUMBERS},0,1,2,3,4,5",
        **DAILY,
    ),
    "yfinance, several tickers": Form(
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
        f"Ticker{',BTC-USD,ETH-USD' * 5}\nDate{',' * 10}\n",
        "{t:%Y-%m-%d},{c},4,{h},5,{l},3,{o},4,{v},9",
        **DAILY,
    ),
    "yfinance, group_by ticker": Form(
        f"Ticker{',ETH-USD' * 5}{',BTC-USD' * 5}\nPrice{',Open,High,Low,Close,Volume' * 2}\nDate{',' * 10}\n",
        f"{{t:%Y-%m-%d}},4,5,3,4,9,{NUMBERS}",
        **DAILY,
    ),
    "pairs as names": Form(
        "Date," + ",".join(f"\"('{name}', 'BTC-USD')\"" for name in OHLCV.title().split(",")) + "\n",
        f"{{t:%Y-%m-%d}},{NUMBERS}",
        **DAILY,
    ),
    "no volume": Form("DATE,OPEN,HIGH,LOW,CLOSE\n", "{t:%m/%d/%Y},{o},{h},{l},{c}", no_volume=True, scale=0, **DAILY),
    "other times beside": Form(f"open_time,close_time,timestamp,{OHLCV}\n", f"{{ms}},{{end}},{{end}},{NUMBERS}"),
    "close beside last and adjusted": Form(
        "time,open,high,low,last,Adj Close,close,volume\n", "{s},{o},{h},{l},1,2,{c},{v}"
    ),
    "a comma behind every row": Form(f"time,{OHLCV}\n", f"{{s}},{NUMBERS},"),
    "signs of money": Form(f"time,{OHLCV}\n", "{s},€{o},€{h},€{l},€{c},{v}"),
    "comments above": Form(f"# of the archive\n# 2024\ntime, {OHLCV}\n", "{s}, {o}, {h}, {l}, {c}, {v}"),
}  # fmt: skip


def found(raw):
    return np.stack([raw.time, *(getattr(raw, name) for name in COLUMNS)], axis=1)


def wanted(form):
    return series(form.hours) * [1, 1, 1, 1, 1, form.scale]


@pytest.mark.parametrize("name", FORMS)
def test_the_candles_of_every_vendor_are_the_same(tmp_path, name):
    form = FORMS[name]
    (tmp_path / f"{form.symbol}.csv").write_text(write(form.head, form.row, form.hours))
    (raw,) = ask(tmp_path, form.symbol, assume_utc=form.assume_utc, no_volume=form.no_volume)
    np.testing.assert_allclose(found(raw), wanted(form), rtol=1e-12)


REFUSED = {
    "bid and ask": (f"time,{'bid_'}open,bid_high,bid_low,bid_close,volume\n", f"{{s}},{NUMBERS}", "called open, high"),
    "prices of Databento": (
        f"ts_event,rtype,publisher_id,instrument_id,{OHLCV}\n", "{ns},34,1,5,{o9},{h9},{l9},{c9},{v}", "pretty_px",
    ),
    "epoch numbers of a spreadsheet": (f"time,{OHLCV}\n", f"1.70519E+12,{NUMBERS}", "lost its last digits"),
    "spaces between": (f"time {OHLCV.replace(',', ' ')}\n", "{s} {o} {h} {l} {c} {v}", "spaces stand between"),
    "the time of the close": (f"close_time,{OHLCV}\n", f"{{end}},{NUMBERS}", "no column time"),
    "rows above the header": (PLAIN.split("\n")[1] + f"\ntime,{OHLCV}\n", f"{{s}},{NUMBERS}", "stands in row 2"),
    "two volumes": (f"time,{OHLCV},Volume\n", f"{{s}},{NUMBERS},9", "2 columns are called volume"),
    "thousands in two manners": (
        f"time,{OHLCV}\n".replace(",", ";"), "{s};1.234,5;1,234.5;1.234,5;1.234,5;1", "is no number",
    ),
    "open behind close": ("", "{s},{c},{o},{h},{l},{v}", "open and close or close and open"),
    "a mean price behind the close": ("", "{s},{o},{h},{l},{c},{m},{v}", "may be a volume or another price"),
    "two currencies": (
        "time,open_usd,high_usd,low_usd,close_usd,open_eur,high_eur,low_eur,close_eur,volume\n",
        "{s},{o},{h},{l},{c},1,1,1,1,{v}", "prices in usd and in eur",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_wrongly_is_refused_with_the_reason(name):
    head, row, words = REFUSED[name]
    raw = outcome(lambda: read(write(head, row), symbol="market"))
    text = raw if isinstance(raw, str) else " ".join(fault.text for fault in raw.faults)
    assert words in text, text
    assert "allowed" in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<table><tr><td>time</td></tr></table>", "save it as CSV"),
    ],
)
def test_what_is_no_table_is_called_by_its_name(data, words):
    assert words in outcome(lambda: read(data))


def test_a_header_that_stands_again_is_passed_over_and_the_rows_keep_their_lines():
    head, *rows = PLAIN.splitlines(keepends=True)
    for end in ("\n", "\r\n"):
        raw = read("".join([head, *rows[:9], head, *rows[9:]]).replace("\n", end))
        np.testing.assert_array_equal(found(raw), series(1))
        np.testing.assert_array_equal(raw.row, [*range(2, 11), *range(12, ROWS + 3)])
        assert "the header stands again in 1 rows, passed over" in raw.notes
    refusal = outcome(lambda: read("".join([head, *rows[:9], head.upper(), *rows[9:]])))
    assert "row 11, column" in str(refusal)


@pytest.mark.parametrize(
    "name", ["BTCUSD_240329", "BTCUSD_200925-1h", "BTCUSD_PERP", "BTCUSD-mark", "BTC_ETH", "1000BTCUSD"]
)
def test_a_symbol_is_not_taken_from_the_file_of_another_market(tmp_path, name):
    (tmp_path / f"{name}.csv").write_text(PLAIN)
    for symbol in ("BTCUSD", "BTC", "ETH"):
        assert "no file of that name" in outcome(lambda symbol=symbol: ask(tmp_path, symbol))


def test_no_file_is_left_out_in_silence(tmp_path):
    for month in ("2024-01", "2024-02"):
        (tmp_path / f"{month}.csv").write_text(PLAIN)
    assert "choose from several files: 2024-01, 2024-02" in outcome(lambda: ask(tmp_path))
    (tmp_path / "README.txt").write_text("of the archive")
    (tmp_path / "2024-02.csv").unlink()
    np.testing.assert_array_equal(found(ask(tmp_path)[0]), series(1))


def test_spaces_around_a_symbol_do_not_part_its_rows(tmp_path):
    rows = [f"{'A ' if k % 2 else 'A'},{row}" for k, row in enumerate(PLAIN.splitlines()[1:])]
    (tmp_path / "all.csv").write_text("\n".join([f"symbol,time,{OHLCV}", *rows, ""]))
    np.testing.assert_array_equal(found(ask(tmp_path)[0]), series(1))
