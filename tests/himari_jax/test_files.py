"""Reading candles from files: every form that is read, every fault with its file and row, never a traceback."""

import gzip

import numpy as np
import polars as pl
import pytest
from candle_files import HOUR, PLAIN, START, VENDOR, parquet, read, refused, with_times

from himari_jax.candles import COLUMNS
from himari_jax.checking.candles import check_candles
from himari_jax.errors import InputError


def test_a_plain_file_is_read_as_it_stands_with_the_lines_of_its_rows():
    raw = read(PLAIN)
    np.testing.assert_array_equal(raw.time, START + np.arange(3) * HOUR)
    np.testing.assert_array_equal(raw.row, [2, 3, 4])
    np.testing.assert_array_equal(np.stack([getattr(raw, name) for name in COLUMNS])[:, 1], [101, 103, 100, 102, 6])
    assert raw.symbol == "BTC-USD"
    assert raw.origin == "x.csv"
    assert raw.notes == ()
    assert not raw.synthetic


def test_a_vendor_file_with_banner_and_am_pm_is_read_and_reported():
    raw = read(VENDOR)
    np.testing.assert_array_equal(raw.time, START + np.array([4, 3, 2, -9]) * HOUR)
    np.testing.assert_array_equal(raw.row, [3, 4, 5, 6])
    np.testing.assert_array_equal(raw.volume, [8, 7, 6, 5])
    assert any("banner" in note for note in raw.notes)
    assert any("volume_btc" in note for note in raw.notes)
    refused(VENDOR.replace("Timestamps are UTC timezone", "Created on"), "row 3", "--assume-utc")
    refused(VENDOR.replace("UTC timezone", "UTC+8"), "row 3", "--assume-utc")


def test_bom_gzip_blank_lines_and_a_missing_line_end_are_read_and_reported():
    plain = read(PLAIN)
    for text, suffix, note in (
        ("\ufeff" + PLAIN, ".csv", "byte order mark"),
        (gzip.compress(PLAIN.encode()), ".csv.gz", "gzip"),
        (PLAIN.rstrip(), ".csv", "no line end"),
    ):
        raw = read(text, suffix)
        assert note in " ".join(raw.notes)
        np.testing.assert_array_equal(raw.close, plain.close)
    np.testing.assert_array_equal(read(PLAIN.replace("\n", "\n\n")).row, [3, 5, 7])
    np.testing.assert_array_equal(read(PLAIN.replace(",", "\t"), ".txt").close, plain.close)
    np.testing.assert_array_equal(read(PLAIN.replace(",", ";")).close, plain.close)


def test_thousands_separators_are_read_and_reported_but_not_where_commas_may_be_decimal():
    raw = read(PLAIN.replace(",102,99,", ',"1,234,567.5",99,'))
    assert raw.high[0] == 1_234_567.5
    assert "thousands separators read in 1 cells" in raw.notes
    refused(PLAIN.replace(",", ";").replace(";102;99;", ";1,234;99;"), "row 2", "'high'", "'1,234'")
    refused(PLAIN.replace(",102,99,", ',"1,2345",99,'), "row 2", "'1,2345'")


@pytest.mark.parametrize(
    "text",
    [
        "2019-10-17T09:00:00Z",
        "2019-10-17 09:00:00+00:00",
        "2019-10-17T11:00:00.000+0200",
        "2019-10-17 09:00:00 UTC",
        "2019-10-17 09:00:00 +0000",
        "1571302800",
        "1571302800.0",
        "1571302800000",
        "1571302800000000",
        "1571302800000000000",
    ],
)
def test_times_with_a_zone_and_epoch_numbers_of_any_unit_are_one_moment(text):
    assert read(with_times(text)).time[0] == START


@pytest.mark.parametrize(
    "text", ["2019-10-17T09:00", "2019-10-17 09:00:00", "2019/10/17 9:00", "2019-10-17 09-AM", "2019-10-17 09:00 AM"]
)
def test_naive_times_are_rejected_and_accepted_by_assume_utc(text):
    refused(with_times(text), "row 2", "'timestamp'", f"'{text}'", "no time zone", "--assume-utc")
    assert read(with_times(text), assume_utc=True).time[0] == START


