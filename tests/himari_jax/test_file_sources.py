"""Sources of candles by name: files, folders and the embedded sample."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from candle_files import PLAIN, START, parquet, read, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from himari_jax.candles import COLUMNS
from himari_jax.checking.candles import check_candles
from himari_jax.errors import InputError, InputFaults
from himari_jax.plugins import SOURCES
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest


def ask(folder, *symbols, **options):
    return load_candles("files", SourceRequest(symbols, (str(folder),), **options))


def test_a_symbol_finds_its_file_by_name_and_keeps_the_spelling_of_the_user(tmp_path):
    for name in ("btc_usdt.csv", "ETHUSD.txt", "SOL-USD.csv", "SOLUSDT.csv", "XRPUSD.csv", "XRP-USD.csv"):
        (tmp_path / name).write_text(PLAIN)
    (tmp_path / "BTCUSD_bitstamp_1h.csv.gz").write_bytes(gzip.compress(PLAIN.encode()))
    (tmp_path / "directory.csv").mkdir()
    found = ask(tmp_path, "BTC-USD", "ethusd", "BTCUSD_bitstamp_1h", "XRP-USD")
    assert [raw.symbol for raw in found] == ["BTC-USD", "ethusd", "BTCUSD_bitstamp_1h", "XRP-USD"]
    assert [raw.origin.split("/")[-1] for raw in found][:2] == ["btc_usdt.csv", "ETHUSD.txt"]
    assert found[3].origin.endswith("XRP-USD.csv")  # the literal name wins
    for symbol, words in (
        ("SOL/USD", "SOL-USD.csv and .*SOLUSDT.csv both match"),
        ("BTC-EUR", "must be one of .*; nearest is btc_usdt"),
        ("btcusd", None),
    ):
        if words:
            with pytest.raises(InputError, match=words):
                ask(tmp_path, symbol)
    with pytest.raises(InputError, match="two of them are one file"):
        ask(tmp_path, "BTC-USD", "BTC-USDT")
    with pytest.raises(InputError, match="two of them are one file"):
        ask(tmp_path, "ETHUSD", "ETHUSD")
    with pytest.raises(InputError, match=r"--symbols is needed .*BTCUSD_bitstamp_1h, ETHUSD"):
        ask(tmp_path)
    assert ask(tmp_path / "ETHUSD.txt")[0].symbol == "ETHUSD"


def test_a_path_that_cannot_be_read_is_rejected_by_name(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    (tmp_path / "x.csv").mkdir()
    for path in (tmp_path / "none", tmp_path, tmp_path / "x.csv", tmp_path / "notes.md", "a" * 5000, "a\0b"):
        with pytest.raises(InputError, match="--data "):
            ask(path, "BTC-USD")
    with pytest.raises(InputError, match="--data is needed"):
        load_candles("files", SourceRequest(("BTC-USD",)))


def test_a_forbidden_file_or_folder_is_rejected_by_name(tmp_path, monkeypatch):
    def forbid(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "BTCUSD.csv").write_text(PLAIN)
    for method in ("read_bytes", "iterdir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, forbid)
            with pytest.raises(InputError, match="Permission denied"):
                ask(tmp_path, "BTCUSD")


CELLS = st.sampled_from(
    ["", "1", "-1", "nan", "1e999", "2019-10-17", "2019-10-17T09:00Z", "1571302800", '"', "1,5", "é"]
)
GARBAGE_ROWS = st.lists(st.lists(CELLS | st.text(max_size=6), min_size=5, max_size=7).map(",".join), max_size=4)
GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    GARBAGE_ROWS.map(lambda rows: "\n".join([PLAIN.split("\n")[0], *rows]).encode()),
    st.tuples(st.integers(0, len(PLAIN)), st.binary(max_size=5)).map(lambda x: PLAIN.encode()[: x[0]] + x[1]),
    st.binary(max_size=100).map(gzip.compress),
)


@settings(max_examples=300, deadline=None)
@given(data=GARBAGE, suffix=st.sampled_from([".csv", ".csv.gz"]), assume_utc=st.booleans())
def test_garbage_raises_nothing_but_one_line_that_names_the_file(data, suffix, assume_utc):
    lines = [f"x{suffix}"]
    try:
        check_candles([read(data, suffix, assume_utc=assume_utc)])
    except InputFaults as error:
        lines = [fault.text for fault in error.faults]
    except InputError as error:
        lines = [str(error)]
    assert all(len(line.splitlines()) == 1 and f"x{suffix}" in line for line in lines)


def test_damaged_parquet_is_refused_in_one_line_and_in_silence(capfd):
    data = parquet(time=["2019-10-17T09:00Z", "2019-10-17T10:00Z"])
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for damaged in (
        data[:300] + b"PAR1",
        b"PAR1" + b"\0" * (footer - 4) + data[footer:],
        data[: footer // 2] * 2 + data,
    ):
        refused(damaged if damaged.endswith(b"PAR1") else damaged + b"PAR1", "damaged", suffix=".parquet")
    assert capfd.readouterr().err == ""


def test_an_unknown_source_names_the_available_ones():
    assert SOURCES.names == ("ccxt", "coingecko", "files", "sample", "synthetic")
    with pytest.raises(InputError, match=r"--source \.\./x: must be one of ccxt, coingecko, files, sample, synthetic"):
        load_candles("../x", SourceRequest())


def test_listing_the_sources_imports_no_reader():
    code = (
        "import sys, himari_jax.plugins as p, himari_jax.sources.files; p.SOURCES.names; print('polars' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"


def test_the_sample_is_clean_real_and_complete():
    candles, report = check_candles(load_candles("sample", SourceRequest()))
    assert candles.symbols == ("BTC-USD",)
    assert len(candles.time) == 20_111
    assert candles.segment[-1] == 0
    assert not candles.synthetic
    assert {entry["kind"] for entry in report.entries} == {"note", "flat"}
    # first and last line of the vendor's file
    first, last = ([getattr(candles, name)[k, 0] for name in COLUMNS] for k in (0, -1))
    assert first == [2505.56, 2513.38, 2495.12, 2509.17, 114.6]
    assert last == [8051, 8056.83, 8021.23, 8035.88, 61.25]
    assert candles.time[-1] == START
    fault = np.searchsorted(candles.time, 1_510_441_200_000)  # 2017-11-11T23:00Z
    np.testing.assert_array_equal(candles.close[fault : fault + 5], candles.close[fault + 5 : fault + 10])


def test_the_sample_has_one_symbol_and_names_the_other_ways():
    assert load_candles("sample", SourceRequest(("btcusd",)))[0].symbol == "btcusd"
    for symbols in (("ETH-USD",), ("BTC-USD", "ETH-USD"), ("BTC-USD", "BTCUSD")):
        with pytest.raises(InputError, match=r"--data FOLDER.*--source synthetic"):
            load_candles("sample", SourceRequest(symbols))
