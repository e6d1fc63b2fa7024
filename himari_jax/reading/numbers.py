"""Numbers: the cells of a column as float64, or an error that says which cell is none."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from himari_jax.errors import InputError
from himari_jax.reading.columns import SPACE, Cells, shown

if TYPE_CHECKING:
    import polars as pl

Comma = Literal["thousands", "decimal", ""]  # what a comma inside a number is; empty: it is none

MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none", "-")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?$"
DECIMAL = r"^[+-]?([0-9]+|[1-9][0-9]{0,2}(\.[0-9]{3})+)(,[0-9]*)?$"
SURE_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3}){2,}(\.[0-9]*)?$|^[+-]?[1-9][0-9]{0,2},[0-9]{3}\.[0-9]*$"
SURE_DECIMAL = r"^[+-]?(0|[0-9]{4,}),[0-9]+$|^[+-]?[0-9]+,([0-9]{1,2}|[0-9]{4,})$|\.[0-9]{3},[0-9]+$"
SURE_POINT = r"^[+-]?([0-9]*\.([0-9]{1,2}|[0-9]{4,})|(0|[0-9]{4,})\.[0-9]+)$"
SHORT = r"^[+-]?[0-9.,]*[0-9][kKmMbB]$"
SIGNS = ("$", "€", "£", "¥", "₹", "₽", "₩", "₿")  # of money
SHORT_FACTORS = {"k": 1e3, "m": 1e6, "b": 1e9}


class NumberPart(NamedTuple):
    """Some rows of a column of numbers."""

    values: np.ndarray  # (K,) float64, NaN where empty
    separated: int  # how many had separators of thousands, decimal commas, or K, M or B behind them
    floats: bool  # Python's `float` reads them all, which it does for more than a number: `+nan`, digits of any script
    fault: int | None  # index of the first that is no number, wrong only in a column that `float` does not read
    commas: bool = False  # one of them has a comma


def sign_of(column: "pl.Series") -> str:
    """The sign of money that the first cell begins with; empty: none."""
    import polars as pl

    text = str(column[0]).strip() if column.dtype == pl.String else ""
    return text[0] if text.startswith(SIGNS) else ""


def parse_numbers(column: "pl.Series", comma: Comma = "thousands", short: bool = False, sign: str = "") -> NumberPart:
    """Reads some rows of a column; where polars sees a finite number in a text it is Python's to the bit.

    Args:
        column: (K,), texts or numbers.
        comma: reads `1,234.5` or `1.234,5` as 1234.5, or neither.
        short: reads `1.5K` as 1500, and M and B.
        sign: of money, that may stand before every number.
    """
    import polars as pl

    if column.dtype != pl.String:
        return NumberPart(column.cast(pl.Float64).fill_null(float("nan")).to_numpy(), 0, True, None)
    texts = column.fill_null("")
    texts = texts.str.strip_chars(SPACE).str.strip_prefix(sign) if sign else texts
    values = texts.cast(pl.Float64, strict=False).to_numpy()
    odd = np.flatnonzero(~np.isfinite(values))
    if comma == "decimal":  # a point separates thousands
        odd = np.union1d(odd, np.flatnonzero(texts.str.contains(".", literal=True).to_numpy()))
    if len(odd) == 0:
        return NumberPart(values, 0, True, None)
    values = values.copy()
    part = _parse_odd(texts.gather(odd), comma, short)
    values[odd] = part.values
    return part._replace(values=values, fault=None if part.fault is None else int(odd[part.fault]))


def _parse_odd(cells: "pl.Series", comma: Comma, short: bool) -> NumberPart:
    """Reads texts with spaces around or separators inside, missing, infinite, or no numbers."""
    import polars as pl

    texts, separated = cells.str.strip_chars(SPACE), 0
    commas = bool(texts.str.contains(",", literal=True).any())
    lower = texts.str.to_lowercase()
    missing = lower.is_in(list(MISSING)).to_numpy()
    floats = bool((lower.eq("nan").to_numpy() | ~missing).all())
    factor = np.ones(len(texts))
    if short:
        ends = texts.str.contains(SHORT)
        last = texts.str.slice(-1).str.to_lowercase().to_list()
        factor = np.array([SHORT_FACTORS[x] if end else 1.0 for x, end in zip(last, ends.to_list(), strict=True)])
        texts, separated = texts.str.head(-1).zip_with(ends, texts), int(ends.sum())
    if comma:
        marked = texts.str.contains(THOUSANDS if comma == "thousands" else DECIMAL)
        plain = texts.str.replace_all("," if comma == "thousands" else ".", "", literal=True)
        plain = plain if comma == "thousands" else plain.str.replace(",", ".", literal=True)
        if comma == "decimal":  # a point that separates no thousands is wrong here
            texts = texts.str.replace_all(".", "?", literal=True).zip_with(~marked & ~pl.Series(missing), texts)
        texts, separated = plain.zip_with(marked, texts), separated + int(marked.sum())
    values, fault = texts.cast(pl.Float64, strict=False).to_numpy().copy(), None
    for index in np.flatnonzero(~np.isfinite(values) & ~missing).tolist():
        number = _python_float(texts[index])
        values[index] = np.nan if number is None else number
        fault = index if fault is None and not NUMBER.fullmatch(texts[index]) else fault
        floats &= number is not None
    for cell in cells.filter(cells.str.contains("[\x1c-\x1f]")).to_list():  # spaces for `strip`, not always for `float`
        floats &= _python_float(cell) is not None
    return NumberPart(values * factor, separated, floats and not separated, fault, commas)


def _python_float(text: str) -> float | None:
    """The number that Python's `float` reads, None where it reads none; `1_0` is no number of a file."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def default_comma(delimiter: str) -> Comma:
    """Meaning of a comma in numbers by the delimiter of the cells: where that is another, a comma may be decimal."""
    return "thousands" if delimiter in ("", ",") else ""


