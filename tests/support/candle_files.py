"""Small files of candles, read and refused."""

import io

import polars as pl
import pytest

from himari_jax.candles import COLUMNS, RawCandles
from himari_jax.errors import InputError, refuse_faults
from himari_jax.sources.files import read_candles

HOUR = 3_600_000
START = 1_571_302_800_000  # 2019-10-17T09:00Z
PLAIN = """timestamp,open,high,low,close,volume
2019-10-17T09:00Z,100,102,99,101,5
2019-10-17T10:00Z,101,103,100,102,6
2019-10-17T11:00Z,102,104,101,103,7
"""
VENDOR = """Timestamps are UTC timezone,https://www.CryptoDataDownload.com\r
date,symbol,open,high,low,close,volume_btc,volume\r
2019-10-17 01-PM,BTCUSD,103,105,102,104,8,824\r
2019-10-17 12-PM,BTCUSD,102,104,101,103,7,714\r
2019-10-17 11-AM,BTCUSD,101,103,100,102,6,606\r
2019-10-17 12-AM,BTCUSD,100,102,99,101,5,500\r
"""


def read(text, suffix=".csv", symbol="BTC-USD", **options) -> RawCandles:
    data = text.encode() if isinstance(text, str) else text
    return read_candles(data, suffix, symbol, f"x{suffix}", **options)


def parquet(**columns):
    numbers = {name: [100.0, 100.0] for name in COLUMNS}
    buffer = io.BytesIO()
    pl.DataFrame(numbers | columns).write_parquet(buffer)
    return buffer.getvalue()


def with_times(*times):
    """PLAIN with other texts in the column of times."""
    rows = [f'"{time}",100,102,99,{101 + k},5' for k, time in enumerate(times)]
    return "\n".join(["timestamp,open,high,low,close,volume", *rows, ""])


def refused(text, *words, suffix=".csv", **options):
    with pytest.raises(InputError) as error:
        refuse_faults(read(text, suffix, **options).faults)
    message = str(error.value)
    assert "\n" not in message
    assert f"x{suffix}" in message
    for word in words:
        assert word in message, message


def outcome(call):
    """The result of a call, or the line of its InputError."""
    try:
        return call()
    except InputError as error:
        return str(error)
