"""Numbers: the cells of a column of texts as float64, or an error that says which cell is none."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from himari_jax.sources._columns import SPACE, Cells

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none", "-")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?$"


class NumberPart(NamedTuple):
    """Some rows of a column of numbers."""

    values: np.ndarray  # (K,) float64, NaN where empty
    separated: int  # how many had thousands separators
    floats: bool  # Python's `float` reads them all, which it does for more than a number: `+nan`, digits of any script
    fault: int | None  # index of the first that is no number, wrong only in a column that `float` does not read


def parse_numbers(texts: "pl.Series", thousands: bool = True) -> NumberPart:
    """Reads some rows of a column; where polars sees a finite number it is Python's to the bit.

    `thousands` reads `1,234.5` as 1234.5; where commas may be decimal it has to be off.
    """
    import polars as pl

    values = texts.cast(pl.Float64, strict=False).to_numpy()
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd) == 0:
        return NumberPart(values, 0, True, None)
    values = values.copy()
    part = _parse_odd(texts.gather(odd), thousands)
    values[odd] = part.values
    return part._replace(values=values, fault=None if part.fault is None else int(odd[part.fault]))


def _parse_odd(cells: "pl.Series", thousands: bool) -> NumberPart:
    """Reads texts with spaces around or separators inside, missing, infinite, or no numbers."""
    import polars as pl

    texts, separated = cells.str.strip_chars(SPACE), 0
    lower = texts.str.to_lowercase()
    missing = lower.is_in(list(MISSING)).to_numpy()
    floats = bool((lower.eq("nan").to_numpy() | ~missing).all())
    if thousands:
        marked = texts.str.contains(THOUSANDS)
        texts, separated = texts.str.replace_all(",", "", literal=True).zip_with(marked, texts), int(marked.sum())
    values, fault = texts.cast(pl.Float64, strict=False).to_numpy().copy(), None
    for index in np.flatnonzero(~np.isfinite(values) & ~missing).tolist():
        number = _python_float(texts[index])
        values[index] = np.nan if number is None else number
        fault = index if fault is None and not NUMBER.fullmatch(texts[index]) else fault
        floats &= number is not None
    for cell in cells.filter(cells.str.contains("[\x1c-\x1f]")).to_list():  # spaces for `strip`, not always for `float`
        floats &= _python_float(cell) is not None
    return NumberPart(values, separated, floats and not separated, fault)


def _python_float(text: str) -> float | None:
    """What Python's `float` reads; `1_0` is no number of a file."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def join_numbers(parts: Sequence[NumberPart], cells: Cells, thousands: bool = True) -> np.ndarray:
    """A column as float64 (T,), NaN where empty.

    Raises:
        InputError: a cell is no number.
    """
    begin = 0
    for part in parts if not all(part.floats for part in parts) else ():
        if part.fault is not None:
            raise cells.refuse(begin + part.fault, "is no number", "1234.5" + (' or "1,234.5"' if thousands else ""))
        begin += len(part.values)
    return np.concatenate([part.values for part in parts])


def thousands_note(columns: Sequence[Sequence[NumberPart]]) -> list[str]:
    """Says that thousands separators were read."""
    cells = sum(part.separated for parts in columns for part in parts)
    return [f"thousands separators read in {cells} cells"] if cells else []
