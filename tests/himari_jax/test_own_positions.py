"""A user's own base positions: what a file may be, and which row holds at which bar."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from himari_jax.errors import InputError
from himari_jax.positions.base_positions import first_known
from himari_jax.positions.own_positions import hold, read_own_positions
from himari_jax.times import iso_minute

HOUR, DAY = 3_600_000, 86_400_000
SYMBOLS = ("BTC-USD", "ETH-USD")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def lines(*rows, head="timestamp,BTC-USD,ETH-USD"):
    """A CSV file; times are hours of 2024-01-01."""
    return "\n".join([head, *(f"2024-01-01T{hour:02d}:00Z,{a},{b}" for hour, a, b in rows), ""])


@pytest.fixture
def bars(candles):
    """Twelve hourly bars of two symbols that close at 2024-01-01T01:00Z to 12:00Z."""
    from dataclasses import replace

    begin = int(np.datetime64("2024-01-01T00:00", "ms").astype(np.int64))
    made = candles(2, 12)
    return replace(made, symbols=SYMBOLS, time=begin + HOUR * np.arange(12))


def test_a_row_holds_from_the_close_at_its_time_until_the_next_one(tmp_path, bars):
    path = written(tmp_path / "own.csv", lines((3, 0.1, 0.2), (4, 0.3, 0), (8, 0.5, 0.6)))
    base = hold(read_own_positions(path, SYMBOLS, DAY), bars)
    # Bar k closes at k + 1 h: rows at 3, 4, 8 h are first known to the bars 2, 3, 7.
    btc = [np.nan, np.nan, 0.1, *[0.3] * 4, *[0.5] * 5]
    eth = [np.nan, np.nan, 0.2, *[0.0] * 4, *[0.6] * 5]
    np.testing.assert_array_equal(base, np.stack([btc, eth], 1))
    assert first_known(base) == 2


def test_a_row_before_the_candles_holds_from_the_first_bar_on(tmp_path, bars):
    path = written(tmp_path / "own.csv", lines((0, 0.1, 0.2)))
    assert first_known(hold(read_own_positions(path, SYMBOLS, DAY), bars)) == 0


def test_base_positions_do_not_depend_on_later_rows_of_file_or_candles(tmp_path, bars):
    from dataclasses import replace

    own = read_own_positions(written(tmp_path / "a.csv", lines((1, 0.1, 0.2), (6, 0.3, 0.4))), SYMBOLS, DAY)
    other = read_own_positions(written(tmp_path / "b.csv", lines((1, 0.1, 0.2), (6, 0.9, 0.8))), SYMBOLS, DAY)
    np.testing.assert_array_equal(hold(own, bars)[:5], hold(other, bars)[:5])
    moved = replace(bars, close=bars.close * 2)
    np.testing.assert_array_equal(hold(own, bars), hold(own, moved))


def test_the_maximum_age_is_allowed_and_a_bar_more_is_not(tmp_path, bars):
    path = written(tmp_path / "own.csv", lines((1, 0.1, 0.2), (6, 0.3, 0.4)))
    hold(read_own_positions(path, SYMBOLS, 6 * HOUR), bars)  # the last bar closes 6 h after the last row
    with pytest.raises(InputError) as error:
        hold(read_own_positions(path, SYMBOLS, 3 * HOUR), bars)
    for word in (str(path), "BTC-USD ETH-USD", "row 2", "01:00Z", "06:00Z", "05:00Z", "--base-max-age"):
        assert word in str(error.value), error.value
    with pytest.raises(InputError, match=r"row 3.*the last one.*2 bars"):
        hold(read_own_positions(path, SYMBOLS, 4 * HOUR), bars)


def test_parquet_and_csv_in_every_form_of_time_are_the_same_positions(tmp_path):
    rows = [(1, 0.1, 0.2), (6, 0.3, 0.4)]
    plain = read_own_positions(written(tmp_path / "a.csv", lines(*rows)), SYMBOLS, DAY)
    frame = pl.DataFrame({"unix": plain.time, "btcusd": plain.shares[:, 0], "ETH-USD": plain.shares[:, 1]})
    frame.write_parquet(tmp_path / "a.parquet")
    zoned = frame.with_columns(pl.from_epoch("unix", "ms").dt.replace_time_zone("UTC").alias("unix"))
    zoned.rename({"unix": "date"}).write_parquet(tmp_path / "b.parquet")
    seconds = frame.with_columns(pl.col("unix") // 1000)
    written(tmp_path / "b.csv", seconds.write_csv(separator=";"))
    naive = lines(*rows).replace("Z", "")
    for name in ("a.parquet", "b.parquet", "b.csv"):
        found = read_own_positions(tmp_path / name, SYMBOLS, DAY)
        np.testing.assert_array_equal(found.time, plain.time)
        np.testing.assert_array_equal(found.shares, plain.shares)
    path = written(tmp_path / "c.csv", naive)
    np.testing.assert_array_equal(read_own_positions(path, SYMBOLS, DAY, assume_utc=True).time, plain.time)
    with pytest.raises(InputError, match="no time zone"):
        read_own_positions(path, SYMBOLS, DAY)


def test_columns_of_no_symbol_are_listed_and_not_read(tmp_path):
    text = lines((1, 0.1, "0.2,desk 7"), head="timestamp,BTC-USD,ETH-USD,note")
    own = read_own_positions(written(tmp_path / "own.csv", text), SYMBOLS, DAY)
    assert own.extra == ("note",)


FAULTS = {
    "no column of a symbol": (lines((1, 0, 0), head="timestamp,BTC-USD,ETHEUR"), "no column ETH-USD", "ETHEUR"),
    "no time": (lines((1, 0, 0), head="when,BTC-USD,ETH-USD"), "no header", "timestamp"),
    "a symbol twice": (lines((1, 0, "0,0"), head="timestamp,BTCUSD,ETH-USD,btc_usd"), "both are BTC-USD"),
    "an empty cell": (lines((1, 0.1, 0.2), (2, 0.1, "")), "row 3", "02:00Z", "ETH-USD = nan", "finite"),
    "infinity": (lines((1, "inf", 0.2)), "row 2", "BTC-USD = inf"),
    "a negative value": (lines((1, 0.1, -0.2)), "row 2", "ETH-USD = -0.2", "perpetual markets"),
    "no number": (lines((1, "much", 0.2)), "row 2", "BTC-USD", "much"),
    "no time in a row": ("timestamp,BTC-USD,ETH-USD\nsoon,1,1\n", "row 2", "soon"),
    "rows out of order": (lines((3, 0, 0), (2, 0, 0)), "row 3", "02:00Z", "order of time"),
    "a time twice": (lines((3, 0, 0), (3, 0, 1)), "row 3", "03:00Z", "row 2 too"),
    "no rows": ("timestamp,BTC-USD,ETH-USD\n", "no rows"),
    "an empty file": ("", "empty"),
    "off the bars": (lines((1, 0, 0)).replace(":00Z", ":30Z"), "row 2", "01:30Z", "no bar of 1 h closes then"),
    "after the candles": (lines((1, 0, 0)).replace("2024", "2025"), "first row", "2025-01-01", "inside the candles"),
    "too old": (lines((1, 0, 0)).replace("2024", "2023"), "row 2", "the last one", "1 day"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_one_line_that_names_it(fault, tmp_path, bars):
    text, *words = FAULTS[fault]
    path = written(tmp_path / "own.csv", text)
    with pytest.raises(InputError) as error:
        hold(read_own_positions(path, SYMBOLS, DAY), bars)
    message = str(error.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message, message


def test_what_is_no_file_of_a_known_kind_is_refused(tmp_path):
    for name, content, word in (
        ("own.csv", None, "no such file"),
        ("own.xlsx", b"PK", "unknown kind"),
        ("own.parquet", b"PAR1xxxxPAR1", "damaged"),
        ("own.csv", b"PAR1", "damaged"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=word):
            read_own_positions(path, SYMBOLS, DAY)
    empty = io.BytesIO()
    pl.DataFrame({"timestamp": pl.Series([], dtype=pl.Int64), "BTC-USD": [], "ETH-USD": []}).write_parquet(empty)
    (tmp_path / "none.parquet").write_bytes(empty.getvalue())
    with pytest.raises(InputError, match="no rows"):
        read_own_positions(tmp_path / "none.parquet", SYMBOLS, DAY)


def test_the_hash_is_of_the_file(tmp_path):
    one, two = (written(tmp_path / f"{x}.csv", lines((1, x, 0))) for x in (0.1, 0.2))
    again = written(tmp_path / "again.csv", one.read_text())
    digests = [read_own_positions(path, SYMBOLS, DAY).sha256 for path in (one, two, again)]
    assert digests[0] == digests[2] != digests[1]
    assert iso_minute(read_own_positions(one, SYMBOLS, DAY).time[0]) == "2024-01-01T01:00Z"
