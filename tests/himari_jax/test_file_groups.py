"""Laws of how files, and rows of files, are assigned to symbols."""

import json
from datetime import date

import numpy as np
import polars as pl
import pytest
from file_forms import CANDLES, ROWS, TIMES, ask, ohlcv, plain, same, table, zipped
from hypothesis import given
from hypothesis import strategies as st

from himari_jax.checking.candles import check_candles
from himari_jax.errors import InputError
from himari_jax.reading.names import bar_of_name, names_symbol, undated
from himari_jax.reading.names import plain as plain_name
from himari_jax.reading.rows import TextTable

MONTHS = {f"BTCUSDT-1h-2019-{month}.csv": rows for month, rows in (("10", slice(0, 25)), ("11", slice(25, ROWS)))}


def lines(rows, **changes):
    columns = [TIMES[rows], *(column[rows] for column in ohlcv())]
    for name, factor in changes.items():
        k = ("time", "open", "high", "low", "close", "volume").index(name)
        columns[k] = columns[k] * factor
    return table(*columns)


@pytest.fixture
def months(tmp_path):
    for name, rows in MONTHS.items():
        (tmp_path / name).write_bytes(lines(rows))
    return tmp_path


def test_files_of_one_symbol_are_joined(months):
    for symbols in (("BTCUSDT",), ("BTC-USD",), ("BTCUSDT-1h",), ()):
        (raw,) = ask(months, *symbols)
        same(raw)
        assert raw.symbol == (symbols[0] if symbols else "BTCUSDT")
        assert any("2 files joined" in note for note in raw.notes)
    same(ask(months, "BTCUSDT-1h-2019-11")[0], MONTHS["BTCUSDT-1h-2019-11.csv"])
    assert raw.place(0).endswith("2019-10.csv: row 1")
    assert raw.place(25).endswith("2019-11.csv: row 1")


def test_what_files_share_is_compared(months):
    later = months / "BTCUSDT-1h-2019-11.csv"
    later.write_bytes(lines(slice(20, ROWS)))
    candles, report = check_candles(ask(months, "BTCUSDT"))
    assert len(candles.time) == ROWS
    assert [entry["count"] for entry in report.entries if entry["kind"] == "duplicate"] == [5]
    later.write_bytes(lines(slice(20, ROWS), volume=2))
    with pytest.raises(InputError, match=r"11.csv: row 1, .*volume = .* for the same time in .*10.csv: row 21"):
        check_candles(ask(months, "BTCUSDT"))


def test_a_month_of_a_zip_archive_is_a_file(months, tmp_path):
    packed = tmp_path / "all.zip"
    packed.write_bytes(zipped(**{name.replace(".csv", "__csv"): lines(rows) for name, rows in MONTHS.items()}))
    same(ask(packed, "BTCUSDT")[0])
    same(ask(packed)[0])


def test_files_of_other_bars_or_markets_are_not_joined(tmp_path):
    for name in ("BTC_USDT-1h.csv", "BTC_USDT-1d.csv", "ETH_BTC-1h.csv", "BTC_USDT_USDT-1h-futures.csv"):
        (tmp_path / name).write_bytes(plain())
    with pytest.raises(InputError, match=r"both match; name one by its exact file name, or its bar with --bar"):
        ask(tmp_path, "BTC/USDT")
    assert ask(tmp_path, "BTC/USDT", bar_ms=3_600_000)[0].origin.endswith("BTC_USDT-1h.csv")
    assert ask(tmp_path, "BTC/USDT:USDT")[0].origin.endswith("futures.csv")
    for symbol in ("ETH", "BTC", "USDT", "futures"):
        with pytest.raises(InputError, match="no file of that name"):
            ask(tmp_path, symbol)
    (tmp_path / "BTC_USDT-1h.json").write_text("[]")
    with pytest.raises(InputError, match=r"both match; name one of them with --data"):
        ask(tmp_path, "BTC_USDT-1h")


