"""Files as exchanges, brokers and dataframes write them: one series in each form is read as the same candles."""

import bz2
import gzip
import json
import lzma

import numpy as np
import polars as pl
import pytest
from candle_files import HOUR
from file_forms import CANDLES, CLOSE, ROWS, TIMES, ask, frame, moments, ohlcv, plain, same, stored, table, zipped

from himari_jax.candles import COLUMNS
from himari_jax.checking.candles import check_candles
from himari_jax.errors import InputError

STAMPS = pl.Series(TIMES).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
MIXED = [time * (1 if k < ROWS // 2 else 1000) for k, time in enumerate(TIMES.tolist())]
TRADES = [12] * ROWS
ARRAYS = [[time, *candle] for time, candle in zip(TIMES.tolist(), CANDLES.tolist(), strict=True)]
OBJECTS = [dict(zip(("date", *COLUMNS), row, strict=True)) for row in ARRAYS]
UTC_FORMS = {
    "binance.csv": table(TIMES * 1000, *ohlcv(), TIMES * 1000 + 3_599_999_999, TRADES, TRADES),
    "binance_join.csv": table(MIXED, *ohlcv(), TIMES + HOUR - 1),
    "kraken.csv": table(TIMES // 1000, *ohlcv(), TRADES),
    "unnamed.csv": plain(",open,high,low,close,volume"),
    "unnamed_0.csv": plain("Unnamed: 0,Open,High,Low,Close,Volume"),
    "unknown.csv": plain("moment of opening,Open,High,Low,Close,Volume"),
    "tradingview.csv": table(
        TIMES // 1000, *ohlcv(), CANDLES[:, 4] * 2, header="time,open,high,low,close,Volume,Volume MA".split(",")
    ),
    "copy_rates.csv": table(
        TIMES // 1000, *ohlcv(), TRADES, [0] * ROWS,
        header="time,open,high,low,close,tick_volume,spread,real_volume".split(","),
    ),
    "polygon.csv": table(
        ["X:BTCUSD"] * ROWS, CANDLES[:, 4], CANDLES[:, 0], CANDLES[:, 3], CANDLES[:, 1], CANDLES[:, 2],
        TIMES * 10**6, TRADES, header="ticker,volume,open,close,high,low,window_start,transactions".split(","),
    ),
    "upbit.csv": table(
        moments("%Y-%m-%dT%H:%M:%S"), *ohlcv(), TIMES + 59_999,
        header="candle_date_time_utc,opening_price,high_price,low_price,trade_price,candle_acc_trade_volume,"
        "timestamp".split(","),
    ),
    "chinese.csv": table(moments("%Y-%m-%dT%H:%MZ"), *ohlcv(), header="时间,开盘,最高,最低,收盘,成交量".split(",")),
    "alpha.csv": plain("timestamp,1. open,2. high,3. low,4. close,5. volume"),
    "usd.csv": plain("date,open_usd,high_usd,low_usd,close_usd,volume"),
    "arrays.json": json.dumps(ARRAYS).encode(),
    "strings.json": json.dumps({"result": {"list": [[str(x) for x in row] for row in ARRAYS]}, "code": 0}).encode(),
    "objects.json": json.dumps(OBJECTS).encode(),
    "lines.jsonl": "\n".join(map(json.dumps, OBJECTS)).encode(),
    "columns.json": json.dumps({name: {str(row["date"]): row[name] for row in OBJECTS} for name in COLUMNS}).encode(),
    "split.json": json.dumps({"columns": COLUMNS, "index": TIMES.tolist(), "data": CANDLES.tolist()}).encode(),
    "lists.json": json.dumps(
        {"s": "ok", "t": TIMES.tolist(), **dict(zip("ohlcv", CANDLES.T.tolist(), strict=True))}
    ).encode(),
    "freqtrade.feather": stored(frame(STAMPS), "ipc"),
    "index.parquet": stored(frame(STAMPS, "__index_level_0__"), "parquet"),
    "pandas.parquet.gzip": stored(frame(TIMES), "parquet"),
    "short.pq": stored(frame(TIMES), "parquet"),
    "packed.json.gz": gzip.compress(json.dumps(ARRAYS).encode()),
    "packed.csv.xz": lzma.compress(plain()),
    "packed.csv.bz2": bz2.compress(plain()),
    "packed.csv.zip": zipped(packed__csv=plain()),
    "binance.zip": zipped(binance__csv=table(TIMES, *ohlcv()), binance__csv__CHECKSUM=b"0"),
    "no_csv.gz": gzip.compress(plain()),
    "tabs.tsv": table(TIMES, *ohlcv(), header=("time", *COLUMNS), mark="\t"),
}  # fmt: skip
NAIVE_FORMS = {
    "mt4.csv": table(moments("%Y.%m.%d"), moments("%H:%M"), *ohlcv()),
    "mt5.csv": table(
        moments("%Y.%m.%d"), moments("%H:%M:%S"), *ohlcv(), [0] * ROWS, TRADES, mark="\t",
        header="<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>,<SPREAD>".split(","),
    ),
    "histdata.csv": table(moments("%Y%m%d %H%M%S"), *ohlcv(), mark=";"),
    "finam.txt": table(
        ["BTC"] * ROWS, ["60"] * ROWS, moments("%Y%m%d"), moments("%H%M%S"), *ohlcv(), mark=";",
        header="<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>".split(";"),
    ),
    "gym.csv": table(moments("%Y%m%d"), moments("%H:%M:%S"), *ohlcv(), header=("Date", "Timestamp", *COLUMNS)),
    "compact.csv": table(moments("%Y%m%d%H%M"), *ohlcv(), header=("time", *COLUMNS)),
    "compact.parquet": stored(frame([int(x) for x in moments("%Y%m%d%H%M%S")]), "parquet"),
    "european.csv": table(moments("%d.%m.%Y %H:%M"), *ohlcv(), header=("Gmt time", *COLUMNS), mark=";"),
    "german.csv": table(
        moments("%d.%m.%Y %H:%M"), *[[f"{x:.4f}".replace(".", ",") for x in column] for column in ohlcv()],
        header=("Datum", *COLUMNS), mark=";",
    ),
    "american.csv": table(moments("%m/%d/%Y"), moments("%H:%M"), *ohlcv()),
    "excel.csv": table(moments("%m/%d/%y %H:%M"), *ohlcv(), header=("Date", *COLUMNS)),
    "months.csv": table(moments("%b %d, %Y %I:%M %p"), *ohlcv(), header=("Date", *COLUMNS)),
    "yfinance.csv": b"Price,Open,High,Low,Close,Volume\nTicker,BTC,BTC,BTC,BTC,BTC\nDatetime,,,,,\n"
    + table(moments("%Y-%m-%d %H:%M:%S"), *ohlcv()),
    "two_rows.csv": b"Date,Open,High,Low,Close,Volume\n,BTC,BTC,BTC,BTC,BTC\n"
    + table(moments("%Y-%m-%d %H:%M:%S"), *ohlcv()),
}  # fmt: skip


@pytest.mark.parametrize("name", [*UTC_FORMS, *NAIVE_FORMS])
def test_a_series_is_the_same_in_every_form(tmp_path, name):
    path = tmp_path / name
    path.write_bytes((UTC_FORMS | NAIVE_FORMS)[name])
    if name in NAIVE_FORMS and name != "european.csv":  # its column says GMT
        with pytest.raises(InputError, match="--assume-utc"):
            ask(path)
    (raw,) = ask(path, assume_utc=name in NAIVE_FORMS)
    same(raw)
    check_candles([raw])


def test_zstd_is_unpacked_and_what_is_cut_is_refused(tmp_path):
    zstd = pytest.importorskip("backports.zstd")
    for name, data in (("a.csv.zst", zstd.compress(plain())), ("b.csv", plain())):
        (tmp_path / name).write_bytes(data)
        same(ask(tmp_path / name)[0])
    for name, data in (
        ("a.csv.zst", zstd.compress(plain())[:-9]),
        ("a.csv.xz", lzma.compress(plain())[:-9]),
        ("a.csv.bz2", bz2.compress(plain())[:-9]),
        ("a.zip", zipped(a__csv=plain())[:-9]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=r"cut or damaged"):
            ask(tmp_path / name)


def test_numbers_without_a_header_are_refused_where_they_may_be_read_in_two_ways(tmp_path):
    opened, high, low, close, volume = ohlcv()
    path = tmp_path / "x.csv"
    for columns, words in (
        ((opened, close, high, low, volume), "column 4 is the high and 5 the low; 2 and 3 may be open and close or"),
        ((low, high, opened, close, volume), "4 and 5 may be open and close or close and open"),
        ((opened, high, low, close, (high + low) / 2), "column 6 lies between low and high in every row"),
        ((opened, low, close, volume, high), "are no open, high, low, close"),
        ((opened, high, low), "no header in the first 10 lines"),
    ):
        path.write_bytes(table(TIMES, *columns))
        with pytest.raises(InputError, match=words):
            ask(path)
    path.write_bytes(table(TIMES, opened, high, low, close))
    with pytest.raises(InputError, match="--no-volume"):
        ask(path)
    assert (ask(path, no_volume=True)[0].volume == 0).all()


def test_dates_are_refused_where_day_and_month_may_be_either(tmp_path):
    path = tmp_path / "x.csv"
    for days, form in ((range(1, 13), None), (range(1, 14), "month/day/year")):
        lines = [f"01/{day:02}/2024,{','.join(map(str, CANDLES[day]))}" for day in days]
        path.write_text("\n".join(["date,open,high,low,close,volume", *lines, ""]))
        if form is None:
            with pytest.raises(InputError, match="'01/01/2024' may be day/month/year or month/day/year"):
                ask(path, assume_utc=True)
            continue
        (raw,) = ask(path, assume_utc=True)
        assert (np.diff(raw.time) == 24 * HOUR).all()
        assert f"dates read as {form}" in raw.notes


@pytest.mark.parametrize("mark", ["\t", "|", ";"])
def test_a_comma_is_decimal_or_separates_thousands_as_the_file_shows_or_is_refused(tmp_path, mark):
    path = tmp_path / "x.csv"

    def write(form):
        lines = [mark.join([str(time), *(form(x) for x in row)]) for time, row in zip(TIMES, CANDLES, strict=True)]
        path.write_text("\n".join([mark.join(("time", *COLUMNS)), *lines, ""]))

    write(lambda x: f"{x:.3f}".replace(".", ",") if x >= 100 else "100,119")
    with pytest.raises(InputError, match=r"may be 1\d\d\d\d\d or 1\d\d\.\d\d\d"):
        ask(path)
    write(lambda x: f"{1000 * x:,.1f}")
    np.testing.assert_allclose(ask(path)[0].close, 1000 * CLOSE)
    write(lambda x: f"{1000 * x:,.2f}".translate(str.maketrans(",.", ".,")))
    np.testing.assert_allclose(ask(path)[0].close, 1000 * CLOSE)


def test_without_a_volume_a_flag_says_so_and_a_volume_of_other_coins_is_none(tmp_path):
    path = tmp_path / "bitstampUSD.csv"
    for header, words in (
        ("timestamp,open,high,low,close,Volume_(BTC)", r"'Volume_\(BTC\)' does not say that it counts"),
        ("timestamp,open,high,low,close,Volume USD", "counts money"),
        ("timestamp,open,high,low,close,oi", "no column volume"),
    ):
        path.write_bytes(plain(header))
        with pytest.raises(InputError, match=words) as error:
            ask(path)
        assert "--no-volume" in str(error.value)
        assert (ask(path, no_volume=True)[0].volume == 0).all()
