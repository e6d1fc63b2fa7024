"""CSV files: texts of a table as candles."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.candles import COLUMNS, RawCandles
from himari_jax.errors import InputError
from himari_jax.sources._columns import SYMBOL_NAMES, Cells, choose_columns, one_symbol, plain, volume_note
from himari_jax.sources._numbers import NumberPart, join_numbers, parse_numbers, thousands_note
from himari_jax.sources._text import read_text
from himari_jax.sources._times import EpochPart, WallPart, join_times, parse_times, refuse_half_clock

if TYPE_CHECKING:
    from himari_jax.sources._rows import Block, TextTable


def read_csv(data: bytes, symbol: str, origin: str, assume_utc: bool) -> RawCandles:
    """The content of one CSV file as candles in the order of the file, unchecked; rows are lines of the file.

    What is wrong with the rows of the table is told before what is wrong with a column, whichever comes first.

    Raises:
        InputError: names file, row, column, value and what is allowed.
    """
    table = read_text(data, origin)
    chosen, thousands = _choose(table, symbol), table.delimiter != ";"
    rows: list[np.ndarray] = []
    times: list[EpochPart | WallPart] = []
    parts: dict[str, list[NumberPart]] = {role: [] for role in COLUMNS}
    for row, texts in _one_symbol_blocks(table, [chosen[role] for role in ("time", *COLUMNS)]):
        rows.append(row)
        times.append(parse_times(texts[0], times))
        for role, column in zip(COLUMNS, texts[1:], strict=True):
            parts[role].append(parse_numbers(column, thousands))
    row = np.concatenate(rows)
    cells = {role: Cells(origin, table.names[k], row, partial(table.column, k)) for role, k in chosen.items()}
    notes = [*table.notes, *volume_note(cells["volume"].name)]
    says_utc = table.utc or plain(cells["time"].name).endswith(("utc", "gmttime"))
    time, hours = join_times(times, cells["time"], assume_utc or says_utc)
    if says_utc:
        notes.append("times without a zone are UTC, as the file says")
    notes += thousands_note(list(parts.values()))
    opens, high, low, close, volume = (join_numbers(parts.pop(role), cells[role], thousands) for role in COLUMNS)
    if hours is not None:
        refuse_half_clock(cells["time"], hours, (opens, high, low, close, volume))
    return RawCandles(symbol, origin, row, time, opens, high, low, close, volume, tuple(notes))


def _choose(table: "TextTable", symbol: str) -> dict[str, int]:
    """The column of each role; a fault of the rows is told before a missing column."""
    try:
        return choose_columns(table.names, symbol, table.origin)
    except InputError:
        for _ in _one_symbol_blocks(table, []):
            pass
        raise


def _one_symbol_blocks(table: "TextTable", wanted: Sequence[int]) -> Iterator["Block"]:
    """The rows of the wanted columns block by block; refuses, after the last, a file of several symbols."""
    marks = [k for k, name in enumerate(table.names) if plain(name) in SYMBOL_NAMES]
    found: list[set[str]] = [set() for _ in marks]
    for row, texts in table.blocks([*wanted, *marks]):
        for symbols, column in zip(found, texts[len(wanted) :], strict=True):
            symbols.update(column.unique())
        yield row, texts[: len(wanted)]
    one_symbol([table.names[k] for k in marks], found, table.origin)
