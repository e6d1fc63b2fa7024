"""Tables: names and columns of a file of any kind, of texts, numbers or times, a block at a time."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from himari_jax.errors import InputError
from himari_jax.reading.columns import Cells, header_key, score

if TYPE_CHECKING:
    import polars as pl

    Block = tuple[np.ndarray, list[pl.Series]]  # (K,) int64, row of each, and K cells per wanted column

BLOCK_ROWS = 1 << 18
SAMPLE_ROWS = 20
UTC_NAMES = ("utc", "gmttime", "gmt")
PAIR = re.compile(r"\(\s*'([^']*)',\s*'([^']*)'\s*\)")


class Table(Protocol):
    """A table of a file, its rows unread."""

    @property
    def origin(self) -> str:
        """Name of the file in messages."""

    @property
    def names(self) -> list[str]:
        """Names of the columns; their numbers from 1 on where the file has no header."""

    @property
    def labels(self) -> list[str]:
        """Row above the names, such as the symbol of each column; empty where there is none."""

    @property
    def headed(self) -> bool:
        """Whether there is a header."""

    @property
    def delimiter(self) -> str:
        """Character between the cells of a text; empty for other kinds of files."""

    @property
    def utc(self) -> bool:
        """Whether the file says that its times are in UTC."""

    @property
    def notes(self) -> list[str]:
        """Notes of the reader on what it found and changed when it opened the file."""

    def blocks(self, wanted: Sequence[int]) -> Iterator["Block"]:
        """The rows of the wanted columns in their order, a block at a time."""

    def column(self, k: int) -> "pl.Series":
        """All cells of one column."""

    def loaded(self, wanted: Sequence[int]) -> "FrameTable":
        """The table with the cells of the wanted columns in memory: a text of several symbols is split once for all.

        Raises:
            InputError: as `blocks` does.
        """


@dataclass(frozen=True)
class FrameTable:
    """A table in memory, whose columns have types, or hold the texts of a CSV file."""

    origin: str
    frame: "pl.DataFrame"
    names: list[str]
    headed: bool = True
    notes: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    delimiter: str = ""
    utc: bool = False
    row: np.ndarray | None = None  # (T,) int64, line of each row of a text; None: rows count from 1

    def blocks(self, wanted: Sequence[int]) -> Iterator["Block"]:
        """The rows of the wanted columns in their order, a block at a time.

        Raises:
            InputError: there are none.
        """
        if self.frame.height == 0:
            raise InputError(f"{self.origin}: no rows; allowed: at least one row")
        for begin in range(0, self.frame.height, BLOCK_ROWS):
            end = min(begin + BLOCK_ROWS, self.frame.height)
            columns = [self.frame.to_series(k).slice(begin, BLOCK_ROWS) for k in wanted]
            yield np.arange(begin + 1, end + 1) if self.row is None else self.row[begin:end], columns

    def column(self, k: int) -> "pl.Series":
        """All cells of one column."""
        return self.frame.to_series(k)

    def loaded(self, wanted: Sequence[int]) -> "FrameTable":
        """Returns itself: it is in memory."""
        return self


def split_pairs(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names and labels of columns called `('Close', 'BTC-USD')`, as pandas calls columns of two levels.

    The labels are empty where no names are pairs, or do not name prices.
    """
    pairs = [(match[1], match[2]) if (match := PAIR.fullmatch(name)) else (name, "") for name in names]
    if sum(bool(label) for _, label in pairs) < 4:
        return list(names), []
    one, two = ([pair[k] for pair in pairs] for k in (0, 1))
    if score(two) > score(one):
        one, two = [name or other for name, other in zip(two, one, strict=True)], one
    return one, two


def sample(table: Table) -> list["pl.Series"]:
    """The first rows of every column.

    Raises:
        InputError: there are none, or what stands there is no table.
    """
    _, columns = next(table.blocks(range(len(table.names))))
    return [column.head(SAMPLE_ROWS) for column in columns]


def cells_of(table: Table, k: int, row: np.ndarray) -> Cells:
    """The cells of a column, whose rows are (T,) of the file, for messages."""
    return Cells(table.origin, table.names[k], row, partial(table.column, k))


def is_in_utc(table: Table, k: int) -> bool:
    """Whether times without a zone are in UTC, by the file or by the name of its column of times."""
    return table.utc or header_key(table.names[k]).endswith(UTC_NAMES)
