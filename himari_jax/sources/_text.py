"""Text tables: bytes of a CSV file as a header and rows still to be read."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from himari_jax.errors import InputError
from himari_jax.sources._columns import score, shown
from himari_jax.sources._rows import TextTable, csv_rows, pieces, text_stream

HEADER_WITHIN = 10  # lines
DELIMITERS = ",;\t|"
UTC_WORD = re.compile(r"(?<![A-Za-z])(UTC|GMT)(?!\s*[+-]\s*\d)(?![A-Za-z])")
UTF8_MARK = b"\xef\xbb\xbf"
OTHER_KINDS = (
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"\x1f\x8b", "compressed by gzip; name it .csv.gz"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet; unpack it, or save it as CSV"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)


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
    """The head of a CSV file: UTF-8, a header within its first lines, `,` `;` tab or `|` between the cells.

    Raises:
        InputError: no such text, or no header.
    """
    _check_bytes(data, origin)
    stream = text_stream(data)
    top = list(islice(stream, HEADER_WITHIN))
    above, delimiter = _find_header(top, data, origin)
    banner = [line.strip() for line in top[:above] if line.strip()]
    notes = ["byte order mark skipped"] if data.startswith(UTF8_MARK) else []
    notes += [f"banner line skipped: {shown(line)}" for line in banner]
    if not data.endswith((b"\n", b"\r")):
        notes.append("the last line has no line end: if the file was cut, its last value is too")
    taken: list[str] = []
    rows = csv_rows(_taking(chain(top[above:], stream), taken), above + 1, delimiter, origin)
    _, names = next(rows)
    head = "".join([*top[:above], *taken])
    start = len(head.encode()) + len(UTF8_MARK) * data.startswith(UTF8_MARK)
    utc = any(UTC_WORD.search(line) for line in banner)
    return TextTable(origin, names, delimiter, utc, notes, data, start, above + len(taken) + 1)


def _taking(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    """The lines as they are, each noted when it is taken: a quoted name may fill several."""
    for line in lines:
        taken.append(line)
        yield line


def _check_bytes(data: bytes, origin: str) -> None:
    """Refuses what is no text in UTF-8."""
    for magic, kind in OTHER_KINDS:
        if data.startswith(magic):
            raise InputError(f"{origin}: not a text file but {kind}")
    if not data or data.isspace():
        raise InputError(f"{origin}: the file is empty; allowed: a header line and candles")
    if b"\0" in data:
        raise InputError(f"{origin}: a binary file; allowed: CSV as UTF-8 text")
    for begin, end in [] if data.isascii() else pieces(data):
        try:
            data[begin:end].decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, begin + error.start) + 1
            raise InputError(f"{origin}: row {line} is not UTF-8 text; allowed: CSV saved as UTF-8") from None


def _find_header(top: Sequence[str], data: bytes, origin: str) -> tuple[int, str]:
    """How many of the first lines stand above the header, and what divides its cells."""
    for above, line in enumerate(top):
        scores = {}
        for delimiter in DELIMITERS:
            try:
                scores[delimiter] = score(next(csv.reader([line], delimiter=delimiter), []))
            except csv.Error:
                continue
        if scores and max(scores.values()) >= 3:
            return above, max(scores, key=lambda delimiter: scores[delimiter])
    begin = text_stream(data).read(200).strip()
    first = shown(begin.splitlines()[0]) if begin else "''"
    allowed = "a line that names time, open, high, low, close, volume"
    raise InputError(f"{origin}: no header in the first {HEADER_WITHIN} lines ({first} ...); allowed: {allowed}")