NAMES = ("symbol", "tic", "ticker", "Name", "asset", "market")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("interleaved", [True, False])
def test_symbols_below_each_other_are_separated(tmp_path, name, interleaved):
    symbols = ["BTC/USD", "ETH/USD"] * ROWS if interleaved else ["BTC/USD"] * ROWS + ["ETH/USD"] * ROWS
    order = np.repeat(np.arange(ROWS), 2) if interleaved else np.tile(np.arange(ROWS), 2)
    factor = np.array([1.0 if symbol[0] == "B" else 2.0 for symbol in symbols])
    columns = [column[order] * factor for column in ohlcv()]
    path = tmp_path / "candles.csv"
    path.write_bytes(
        table(symbols, TIMES[order], *columns, header=(name, "time", "open", "high", "low", "close", "volume"))
    )
    for asked in (("BTC/USD", "ETH/USD"), ("btc-usd", "ETHUSD")):
        one, other = ask(path, *asked)
        same(one)
        np.testing.assert_array_equal(other.close, 2 * CANDLES[:, 3])
        assert (one.symbol, other.symbol) == asked
    assert [raw.symbol for raw in ask(path, every=True)] == ["BTC/USD", "ETH/USD"]
    with pytest.raises(InputError, match=r"holds 2 symbols, BTC/USD, ETH/USD; .*--symbols BTC/USD ETH/USD"):
        ask(path)
    with pytest.raises(InputError, match="no file of that name; it must be one of BTC/USD, ETH/USD, candles"):
        ask(path, "SOL/USD")


def test_a_text_is_split_as_often_however_many_symbols_and_no_column_is_kept_that_nobody_reads(tmp_path, monkeypatch):
    pieces = []
    split = TextTable.blocks
    monkeypatch.setattr(TextTable, "blocks", lambda self, wanted: pieces.append([*wanted]) or split(self, wanted))
    columns = TIMES, *ohlcv()
    notes = [f"a note of many letters, {k}" for k in range(ROWS)]
    for count in (2, 5):
        names = [f"S{k}" for k in range(count)]
        symbols = np.repeat(names, ROWS).tolist()
        long = [symbols, *(np.tile(column, count) for column in (*columns, notes))]
        header = ("symbol", "time", "open", "high", "low", "close", "volume", "note")
        (tmp_path / "long.csv").write_bytes(table(*long, header=header))
        pieces.clear()
        for raw in ask(tmp_path / "long.csv", *names):
            same(raw)
        assert pieces == [[0], [*range(8)], [*range(1, 7)]]  # the names, the first rows, and what all symbols read
    (tmp_path / "bare.csv").write_bytes(table(*columns, notes))
    pieces.clear()
    same(ask(tmp_path / "bare.csv")[0])
    assert pieces == [[*range(7)], [*range(1, 6)], [*range(6)]]  # a text of one symbol is not kept in memory


def test_symbols_below_each_other_in_several_files_are_joined(tmp_path):
    for day, rows in (("2019-10-17", slice(0, 25)), ("2019-10-18", slice(25, ROWS))):
        frame = pl.DataFrame({"time": TIMES[rows], **dict(zip("ohlcv", (x[rows] for x in ohlcv()), strict=True))})
        both = pl.concat([frame.with_columns(ticker=pl.lit(name)) for name in ("A", "B")])
        both.write_parquet(tmp_path / f"{day}.parquet")
    for raw in ask(tmp_path, "B", "A"):
        same(raw)


def test_symbols_side_by_side_are_separated(tmp_path):
    names = ["Open", "High", "Low", "Close", "Volume"]
    stamps = [f"2019-10-{17 + (9 + k) // 24} {(9 + k) % 24:02}:00:00+00:00" for k in range(ROWS)]
    for by_symbol in (True, False):
        pairs = [(name, symbol) for name in names for symbol in ("BTC-USD", "ETH-USD")]
        pairs = sorted(pairs, key=lambda pair: pair[1]) if by_symbol else pairs
        factor = {"BTC-USD": 1.0, "ETH-USD": 2.0}
        columns = [CANDLES[:, names.index(name)] * factor[symbol] for name, symbol in pairs]
        heads = [["Ticker", *(symbol for _, symbol in pairs)], ["Price", *(name for name, _ in pairs)]]
        rows = [",".join(head) for head in (heads if by_symbol else heads[::-1])] + ["Datetime" + "," * len(pairs)]
        path = tmp_path / "both.csv"
        path.write_bytes("\n".join([*rows, ""]).encode() + table(stamps, *columns))
        one, other = ask(path, "BTC-USD", "ETH-USD")
        same(one)
        np.testing.assert_array_equal(other.close, 2 * CANDLES[:, 3])