@pytest.mark.parametrize("text", ["2019-10-17", "20191017"])
def test_a_pure_date_is_naive(text):
    refused(with_times(text), "--assume-utc")
    assert read(with_times(text), assume_utc=True).time[0] == START - 9 * HOUR


def test_mixed_units_are_read_each_by_its_size_and_mixed_forms_are_rejected_by_row():
    raw = read(with_times("1571302800", "1571306400000", "1571310000000000"))
    np.testing.assert_array_equal(raw.time, START + np.arange(3) * HOUR)
    assert "epoch numbers in s and ms and us, each read by its size" in raw.notes
    refused(with_times("1571302800", "2019-10-17T10:00Z"), "row 3", "no epoch number")
    refused(with_times("2019-10-17T09:00Z", "2019-10-17T10:00"), "row 3", "no time zone", assume_utc=True)
    refused(with_times("2019-10-17 09:00 AM", "2019-10-17 10:00"), "row 3", "AM or PM", assume_utc=True)


@pytest.mark.parametrize("text", ["", "yesterday", "12345", "2019-13-01T00:00Z", "2019-10-17 13:00 PM", "9e99", "1e-5"])
def test_what_is_no_time_is_rejected_by_row(text):
    refused(with_times(text), "row 2", "is no time", assume_utc=True)


def test_a_12_hour_clock_without_am_or_pm_is_rejected_and_names_the_column():
    hours = [f"2019-10-17 {hour:02d}:00" for hour in [12, *range(1, 12)] * 2]
    refused(with_times(*hours), "row 14", "'timestamp'", "12-hour clock without AM/PM", assume_utc=True)
    assert len(read(with_times(*hours[:12]), assume_utc=True).time) == 12  # nothing stands twice: a morning
    twice = with_times(*hours[:12]) + '"2019-10-17 03:00",100,102,99,105,5\n'.replace("105", "104")
    assert len(read(twice, assume_utc=True).time) == 13  # an exact duplicate, which the check drops


def test_an_empty_or_nan_cell_reaches_the_check_which_names_its_line():
    for cell in ("", "nan", "NULL", "n/a"):
        with pytest.raises(InputError, match=r"x.csv: row 3, 2019-10-17T10:00Z: high = nan"):
            check_candles([read(PLAIN.replace(",103,100,", f",{cell},100,"))])


def test_a_cell_that_is_no_number_is_rejected_with_row_column_and_value():
    for cell in ("abc", "1_0", "$5", "--1", "0x1F", "1 2"):
        refused(PLAIN.replace(",103,100,", f",{cell},100,"), "row 3", "'high'", f"'{cell}'", "no number")


def test_a_row_with_missing_or_extra_cells_is_rejected_by_row():
    refused(PLAIN.replace("2019-10-17T10:00Z,", ""), "row 3", "5 cells where the header has 6")
    refused(PLAIN + "2019-10-17T12:00Z,10", "row 5", "last line")
    refused(PLAIN.replace(",5\n", ",5,9\n"), "row 2", "7 cells")


def test_a_missing_or_doubled_column_is_rejected_by_name():
    refused(PLAIN.replace("volume", "note"), "no column volume", "'note'")
    refused(PLAIN.replace("volume", "Volume USD"), "no column volume")
    refused(PLAIN.replace("timestamp,", "moment,").replace("2019-10", "week 2019-10"), "no column time")
    refused(PLAIN.replace("timestamp,open", "timestamp,start"), "no column open")
    refused(PLAIN.replace("volume", "Close"), "2 columns are called close")
    refused("\n".join(PLAIN.split("\n")[1:]).replace("2019-10", "week 2019-10"), "no header")


