"""Rows of a CSV file, block by block: plain blocks by polars, irregular ones by Python's csv module."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.errors import InputError
from himari_jax.reading.tables import FrameTable

if TYPE_CHECKING:
    import polars as pl

    Block = tuple[np.ndarray, list[pl.Series]]  # (K,) int64, line of each row, and K texts per wanted column

BLOCK_BYTES = 1 << 22
ODD_ROWS = 1 << 13  # more live lists of texts at a time cost Python more than they save
UNIT = 0x1F  # unit separator


@dataclass(frozen=True)
class TextTable:
    """A table as it stands in a text file, its rows unread."""

    origin: str
    names: list[str]  # the header
    delimiter: str
    utc: bool  # a banner line says that times are in UTC
    notes: list[str]
    data: bytes  # UTF-8
    start: int  # offset of the first row
    line: int  # its line, the first line of the file is 1
    labels: list[str] = field(default_factory=list)  # what stands above the names; empty: nothing
    headed: bool = True

    def blocks(self, wanted: Sequence[int]) -> Iterator["Block"]:
        """The rows of the wanted columns in their order, a block at a time.

        Raises:
            InputError: no rows, a row with another number of cells than the header, or a quote that does not end.
        """
        empty = True
        for block in self._blocks(wanted):
            empty = False
            yield block
        if empty:
            raise InputError(f"{self.origin}: no rows below the header; allowed: at least one row")

    def column(self, k: int) -> "pl.Series":
        """All texts of one column."""
        import polars as pl

        return pl.concat([texts for _, (texts,) in self.blocks([k])])

    def loaded(self, wanted: Sequence[int]) -> FrameTable:
        """The table with the texts of the wanted columns in memory; the others are null and take none.

        Raises:
            InputError: as `blocks` does.
        """
        import polars as pl

        rows, blocks = zip(*self.blocks(wanted), strict=True)
        frame = pl.concat([pl.DataFrame(dict(zip(map(str, wanted), block, strict=True))) for block in blocks])
        others = {str(k) for k in range(len(self.names))} - {*frame.columns}
        frame = frame.with_columns(pl.lit(None).alias(k) for k in others).select(map(str, range(len(self.names))))
        named = self.names, self.headed, self.notes, self.labels
        return FrameTable(self.origin, frame, *named, self.delimiter, self.utc, np.concatenate(rows))

    def _blocks(self, wanted: Sequence[int]) -> Iterator["Block"]:
        line = self.line
        for begin, end in pieces(self.data, self.start):
            letters = self.data[begin:end]
            block = _plain_block(letters, self.delimiter, len(self.names))
            if block is None:  # a quoted cell may go on in the next piece: the csv module reads all that is left
                yield from self._odd_blocks(begin, line, wanted)
                return
            table, offsets, lines = block
            texts = [table.to_series(k) for k in wanted]
            texts = [column.fill_null("") if column.null_count() else column for column in texts]
            if self.delimiter != "\t" and b" " in letters:  # as `skipinitialspace` does in `csv_rows`
                texts = [column.str.strip_chars_start(" ") for column in texts]
            if table.height:
                yield line + offsets, texts
            line += lines

    def _odd_blocks(self, begin: int, line: int, wanted: Sequence[int]) -> Iterator["Block"]:
        import polars as pl

        lines = text_stream(self.data, begin)
        rows = _even(csv_rows(lines, line, self.delimiter, self.origin), len(self.names), self.origin)
        while batch := list(islice(rows, ODD_ROWS)):
            number = np.array([number for number, _ in batch], np.int64)
            yield number, [pl.Series([row[k] for _, row in batch], dtype=pl.String) for k in wanted]


def text_stream(data: bytes, begin: int = 0) -> io.TextIOWrapper:
    """The lines of a file from a byte on with their ends as they are, without a byte order mark."""
    stream = io.BytesIO(data)
    stream.seek(begin)
    return io.TextIOWrapper(stream, "utf-8" if begin else "utf-8-sig", newline="")


def pieces(data: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """Begin and end of stretches of some megabytes that each end with a line feed or with the data."""
    while start < len(data):
        end = start + BLOCK_BYTES
        if end < len(data):
            end = data.rfind(b"\n", start, end) + 1 or data.find(b"\n", end) + 1 or len(data)
        yield start, min(end, len(data))
        start = end


def csv_rows(lines: Iterable[str], line: int, delimiter: str, origin: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the line each begins at, `line` the first; blank lines are passed over.

    Raises:
        InputError: a quote does not end, or what follows it is no delimiter.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    while True:
        begin = line + reader.line_num
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{origin}: row {begin} is no CSV ({error}); allowed: cells with closed quotes") from None
        if row is None:
            return
        if len(row) > 1 or (row and row[0].strip()):
            yield begin, row


def _even(rows: Iterator[tuple[int, list[str]]], width: int, origin: str) -> Iterator[tuple[int, list[str]]]:
    """The rows as they are; refuses the first that has another number of cells than the header."""
    for number, row in rows:
        if len(row) != width:
            end = " (the last line: is the file whole?)" if next(rows, None) is None else ""
            what = f"{len(row)} cells where the header has {width}{end}"
            raise InputError(f"{origin}: row {number} has {what}; allowed: as many as the header")
        yield number, row


def _plain_block(data: bytes, delimiter: str, width: int) -> "tuple[pl.DataFrame, np.ndarray, int] | None":
    """Whole lines as texts, the line of each row from 0 on (K,), and how many lines they are.

    None where a cell is quoted in part or over lines, a row is not of the header's width, or a line ends oddly. What
    passes has one reading alone: `width - 1` delimiters and a line feed, again and again.
    """
    import polars as pl

    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            return None
    data += b"" if data.endswith(b"\n") else b"\n"
    letters = np.frombuffer(data, np.uint8)
    offsets, lines = None, data.count(b"\n")
    if data.startswith(b"\n") or b"\n\n" in data:
        feed = letters == ord("\n")
        blank = feed & np.concatenate([[True], feed[:-1]])
        offsets, letters = np.flatnonzero(~blank[feed]), letters[~blank]
    unquoted, separator = _unquote(letters, ord(delimiter)) if b'"' in data else (letters, ord(delimiter))
    if unquoted is None or not _is_even(unquoted, separator, width):
        return None
    text = data if unquoted is letters and offsets is None else unquoted.tobytes()
    schema = {str(k): pl.String() for k in range(width)}
    if not text:
        return pl.DataFrame(schema=schema), np.zeros(0, np.int64), lines
    if not text[:1].isalnum():  # polars may pass over what a file can begin with
        return None
    table = pl.read_csv(io.BytesIO(text), has_header=False, separator=chr(separator), quote_char=None, schema=schema)
    return table, np.arange(lines) if offsets is None else offsets, lines


def _unquote(letters: np.ndarray, delimiter: int) -> tuple[np.ndarray | None, int]:
    """Letters without the quotes around cells, and what stands between cells instead of the delimiter.

    None where a quote is anything but the first or the last letter of a cell, or the cell has spaces first or lines.
    """
    quote = letters == ord('"')
    at = np.flatnonzero(quote)
    if len(at) % 2 or (letters == UNIT).any():
        return None, UNIT
    around = np.pad(letters, 1, constant_values=ord("\n"))
    before, behind, first = around[at[::2]], around[at[1::2] + 2], letters[at[::2] + 1]
    if not all(((side == delimiter) | (side == ord("\n"))).all() for side in (before, behind)):
        return None, UNIT
    inside = np.logical_xor.accumulate(quote)
    if (first == ord(" ")).any() or (letters[inside] == ord("\n")).any():
        return None, UNIT
    return np.where((letters == delimiter) & ~inside, np.uint8(UNIT), letters)[~quote], UNIT


def _is_even(letters: np.ndarray, separator: int, width: int) -> bool:
    """Whether every line has as many cells as the header, none too long for the csv module."""
    at = np.flatnonzero((letters == separator) | (letters == ord("\n")))
    if len(at) % width:
        return False
    kinds = letters[at].reshape(-1, width)
    if (kinds[:, :-1] != separator).any() or (kinds[:, -1] != ord("\n")).any():
        return False
    return np.diff(at[width - 1 :: width], prepend=-1).max(initial=0) <= csv.field_size_limit()
