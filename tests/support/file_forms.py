"""One series of candles, written in many forms and read back."""

import csv
import io
import zipfile
from datetime import UTC, datetime

import numpy as np
import polars as pl
from candle_files import HOUR, START

from himari_jax.candles import COLUMNS
from himari_jax.errors import refuse_faults
from himari_jax.sources.files import load
from himari_jax.sources.request import SourceRequest

ROWS = 60
TIMES = START + HOUR * np.arange(ROWS)
CLOSE = np.round(100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, ROWS))), 3)
OPEN = np.concatenate([[100.0], CLOSE[:-1]])
CANDLES = np.stack(
    [OPEN, np.maximum(OPEN, CLOSE) + 0.25, np.minimum(OPEN, CLOSE) - 0.25, CLOSE, 7.5 + np.arange(ROWS)], axis=1
)
CANDLES.setflags(write=False)  # all tests compare with them


def moments(form):
    return [datetime.fromtimestamp(time // 1000, UTC).strftime(form) for time in TIMES.tolist()]


def table(*columns, header=None, mark=","):
    """A text of columns, of which arrays are numbers."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, lineterminator="\n")
    if header:
        writer.writerow(header)
    writer.writerows(
        zip(*(column.tolist() if isinstance(column, np.ndarray) else column for column in columns), strict=True)
    )
    return out.getvalue().encode()


def ohlcv():
    return list(CANDLES.T)


def plain(header="timestamp,open,high,low,close,volume"):
    return table(moments("%Y-%m-%dT%H:%MZ"), *ohlcv(), header=header.split(","))


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return out.getvalue()


def frame(time, name="date"):
    return pl.DataFrame({name: time, **dict(zip(COLUMNS, ohlcv(), strict=True))})


def stored(made, kind):
    out = io.BytesIO()
    getattr(made, f"write_{kind}")(out)
    return out.getvalue()


def ask(folder, *symbols, **options):
    found = load(SourceRequest(symbols, (str(folder),), **options))
    refuse_faults([fault for raw in found for fault in raw.faults])
    return found


def same(raw, rows=slice(None)):
    np.testing.assert_array_equal(raw.time, TIMES[rows])
    np.testing.assert_array_equal(np.stack([getattr(raw, name) for name in COLUMNS], axis=1), CANDLES[rows])
