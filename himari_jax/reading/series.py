"""Series: numbers over time, a column each, from Parquet or CSV, in the forms that candles may have."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from himari_jax.errors import InputError
from himari_jax.reading.columns import ALIASES, shown
from himari_jax.reading.content import read_table
from himari_jax.reading.entries import unpack
from himari_jax.reading.frames import damage_as_input_error
from himari_jax.reading.names import plain
from himari_jax.reading.numbers import join_numbers
from himari_jax.reading.parsing import Columns, parse_columns
from himari_jax.reading.tables import cells_of, is_in_utc
from himari_jax.reading.times import join_times, refuse_naive


class Series(NamedTuple):
    """Numbers of N symbols over time as a file has them, unchecked and in the order of the file."""

    row: np.ndarray  # (K,) int64, line of a CSV file, or row of a Parquet file from 1
    time: np.ndarray  # (K,) int64, epoch milliseconds UTC
    values: np.ndarray  # (K, N) float64, NaN where empty
    extra: tuple[str, ...]  # columns that belong to no symbol


def read_series(data: bytes, path: Path, symbols: Sequence[str], assume_utc: bool) -> Series:
    """The column of each symbol from one file.

    Args:
        data: the bytes of the file.
        path: of the file, whose name says of what kind it is.
        symbols: N names, found literally, else without case and punctuation.
        assume_utc: reads times without a zone as UTC.

    Raises:
        InputError: names file, row, column, value and what is allowed.
    """
    origin = str(path)
    with damage_as_input_error(origin):
        table = read_table(unpack(data, path.name, origin), origin, least=1)
        when, columns = choose_series(table.names, symbols, origin)
        row, times, parts, comma = parse_columns(table, Columns((when,), tuple(dict.fromkeys(columns))))
        cells = cells_of(table, when, row)
        found = join_times(times, cells)
        if not (assume_utc or is_in_utc(table, when)) and (naive := refuse_naive(found, cells)):
            raise naive
        read = [join_numbers(parts[k], cells_of(table, k, row), comma) for k in columns]
    return Series(row, found.time, np.stack(read, 1), _extra(table.names, (when, *columns)))


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
