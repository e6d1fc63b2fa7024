"""Parquet tables: columns of times and numbers of any common type as candles."""

import ctypes
import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.candles import COLUMNS, RawCandles
from himari_jax.errors import InputError
from himari_jax.sources._columns import Cells, choose_columns, one_symbol, shown, volume_note
from himari_jax.sources._numbers import NumberPart, join_numbers, parse_numbers, thousands_note
from himari_jax.sources._times import (
    EpochPart,
    WallPart,
    epoch_times,
    join_times,
    parse_times,
    refuse_finer,
    refuse_half_clock,
)

if TYPE_CHECKING:
    import polars as pl

BLOCK_ROWS = 1 << 16


def read_parquet(data: bytes, symbol: str, origin: str, assume_utc: bool) -> RawCandles:
    """The content of one Parquet file as candles in the order of the file, unchecked; rows count from 1.

    Raises:
        InputError: no whole Parquet file, or a column is missing or of another kind.
    """
    import polars as pl

    if not (data.startswith(b"PAR1") and data.endswith(b"PAR1")):
        raise InputError(f"{origin}: not a whole Parquet file as its name says; allowed: Parquet, or name it .csv")
    try:
        with _silence() as stderr, _last_words(f"error: {origin}: the Parquet file is damaged", stderr):
            table = pl.read_parquet(io.BytesIO(data))
        names = table.columns
        one_symbol(names, (column.unique() for column in table), origin)
        chosen = choose_columns(names, symbol, origin)
        if table.height == 0:
            raise InputError(f"{origin}: no candles; allowed: at least one row")
        row = np.arange(1, table.height + 1)
        columns = {role: (names[k], table.to_series(k)) for role, k in chosen.items()}
        time, hours = _parquet_times(*columns.pop("time"), row, origin, assume_utc)
        read = {role: _parquet_numbers(*column, row, origin) for role, column in columns.items()}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, MemoryError) as error:
        reason = shown(str(error).strip().split("\n")[0])
        raise InputError(f"{origin}: the Parquet file is damaged or of an unknown kind ({reason})") from None
    opens, high, low, close, volume = (read[role].values for role in COLUMNS)
    if hours is not None:
        refuse_half_clock(*hours, (opens, high, low, close, volume))
    notes = (*volume_note(columns["volume"][0]), *thousands_note([[part] for part in read.values()]))
    return RawCandles(symbol, origin, row, time, opens, high, low, close, volume, notes)


def _parquet_times(
    name: str, column: "pl.Series", row: np.ndarray, origin: str, assume_utc: bool
) -> tuple[np.ndarray, tuple[Cells, np.ndarray] | None]:
    """Epoch milliseconds (T,); for texts also the cells and hours that `refuse_half_clock` takes, else None."""
    import polars as pl

    cells = Cells(origin, name, row, lambda: column)
    if column.null_count():
        raise cells.refuse(np.argmax(column.is_null().to_numpy()), "is no time", "a time in every row")
    if column.dtype == pl.String:
        parts: list[EpochPart | WallPart] = []
        for begin in range(0, len(column), BLOCK_ROWS):
            parts.append(parse_times(column.slice(begin, BLOCK_ROWS), parts))
        time, hours = join_times(parts, cells, assume_utc)
        return time, None if hours is None else (cells, hours)
    if column.dtype.is_numeric() and not column.dtype.is_decimal():
        return epoch_times(cells, column.to_numpy()), None
    if column.dtype not in (pl.Date, pl.Datetime):
        raise InputError(f"{origin}: column {shown(name)} holds {column.dtype}; allowed: times, epoch numbers or texts")
    zone = getattr(column.dtype, "time_zone", None)
    if zone is None and not assume_utc:
        raise cells.refuse(0, "has no time zone", "times with a zone; --assume-utc reads them as UTC")
    moments = column.cast(pl.Datetime("ms", zone))
    refuse_finer(cells, (moments.cast(column.dtype) != column).to_numpy())
    return moments.to_physical().to_numpy(), None


def _parquet_numbers(name: str, column: "pl.Series", row: np.ndarray, origin: str) -> NumberPart:
    import polars as pl

    if column.dtype == pl.String:
        texts = column.fill_null("")
        part = parse_numbers(texts)
        return part._replace(values=join_numbers([part], Cells(origin, name, row, lambda: texts)))
    if not column.dtype.is_numeric():
        raise InputError(f"{origin}: column {shown(name)} holds {column.dtype}; allowed: numbers")
    return NumberPart(column.cast(pl.Float64).fill_null(float("nan")).to_numpy(), 0, True, None)


@contextmanager
def _silence() -> Iterator[int]:
    """Keeps the standard error empty: polars prints a stack where a damaged file only deserves our one line.

    Yields a descriptor that still leads to it, or -1.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield -1
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield kept
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _last_words(line: str, stderr: int) -> Iterator[None]:
    """Ends the process with a line and 2 where polars aborts it: a damaged length can ask for memory without bounds.

    Rust aborts then, which Python cannot catch; `signal.signal` would only run after polars has returned.
    """

    def leave(number: int) -> None:
        with suppress(OSError):
            os.write(stderr, f"{line}\n".encode())
        os._exit(2)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(leave)
    set_handler = ctypes.CDLL(None).signal
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = set_handler(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        set_handler(signal.SIGABRT, before)
