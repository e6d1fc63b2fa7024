"""Series: numbers over time, a column each, from Parquet or CSV, in the forms that candles may have."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

import numpy as np

from himari_jax.errors import InputError
from himari_jax.sources._columns import ALIASES, Cells, plain, shown
from himari_jax.sources._numbers import NumberPart, join_numbers, parse_numbers
from himari_jax.sources._parquet import damage_told, load_table, parquet_numbers, parquet_times
from himari_jax.sources._text import read_text, unzip
from himari_jax.sources._times import EpochPart, WallPart, join_times, parse_times


class Series(NamedTuple):
    """Numbers of N symbols over time as a file has them, unchecked and in the order of the file."""

    row: np.ndarray  # (K,) int64, line of a CSV file, or row of a Parquet file from 1
    time: np.ndarray  # (K,) int64, epoch milliseconds UTC
    values: np.ndarray  # (K, N) float64, NaN where empty
    extra: tuple[str, ...]  # columns that nobody asked for


def read_series(data: bytes, suffix: str, symbols: Sequence[str], origin: str, assume_utc: bool) -> Series:
    """The column of each symbol from one file.

    Args:
        data: the bytes of the file.
        suffix: one of `himari_jax.sources.files.SUFFIXES`.
        symbols: N names, found literally, else without case and punctuation.
        origin: what to call the file in messages.
        assume_utc: reads times without a zone as UTC.

    Raises:
        InputError: names file, row, column, value and what is allowed.
    """
    if suffix == ".parquet":
        return _read_parquet(data, symbols, origin, assume_utc)
    return _read_csv(unzip(data, origin) if suffix == ".csv.gz" else data, symbols, origin, assume_utc)


def _read_parquet(data: bytes, symbols: Sequence[str], origin: str, assume_utc: bool) -> Series:
    with damage_told(origin):
        table = load_table(data, origin)
        when, columns = choose_series(table.columns, symbols, origin)
        if table.height == 0:
            raise InputError(f"{origin}: no rows; allowed: at least one")
        row = np.arange(1, table.height + 1)
        time, _ = parquet_times(table.columns[when], table.to_series(when), row, origin, assume_utc)
        read = [parquet_numbers(table.columns[k], table.to_series(k), row, origin).values for k in columns]
    return Series(row, time, np.stack(read, 1), _extra(table.columns, (when, *columns)))


def _read_csv(data: bytes, symbols: Sequence[str], origin: str, assume_utc: bool) -> Series:
    table = read_text(data, origin, least=1)
    when, columns = choose_series(table.names, symbols, origin)
    thousands = table.delimiter != ";"
    rows: list[np.ndarray] = []
    times: list[EpochPart | WallPart] = []
    parts: list[list[NumberPart]] = [[] for _ in columns]
    for row, (texts, *numbers) in table.blocks([when, *columns]):
        rows.append(row)
        times.append(parse_times(texts, times))
        for own, column in zip(parts, numbers, strict=True):
            own.append(parse_numbers(column, thousands))
    row = np.concatenate(rows)
    cells = {k: Cells(origin, table.names[k], row, partial(table.column, k)) for k in (when, *columns)}
    says_utc = table.utc or plain(table.names[when]).endswith(("utc", "gmttime"))
    time, _ = join_times(times, cells[when], assume_utc or says_utc)
    read = [join_numbers(own, cells[k], thousands) for own, k in zip(parts, columns, strict=True)]
    return Series(row, time, np.stack(read, 1), _extra(table.names, (when, *columns)))


def choose_series(names: Sequence[str], symbols: Sequence[str], origin: str) -> tuple[int, list[int]]:
    """The column of the time and that of each symbol.

    Raises:
        InputError: one of them is missing or stands twice.
    """
    keys = [plain(name) for name in names]
    when = next((keys.index(alias) for alias in ALIASES["time"] if alias in keys), None)
    have = ", ".join(shown(name) for name in names[:12])
    if when is None:
        raise InputError(f"{origin}: no column timestamp; allowed names are {', '.join(ALIASES['time'])}; found {have}")
    if keys.count(keys[when]) > 1:
        raise InputError(f"{origin}: two columns are called {keys[when]}; allowed: one column timestamp")
    others = [k for k in range(len(names)) if k != when]
    return when, [_find_column(symbol, names, others, origin) for symbol in symbols]


def _find_column(symbol: str, names: Sequence[str], others: Sequence[int], origin: str) -> int:
    hits = [k for k in others if names[k].strip() == symbol] or [k for k in others if plain(names[k]) == plain(symbol)]
    if len(hits) > 1:
        both = " and ".join(shown(names[k]) for k in hits[:2])
        raise InputError(f"{origin}: columns {both} both are {symbol}; allowed: one column per symbol")
    if not hits:
        found = {plain(names[k]): names[k] for k in others}
        near = get_close_matches(plain(symbol), found, 1)
        hint = f"; nearest is {shown(found[near[0]])}" if near else ""
        have = ", ".join(shown(names[k]) for k in others[:12]) or "none beside the time"
        raise InputError(f"{origin}: no column {symbol}; allowed: a column for each symbol; found {have}{hint}")
    return hits[0]


def _extra(names: Sequence[str], used: Sequence[int]) -> tuple[str, ...]:
    return tuple(name for k, name in enumerate(names) if k not in used)
