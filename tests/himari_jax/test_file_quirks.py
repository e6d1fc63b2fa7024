"""Quirks of candle files that could be read as something else: refused, or read and reported."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from candle_files import HOUR, PLAIN, START, parquet, read, refused, with_times


@pytest.mark.parametrize(
    "text",
    [
        "2019-10-17T09:00:00.0004Z",
        "2019-10-17T09:00:00.000000001Z",
        "2019-10-17 09:00:00.0004 UTC",
        "1571302800.0004",
        "1571302800000001",
        "1571302800000000001",
    ],
)
def test_a_time_between_two_milliseconds_is_rejected_and_never_rounded(text):
    refused(with_times(text), "row 2", "between two milliseconds")


def test_a_fraction_of_a_second_is_kept_whatever_the_form():
    for text in ("2019-10-17 09:00:00.500 UTC", "2019-10-17T09:00:00.5Z", "1571302800.5", "2019/10/17 9:00:00.5+00:00"):
        assert read(with_times(text)).time[0] == START + 500


def test_a_date_with_a_zone_is_midnight_there_and_no_time_of_day():
    assert read(with_times("2019-10-17+09:00")).time[0] == START - 18 * HOUR
    refused(with_times("2019-10-17-09"), "row 2", "is no time")


def test_a_comma_after_zero_is_no_thousands_separator():
    refused(PLAIN.replace(",5\n", ',"0,123"\n'), "row 2", "'volume'", "'0,123'")


def test_parquet_reports_and_refuses_what_csv_does():
    texts = ["2019-10-17T09:00Z", "2019-10-17T10:00Z"]
    assert "thousands" in " ".join(read(parquet(time=texts, volume=["1,234", "5"]), ".parquet").notes)
    refused(parquet(time=texts, symbol=["A", "B"]), "2 symbols", suffix=".parquet")
    stamps = pl.Series([START * 1000, START * 1000 + 1]).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    refused(parquet(time=stamps), "row 2", "between two milliseconds", suffix=".parquet")


def test_an_abort_of_the_parquet_reader_is_one_line_and_exit_2():
    code = (
        "import os; from himari_jax.reading.frames import _line_at_abort, _silenced_stderr\n"
        "with _silenced_stderr() as stderr, _line_at_abort('error: x.parquet: the Parquet file is damaged', stderr):\n"
        "    os.abort()"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: x.parquet: the Parquet file is damaged\n"
