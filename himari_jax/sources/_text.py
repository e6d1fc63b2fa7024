"""Text tables: bytes of a CSV file as rows of cells with their line numbers."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from himari_jax.errors import InputError
from himari_jax.sources._columns import score, shown

HEADER_WITHIN = 10  # lines
DELIMITERS = ",;\t|"
UTC_WORD = re.compile(r"(?<![A-Za-z])(UTC|GMT)(?!\s*[+-]\s*\d)(?![A-Za-z])")
OTHER_KINDS = (
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"\x1f\x8b", "compressed by gzip; name it .csv.gz"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet; unpack it, or save it as CSV"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)


@dataclass(frozen=True)
class TextTable:
    """A table as it stands in a text file."""

    names: list[str]  # the header
    line: np.ndarray  # (T,) int64, line of each row, the first line of the file is 1
    columns: list[tuple[str, ...]]  # one (T,) per name
    delimiter: str
    utc: bool  # a banner line says that times are in UTC
    notes: list[str]


def unzip(data: bytes, origin: str) -> bytes:
    """The content of a gzip file.

    Raises:
        InputError: it is none, or it is cut or damaged.
    """
    if not data.startswith(b"\x1f\x8b"):
        raise InputError(f"{origin}: not compressed by gzip as its name says; allowed: gzip, or name it .csv")
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{origin}: the gzip file is cut or damaged ({error}); allowed: a whole one") from None


def read_text(data: bytes, origin: str) -> TextTable:
    """Cells of a CSV file: UTF-8, a header within its first lines, `,` `;` tab or `|` between the cells.

    Raises:
        InputError: no such text, no header, no rows, or a row with another number of cells than the header.
    """
    text, notes = _decode(data, origin)
    above, delimiter = _find_header(text, origin)
    banner = [line.strip() for line in islice(io.StringIO(text, newline=""), above) if line.strip()]
    notes += [f"banner line skipped: {shown(line)}" for line in banner]
    if not text.endswith(("\n", "\r")):
        notes.append("the last line has no line end: if the file was cut, its last value is too")
    rows = _rows(text, above, delimiter, origin)
    _, names = next(rows)
    line, cells = [], []
    for number, row in rows:
        if len(row) != len(names):
            end = " (the last line: is the file whole?)" if next(rows, None) is None else ""
            what = f"{len(row)} cells where the header has {len(names)}{end}"
            raise InputError(f"{origin}: row {number} has {what}; allowed: as many as the header")
        line.append(number)
        cells.append(row)
    if not cells:
        raise InputError(f"{origin}: no candles below the header; allowed: at least one row")
    utc = any(UTC_WORD.search(line) for line in banner)
    return TextTable(names, np.array(line, np.int64), list(zip(*cells, strict=True)), delimiter, utc, notes)


def _decode(data: bytes, origin: str) -> tuple[str, list[str]]:
    for magic, kind in OTHER_KINDS:
        if data.startswith(magic):
            raise InputError(f"{origin}: not a text file but {kind}")
    if not data.strip():
        raise InputError(f"{origin}: the file is empty; allowed: a header line and candles")
    if b"\0" in data:
        raise InputError(f"{origin}: a binary file; allowed: CSV as UTF-8 text")
    notes = ["byte order mark skipped"] if data.startswith(b"\xef\xbb\xbf") else []
    try:
        return data.decode("utf-8-sig"), notes
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{origin}: row {line} is not UTF-8 text; allowed: CSV saved as UTF-8") from None


def _find_header(text: str, origin: str) -> tuple[int, str]:
    """How many lines stand above the header, and what divides its cells."""
    for above, line in enumerate(islice(io.StringIO(text, newline=""), HEADER_WITHIN)):
        scores = {}
        for delimiter in DELIMITERS:
            try:
                scores[delimiter] = score(next(csv.reader([line], delimiter=delimiter), []))
            except csv.Error:
                continue
        if scores and max(scores.values()) >= 3:
            return above, max(scores, key=lambda delimiter: scores[delimiter])
    first = shown(text[:200].strip().splitlines()[0]) if text.strip() else "''"
    allowed = "a line that names time, open, high, low, close, volume"
    raise InputError(f"{origin}: no header in the first {HEADER_WITHIN} lines ({first} ...); allowed: {allowed}")


def _rows(text: str, above: int, delimiter: str, origin: str) -> Iterator[tuple[int, list[str]]]:
    """The rows from the header on with the line each begins at; blank lines are passed over."""
    stream = io.StringIO(text, newline="")
    for _ in islice(stream, above):
        pass
    reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    while True:
        begin = above + reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{origin}: row {begin} is no CSV ({error}); allowed: cells with closed quotes") from None
        if row is None:
            return
        if len(row) > 1 or (row and row[0].strip()):
            yield begin, row
