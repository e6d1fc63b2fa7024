"""Tables without a header: the columns of time and numbers are inferred from their values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.checking.rows import ROUNDING
from himari_jax.errors import Fault, InputError
from himari_jax.reading.columns import PRICES, score, shown
from himari_jax.reading.numbers import default_comma, parse_numbers
from himari_jax.reading.roles import NO_VOLUME, Roles
from himari_jax.reading.tables import Table
from himari_jax.reading.times import kind_of_time

if TYPE_CHECKING:
    import polars as pl

ADD_HEADER = "a first line that names the columns, such as time,open,high,low,close,volume"
ADD_NAMES = "an object for each candle, with the names time, open, high, low, close, volume"


def find_roles(table: Table, first: Sequence["pl.Series"], no_volume: bool) -> Roles:
    """The columns of candles without a header: a time first, then four prices, then the volume.

    The highest and the lowest price of every row say which column is which; open stands before close.

    Args:
        table: without a header.
        first: the first rows of every column.
        no_volume: asks for no volume.

    Raises:
        InputError: no order of the prices holds in every row, or the columns may be read in two ways.
    """
    time = _find_time(table, first)
    begin = time[-1] + 1
    rest = list(range(begin, len(table.names)))
    if len(rest) < 4:
        what = f"{len(rest)} columns behind the time in column {begin}"
        raise InputError(f"{table.origin}: no header, and {what}; allowed: four prices there, or {_naming(table)}")
    values = _numbers(table, rest[:5])
    _check_prices(values[:4], rest, table)
    here = ", ".join(str(k + 1) for k in (*time, *rest[:5]))
    names = ", ".join(("date", "time of day") if len(time) > 1 else ("time",))
    notes = (f"columns {here} read as {names}, open, high, low, close{', volume' if len(rest) > 4 else ''}",)
    if no_volume:
        return Roles(time, tuple(rest[:4]), (), notes)
    if len(rest) == 4:
        text = f"{table.origin}: no header, and no column behind the four prices; {NO_VOLUME} does without a volume"
        return Roles(time, tuple(rest[:4]), (), notes, (Fault(text, NO_VOLUME),))
    if _is_price(values[4], values[1], values[2]):
        both = f"column {rest[4] + 1} lies between low and high in every row: it may be a volume or another price"
        raise InputError(f"{table.origin}: no header, and {both}; allowed: {_naming(table)}")
    return Roles(time, tuple(rest[:4]), (rest[4],), notes)


def _naming(table: Table) -> str:
    return ADD_HEADER if table.delimiter else ADD_NAMES


def _find_time(table: Table, first: Sequence["pl.Series"]) -> tuple[int, ...]:
    for number, row in enumerate(zip(*(column.cast(str).to_list() for column in first), strict=True), 1):
        if score([str(cell) for cell in row]) >= 3:
            what = f"row {number} names the columns, but rows stand above it"
            raise InputError(f"{table.origin}: {what}; allowed: the header in the first line, or none")
    kinds = [[kind_of_time(cell) for cell in column.to_list()] for column in first[:4]]
    for k, found in enumerate(kinds):
        if set(found) <= {"epoch", "moment"}:
            return (k,)
        if set(found) == {"day"}:
            clock = k + 1 < len(kinds) and set(kinds[k + 1]) == {"clock"} and len(table.names) > k + 5
            return (k, k + 1) if clock and _is_time_of_day(first[k + 1]) else (k,)
    cells = ", ".join(shown(column[0]) for column in first[:3])
    raise InputError(
        f"{table.origin}: no header, and no time in the first columns ({cells}); allowed: {_naming(table)}"
    )


def _is_time_of_day(column: "pl.Series") -> bool:
    """Whether all cells are written as times of day are, and a price is not: with a colon, or six or four digits."""
    texts = [str(cell).strip() for cell in column.to_list()]
    return all(":" in text for text in texts) or (
        len({len(text) for text in texts}) == 1 and len(texts[0]) in (4, 6) and texts[0].isdecimal()
    )


def _numbers(table: Table, wanted: Sequence[int]) -> list[np.ndarray]:
    """The wanted columns as numbers, NaN where none stands."""
    parts: list[list[np.ndarray]] = [[] for _ in wanted]
    for _, columns in table.blocks(wanted):
        for own, column in zip(parts, columns, strict=True):
            own.append(parse_numbers(column, default_comma(table.delimiter)).values)
    return [np.concatenate(own) for own in parts]


def _check_prices(values: Sequence[np.ndarray], rest: Sequence[int], file: Table) -> None:
    """Refuses prices that are not open, high, low and close.

    Raises:
        InputError: says which column could be which.
    """
    table = np.stack(values)
    known = np.isfinite(table).all(0)
    table = table[:, known]
    scale = ROUNDING * np.abs(table).max(0, initial=0.0)
    # The last row may be an unfinished candle.
    top = [bool((column >= table.max(0) - scale)[:-1].all()) for column in table]
    bottom = [bool((column <= table.min(0) + scale)[:-1].all()) for column in table]
    if top[1] and bottom[2]:
        return
    columns = [k + 1 for k in rest[:4]]
    where = f"columns {columns[0]} to {columns[3]}"
    if any(top) and any(bottom):
        high, low = columns[top.index(True)], columns[bottom.index(True)]
        one, two = (k for k in columns if k not in (high, low))
        what = f"column {high} is the high and {low} the low; {one} and {two} may be open and close or close and open"
        raise InputError(f"{file.origin}: no header, and {what}; allowed: {_naming(file)}")
    broken = np.flatnonzero((table[1] < table.max(0) - scale) | (table[2] > table.min(0) + scale))
    candle = ", ".join(f"{name} {table[k, broken[0]]:g}" for k, name in enumerate(PRICES))
    share = f"{len(broken)} of {table.shape[1]} rows are no candle, such as {candle}"
    raise InputError(
        f"{file.origin}: no header, and {where} are no open, high, low, close: {share}; allowed: {_naming(file)}"
    )


def _is_price(values: np.ndarray, high: np.ndarray, low: np.ndarray) -> bool:
    known = np.isfinite(values) & np.isfinite(high) & np.isfinite(low)
    inside = (values[known] <= high[known]) & (values[known] >= low[known])
    return bool(known.any() and inside.all())
