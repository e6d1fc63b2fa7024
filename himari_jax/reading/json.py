"""JSON as tables: arrays of arrays or of objects, lines of them, the forms of pandas, the answers of exchanges."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from himari_jax.errors import InputError
from himari_jax.reading.columns import score, shown
from himari_jax.reading.names import listed
from himari_jax.reading.tables import FrameTable

if TYPE_CHECKING:
    import polars as pl

ALLOWED = "an array of arrays or of objects, or one a line"
DEEPEST = 4  # objects around the table, as in {"result": {"list": [...]}}


def read_json(data: bytes, origin: str) -> FrameTable:
    """The content of a JSON file, or of a file with one JSON value a line.

    Raises:
        InputError: no JSON, no table in it, or several.
    """
    value = _parse(data, origin)
    rows = _find_table(value, origin)
    if isinstance(rows, Mapping):
        columns = {str(name): list(column) for name, column in rows.items()}
        return _frame(columns, True, origin)
    if not rows:
        raise InputError(f"{origin}: no candles; allowed: at least one row")
    if all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return _frame({str(name): [row.get(name) for row in rows] for name in names}, True, origin)
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != width:
            what = f"row {number} is {shown(json.dumps(row))}, row 1 has {width} cells"
            raise InputError(f"{origin}: {what}; allowed: as many in every row")
    return _frame({str(k + 1): [row[k] for row in rows] for k in range(width)}, False, origin)


def _parse(data: bytes, origin: str) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{origin}: not UTF-8 text; allowed: JSON saved as UTF-8") from None
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{origin}: JSON nested too deeply; allowed: {ALLOWED}") from None
    except ValueError as error:
        first = error
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                what = first if not values else f"line {number}: {error}"
                raise InputError(f"{origin}: no whole JSON ({what}); allowed: {ALLOWED}") from None
    return values


def _find_table(value: Any, origin: str) -> Sequence[Any] | Mapping[str, Sequence[Any]]:
    """The only table of candles inside a value: rows, or columns by name.

    Raises:
        InputError: none, or several.
    """
    tables = list(_tables_in(value))
    candles = [each for each in tables if _names_candles(each[1])] or tables
    if len(candles) == 1:
        return candles[0][1]
    if not candles:
        raise InputError(f"{origin}: no table of candles in the JSON; allowed: {ALLOWED}")
    names = listed([shown(name) for name, _ in candles], 4)
    raise InputError(f"{origin}: {len(candles)} tables, {names}; allowed: one in a file")


def _tables_in(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """All tables inside a value, each by the name of the object it stands in."""
    found = as_table(value)
    if found is not None:
        yield name, found
    elif isinstance(value, list) and len(value) == 1 and depth < DEEPEST:
        yield from _tables_in(value[0], name, depth + 1)
    elif isinstance(value, Mapping) and depth < DEEPEST:
        for own, each in value.items():
            if isinstance(each, Mapping | list) and each:
                yield from _tables_in(each, str(own), depth + 1)


def _names_candles(table: Sequence[Any] | Mapping[str, Sequence[Any]]) -> bool:
    """Whether a table may hold candles: its columns have no names, or those of time and prices."""
    if isinstance(table, Mapping):
        return score(list(table)) >= 4
    first = table[0] if table else []
    return score([str(name) for name in first]) >= 4 if isinstance(first, Mapping) else len(table) > 0


def as_table(value: Any) -> Sequence[Any] | Mapping[str, Sequence[Any]] | None:
    """A value as rows, or as columns by name, if it is a table: also in the forms that pandas writes; else None."""
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], Mapping) and not _is_flat(value[0]):
            return None  # what is around a table, as in {"result": [{"list": ...}]}
        objects = all(isinstance(row, Mapping) for row in value)
        arrays = all(isinstance(row, list) and len(row) >= 5 for row in value)
        return value if objects or arrays else None
    if not isinstance(value, Mapping) or not value:
        return None
    if {"columns", "data"} <= set(value) and isinstance(value["data"], list):  # orient="split"
        named = {str(name): [row[k] for row in value["data"]] for k, name in enumerate(value["columns"])}
        return named if value.get("index") is None else {"": value["index"], **named}
    if set(value) == {"schema", "data"}:  # orient="table"
        return as_table(value["data"])
    lists = {name: each for name, each in value.items() if isinstance(each, list)}
    flat = {name: each for name, each in lists.items() if not any(isinstance(x, Mapping | list) for x in each)}
    scalars = sum(not isinstance(each, Mapping | list) for each in value.values())
    if len(flat) >= 5 and len({len(each) for each in flat.values()}) == 1 and len(flat) + scalars == len(value):
        return flat
    maps = [each for each in value.values() if isinstance(each, Mapping)]
    if len(maps) != len(value) or not all(_is_flat(each) for each in maps):
        return None
    keys = list(maps[0])
    if score(list(value)) >= 3 and all(list(each) == keys for each in maps):  # columns, as pandas writes by default
        return {"": keys, **{str(name): list(each.values()) for name, each in value.items()}}
    names = dict.fromkeys(name for each in maps for name in each)
    if len(names) < 4:
        return None
    return {"": list(value), **{str(name): [each.get(name) for each in maps] for name in names}}


def _is_flat(value: Mapping[str, Any]) -> bool:
    return not any(isinstance(each, Mapping | list) for each in value.values())


def _frame(columns: Mapping[str, list[Any]], headed: bool, origin: str) -> FrameTable:
    import polars as pl

    series = [_series(name, cells) for name, cells in columns.items()]
    return FrameTable(origin, pl.DataFrame(series), list(columns), headed)


def _series(name: str, cells: list[Any]) -> "pl.Series":
    """Cells of JSON as a column: whole numbers, numbers, or texts where one is a text."""
    import polars as pl

    kinds = {type(cell) for cell in cells} - {type(None)}
    try:
        if kinds <= {int}:
            return pl.Series(name, cells, pl.Int64 if kinds else pl.String)
        if kinds <= {int, float}:
            return pl.Series(name, [None if cell is None else float(cell) for cell in cells], pl.Float64)
    except (OverflowError, TypeError):
        pass
    if kinds <= {int, float, str}:
        return pl.Series(name, [None if cell is None else str(cell) for cell in cells], pl.String)
    if kinds == {bool}:
        return pl.Series(name, cells, pl.Boolean)
    # Nothing of a candle: kept as text, so that an unused column does no harm.
    return pl.Series(name, [None if cell is None else json.dumps(cell) for cell in cells], pl.String)