@pytest.mark.parametrize(
    ("header", "symbol", "volume"),
    [
        ("volume", "BTC-USD", "volume"),
        ("Volume USD,Volume BTC", "BTC-USD", "Volume BTC"),
        ("volume,volume_eth", "ETHUSDT", "volume_eth"),
        ("volume_btc,volume_eth", "ETHBTC", "volume_eth"),
        ("volume,volume_btc", "a_file_of_some_vendor", "volume"),
        ("Volume,Volume MA", "BTCUSD", "Volume"),
        ("volumefrom,volumeto", "BTCUSD", "volumefrom"),
        ("volume_quote,volume", "ETHUSDT", "volume"),
        ("tick_volume,spread", "BTCUSD", "tick_volume"),
        ("volume,Quote asset volume", "BTCUSDT", "volume"),
        ("quote_volume,base_volume", "BTCUSDT", "base_volume"),
        ("Vol", "AAPL", "Vol"),
    ],
)
def test_the_volume_is_that_of_the_base_asset(header, symbol, volume):
    names = header.split(",")
    text = f"Open Time,O,H,L,C,{header}\n1571302800,1,1,1,1,{','.join(str(k) for k in range(len(names)))}\n"
    assert read(text, symbol=symbol).volume[0] == names.index(volume)


def test_a_file_of_several_symbols_is_rejected():
    refused(VENDOR.replace("BTCUSD,101", "ETHUSD,101"), "2 symbols, BTCUSD, ETHUSD", "--symbols BTCUSD ETHUSD")


@pytest.mark.parametrize(
    ("data", "suffix", "word"),
    [
        (b"", ".csv", "empty"),
        (b" \n\n", ".csv", "empty"),
        (b"timestamp,open,high,low,close,volume\n", ".csv", "no rows"),
        (b"\x89PNG\r\n\x1a\n\0\0", ".csv", "binary"),
        (PLAIN.encode("utf-16"), ".csv", "UTF-16"),
        (PLAIN.encode() + b"\xff\xfe,1,1,1,1,1\n", ".csv", "row 5 is not UTF-8"),
        (gzip.compress(PLAIN.encode())[:-9], ".csv.gz", "cut or damaged"),
        (PLAIN.encode(), ".csv.gz", "not packed by gzip"),
        (PLAIN.encode(), ".parquet", "not a whole Parquet"),
        (b"PAR1" + b"\xff" * 40 + b"PAR1", ".parquet", "damaged"),
        (b"PAR1", ".csv", "damaged"),
        (b"PAR1 and no end", ".csv", "not a whole Parquet"),
        (PLAIN.replace("Z,102", 'Z,"102').encode(), ".csv", "row 4 is no CSV"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_rejected_by_name(data, suffix, word):
    refused(data, word, suffix=suffix)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_parquet_times_with_a_zone_of_any_unit_are_one_moment_and_without_one_need_assume_utc(unit):
    naive = pl.Series([START, START + HOUR]).cast(pl.Datetime("ms")).cast(pl.Datetime(unit))
    zoned = naive.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    np.testing.assert_array_equal(read(parquet(Time=zoned), ".parquet").time, [START, START + HOUR])
    refused(parquet(time=naive), "row 1", "'time'", "--assume-utc", suffix=".parquet")
    np.testing.assert_array_equal(read(parquet(time=naive), ".parquet", assume_utc=True).time, [START, START + HOUR])


def test_parquet_of_other_types_is_read_or_rejected_by_row_and_column():
    texts, numbers = ["2019-10-17T09:00Z", "2019-10-17T10:00Z"], [START // 1000, START // 1000 + 3600]
    for times in (texts, numbers, [float(number) for number in numbers]):
        raw = read(parquet(time=times), ".parquet")
        np.testing.assert_array_equal(raw.time, [START, START + HOUR])
        np.testing.assert_array_equal(raw.row, [1, 2])
    assert np.isnan(read(parquet(time=texts, close=[1.0, None]), ".parquet").close[1])
    assert read(parquet(time=texts, close=["1.5", "2"]), ".parquet").close[0] == 1.5
    refused(parquet(time=texts, close=["1.5", "x"]), "row 2", "'close'", "'x'", suffix=".parquet")
    refused(parquet(time=texts, close=[True, False]), "'close'", "Boolean", suffix=".parquet")
    refused(parquet(time=[texts[0], None]), "row 2", "'time'", suffix=".parquet")
    refused(parquet(time=[True, False]), "'time'", "Boolean", suffix=".parquet")
    assert read(parquet(time=[numbers[0], START]), ".parquet").time[1] == START
    refused(parquet(moment=["a", "b"]), "no column time", suffix=".parquet")
