"""Parsing: the time and the numbers of a table, block by block, and what a comma in its numbers is."""

from typing import NamedTuple

import numpy as np

from himari_jax.reading.numbers import (
    Comma,
    NumberPart,
    check_numbers,
    comma_of,
    default_comma,
    parse_numbers,
    sign_of,
)
from himari_jax.reading.tables import Table, cells_of
from himari_jax.reading.times import Part, check_clock, check_times, parse_times


class Columns(NamedTuple):
    """The columns of a table that are parsed."""

    time: tuple[int, ...]  # of the time; or of the day and the time of day
    numbers: tuple[int, ...]
    prices: tuple[int, ...] = ()  # of candles: a sign of money may stand there, and commas in all of them be decimal
    volumes: tuple[int, ...] = ()  # of candles: 1.5K is 1500


class Parsed(NamedTuple):
    """Parsed columns of a table; what could not be read is a fault of its part."""

    row: np.ndarray  # (T,) int64, row of the file
    times: list[Part]  # none where day and time of day are two columns
    numbers: dict[int, list[NumberPart]]  # by column
    comma: Comma


def parse_columns(table: Table, columns: Columns, rows: np.ndarray | None = None) -> Parsed:
    """Parses columns of a table, and finds whether commas in its numbers are decimal.

    Args:
        table: of any kind.
        columns: of it.
        rows: (T,), those to be read, rising; None: all.

    Raises:
        InputError: a typed column is of a wrong type, or a row has another number of cells than the header.
    """
    check_columns(table, columns)
    comma = default_comma(table.delimiter)
    parsed = _parse(table, columns, comma, rows)
    having = {k for k, parts in parsed.numbers.items() if any(part.commas for part in parts)}
    # Between commas most separate thousands, unless the prices of candles say otherwise.
    deciding = columns.prices if comma else columns.numbers
    if having and deciding and (not comma or having >= set(deciding)):
        shown = comma_of(texts for _, block in table.blocks(deciding) for texts in block)
        if shown not in ("", comma):
            return _parse(table, columns, shown, rows)
    return parsed


def check_columns(table: Table, columns: Columns) -> None:
    """Refuses columns of a Parquet, Feather or JSON file that cannot hold times or numbers; text files hold texts.

    Raises:
        InputError: names the first.
    """
    for k in () if table.delimiter else (*columns.time, *columns.numbers):
        column = table.column(k)
        check = check_numbers if k not in columns.time else check_times if k == columns.time[0] else check_clock
        check(column, cells_of(table, k, np.arange(1, len(column) + 1)))


def _parse(table: Table, columns: Columns, comma: Comma, rows: np.ndarray | None) -> Parsed:
    """Parses the columns with a given meaning of commas."""
    found: list[np.ndarray] = []
    times: list[Part] = []
    numbers: dict[int, list[NumberPart]] = {k: [] for k in columns.numbers}
    signs: dict[int, str] = {}
    begin = 0
    for row, block in table.blocks((*columns.time, *numbers)):
        end = begin + len(row)
        if rows is not None:
            first, last = np.searchsorted(rows, (begin, end))
            inside = rows[first:last] - begin
            row, block = row[inside], [column.gather(inside) for column in block]
        begin = end
        if len(row) == 0:
            continue
        found.append(row)
        if len(columns.time) == 1:
            times.append(parse_times(block[0], times))
        for k, column in zip(numbers, block[len(columns.time) :], strict=True):
            sign = signs.setdefault(k, sign_of(column)) if columns.prices else ""
            numbers[k].append(parse_numbers(column, comma, k in columns.volumes, sign))
    return Parsed(np.concatenate(found), times, numbers, comma)