def test_names_of_other_scripts_are_names(tmp_path):
    (tmp_path / "比特币.csv").write_bytes(plain())
    same(ask(tmp_path, "比特币")[0])
    with pytest.raises(InputError, match="--symbols 以太坊: no file of that name; it must be one of 比特币"):
        ask(tmp_path, "以太坊")
    (tmp_path / "以太坊USDT.csv").write_bytes(plain())
    with pytest.raises(InputError, match="no file of that name"):
        ask(tmp_path, "莱特币USDT")
    (tmp_path / "以太坊USDT.csv").unlink()
    (tmp_path / "---.csv").write_bytes(plain())
    with pytest.raises(InputError, match="no file of that name"):
        ask(tmp_path, "///")


def test_a_symbol_that_nobody_names_is_called_without_bars_dates_and_vendors(tmp_path):
    names = {"Binance_ETHUSDT_1h.csv": "ETHUSDT", "BTC_USDT-1h-2024.csv": "BTC_USDT", "candles.csv": "candles"}
    for name, symbol in names.items():
        (tmp_path / name).write_bytes(plain())
        assert ask(tmp_path / name)[0].symbol == symbol
    assert {raw.symbol for raw in ask(tmp_path, every=True)} == set(names.values())
    (tmp_path / "ETHUSDT-1d.csv").write_bytes(plain())  # of two of one name none is shortened
    assert {"Binance_ETHUSDT_1h", "ETHUSDT-1d"} < {raw.symbol for raw in ask(tmp_path, every=True)}


def test_all_symbols_that_are_not_there_are_named(tmp_path):
    (tmp_path / "BTCUSDT.csv").write_bytes(plain())
    with pytest.raises(InputError, match=r"(?s)2 faults.*--symbols AAA: no file.*--symbols BBB: no file"):
        ask(tmp_path, "AAA", "BTCUSDT", "BBB")


def test_json_that_lies_beside_candles_is_no_symbol(tmp_path):
    (tmp_path / "BTCUSDT.csv").write_bytes(plain())
    (tmp_path / "data_report.json").write_text(json.dumps({"entries": []}))
    assert [raw.symbol for raw in ask(tmp_path)] == ["BTCUSDT"]


@given(st.text(st.characters(categories=["L", "N"]), min_size=1), st.text(st.characters(categories=["P", "Z"])))
def test_a_plain_name_keeps_letters_of_every_script_and_nothing_else(letters, marks):
    assert plain_name(letters) != ""
    assert plain_name(marks + letters + marks) == plain_name(letters)
    assert plain_name(plain_name(letters)) == plain_name(letters)


@given(
    st.sampled_from(["BTCUSDT", "btc_usdt", "BTC-USDT"]),
    st.dates(date(1900, 1, 1), date(2099, 12, 31)),
    st.sampled_from(["1h", "H1", "15min", "1d"]),
)
def test_bars_and_dates_in_the_name_of_a_file_are_not_part_of_its_symbol(symbol, day, bar):
    for when in (f"{day:%Y-%m-%d}", f"{day:%Y%m%d}", f"{day:%Y-%m}", f"{day:%Y-%m-%d}_{day:%Y-%m-%d}"):
        stem = f"{symbol}-{bar}-{when}"
        assert undated(stem) == f"{symbol}-{bar}"
        assert names_symbol(stem, "BTCUSD")
        assert not names_symbol(stem, "ETHUSD")
        assert bar_of_name(stem) in (3_600_000, 900_000, 86_400_000)