def comma_of(columns: Iterable["pl.Series"]) -> Comma:
    """Finds what a comma in the numbers of a file is: by most of the cells that have one meaning; empty for a tie.

    The others are no numbers then, and refused.
    """
    import polars as pl

    thousands = decimal = 0
    for column in columns:
        if column.dtype != pl.String:
            continue
        texts = column.str.strip_chars(SPACE)
        thousands += int((texts.str.contains(SURE_THOUSANDS) | texts.str.contains(SURE_POINT)).sum())
        decimal += int(texts.str.contains(SURE_DECIMAL).sum())
    return "" if thousands == decimal else "thousands" if thousands > decimal else "decimal"


def join_numbers(parts: Sequence[NumberPart], cells: Cells, comma: Comma = "thousands") -> np.ndarray:
    """A column as float64 (T,), NaN where empty.

    Raises:
        InputError: a cell is no number.
    """
    values = np.concatenate([part.values for part in parts])
    begin = 0
    for part in parts if not all(part.floats for part in parts) else ():
        if part.fault is not None:
            text = str(cells.values()[begin + part.fault]).strip()
            if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text) and not comma:
                both = f"may be {text.replace(',', '')} or {text.replace(',', '.')}"
                raise cells.refuse(begin + part.fault, both, "numbers such as 1234.5")
            more = {"thousands": ' or "1,234.5"', "decimal": " or 1.234,5", "": ""}[comma]
            raise cells.refuse(begin + part.fault, "is no number", "1234.5" + more)
        begin += len(part.values)
    return values


def check_numbers(column: "pl.Series", cells: Cells) -> None:
    """Refuses a column of another type than numbers or texts.

    Raises:
        InputError: names it.
    """
    import polars as pl

    if not column.dtype.is_numeric() and column.dtype not in (pl.String, pl.Null):
        raise InputError(f"{cells.origin}: column {shown(cells.name)} holds {column.dtype}; allowed: numbers")


def separator_note(columns: Iterable[Sequence[NumberPart]], comma: Comma) -> list[str]:
    """Says that separators were read."""
    cells = sum(part.separated for parts in columns for part in parts)
    what = {"thousands": "thousands separators", "decimal": "decimal commas"}.get(comma, "K, M and B behind numbers")
    return [f"{what} read in {cells} cells"] if cells else []
