"""Text tables: bytes of a CSV file as a header and rows still to be read."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from himari_jax.errors import InputError
from himari_jax.reading.columns import ALIASES, PRICES, header_key, score, shown
from himari_jax.reading.rows import TextTable, csv_rows, pieces, text_stream
from himari_jax.reading.tables import split_pairs
from himari_jax.reading.times import kind_of_time

HEADER_WITHIN = 10  # lines
DELIMITERS = ",;\t|"
UTC_WORD = re.compile(r"(?<![A-Za-z])(UTC|GMT)(?!\s*[+-]\s*\d)(?![A-Za-z])")
UTF8_MARK = b"\xef\xbb\xbf"
OTHER_KINDS = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet; unpack it, or save it as CSV"),
    (b"\x89HDF", "an HDF5 file; save it as Parquet, Feather or CSV"),
    (b"SQLite format 3", "an SQLite database; save a table of it as CSV"),
    (b"FEA1", "a Feather file of version 1; save it as version 2 or Parquet"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet; save it as CSV"),
    (b"<!DOCTYPE", "a web page; download the data themselves"),
    (b"<html", "a web page; download the data themselves"),
    (b"<table", "a table in HTML; save it as CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file with git lfs pull"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)


def read_text(data: bytes, origin: str, least: int = 3) -> TextTable:
    """The head of a CSV file: UTF-8, a header within its first lines, `,` `;` tab or `|` between the cells.

    A line is the header where at least `least` of time and prices stand in it: 1 is for tables without prices. Candles
    may do without a header where the first line begins with a time.

    Raises:
        InputError: no such text, or no header.
    """
    _check_bytes(data, origin)
    stream = text_stream(data)
    top = list(islice(stream, HEADER_WITHIN))
    notes = ["byte order mark skipped"] if data.startswith(UTF8_MARK) else []
    if not data.endswith((b"\n", b"\r")):
        notes.append("the last line has no line end: if the file was cut, its last value is too")
    found = _find_header(top, least)
    if found is None:
        return _without_header(data, origin, least, top, notes)
    above, delimiter = found
    _refuse_rows_above(top[:above], origin, least)
    taken: list[str] = []
    rows = csv_rows(_taking(chain(top[above:], stream), taken), above + 1, delimiter, origin)
    _, names = next(rows)
    names, labels = split_pairs(names)
    banner = [line.strip() for line in top[:above] if line.strip()]
    size = len(taken)
    if above and not labels and _are_labels(row := _cells(top[above - 1], delimiter), names):
        labels, banner = row, banner[:-1]
    for row in _peek(rows, 2):  # pandas writes the levels and the index of its columns as more rows
        if _names_index(row, names):
            names[0], size = row[0], len(taken)
            break
        if not labels and _are_labels(row, names):
            labels, size = row, len(taken)
            continue
        if len(row) == len(names) + 1 and not row[-1].strip():
            names = [*names, ""]
            notes.append(f"the rows end with {shown(delimiter)}")
        break
    notes += [f"banner line skipped: {shown(line)}" for line in banner]
    notes += [f"header of {size} lines"] if size > 1 and labels else []
    head = "".join([*top[:above], *taken[:size]])
    start = len(head.encode()) + _mark_bytes(data)
    data, again = _without_header_again(data, start, "".join(taken[:size]))
    notes += [f"the header stands again in {again} rows, passed over"] if again else []
    utc = any(UTC_WORD.search(line) for line in banner)
    if labels and names[0].lower() in ("price", "ticker", "tickers"):
        names[0] = ""
    return TextTable(origin, names, delimiter, utc, notes, data, start, above + size + 1, labels)


def _without_header(data: bytes, origin: str, least: int, top: Sequence[str], notes: Sequence[str]) -> TextTable:
    """The table of a file whose first line is a row of candles.

    Raises:
        InputError: it is none, so that the header is missing.
    """
    delimiter = _first_row(top) if least > 1 else None
    if delimiter is None:
        raise _no_header(data, origin, least)
    width = len(_cells(next(line for line in top if line.strip()), delimiter))
    names = [str(k + 1) for k in range(width)]
    return TextTable(origin, names, delimiter, False, [*notes, "no header"], data, _mark_bytes(data), 1, headed=False)


def _refuse_rows_above(lines: Sequence[str], origin: str, least: int) -> None:
    """Refuses a row of candles above the header.

    Raises:
        InputError: names the row.
    """
    for number, line in enumerate(lines, 1):
        if least > 1 and _first_row([line]):
            what = f"row {number} has a time and numbers, but the header stands in row {len(lines) + 1}"
            raise InputError(f"{origin}: {what}; allowed: the header in the first line, or none")


def _mark_bytes(data: bytes) -> int:
    """Length of the byte order mark that a file begins with."""
    return len(UTF8_MARK) * data.startswith(UTF8_MARK)


def _without_header_again(data: bytes, start: int, header: str) -> tuple[bytes, int]:
    """The file with blank lines where its header stands again, as it does in files that were joined by `cat`."""
    again = header.encode()
    count = data.count(b"\n" + again, start - 1) if again.endswith(b"\n") else 0
    if not count:
        return data, 0
    blank = b"\n" * again.count(b"\n")
    return data[: start - 1] + data[start - 1 :].replace(b"\n" + again, b"\n" + blank), count


def _peek(rows: Iterator[tuple[int, list[str]]], count: int) -> Iterator[list[str]]:
    """The next rows, up to one that is no CSV: that is refused when it is read."""
    with suppress(InputError):
        for _, row in islice(rows, count):
            yield row


def _are_labels(row: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row above or below a header says whose columns they are: texts that have four prices each."""
    corner = row[0].strip().lower() if row else "x"
    others = [cell.strip() for cell in row[1:]]
    named = all(others) and not any(kind_of_time(cell) or re.fullmatch(r"[-+.\deE]+|nan", cell) for cell in others)
    if len(row) != len(names) or corner not in ("", "ticker", "tickers", "symbol", "symbols", "asset") or not named:
        return False
    groups = [[name for name, cell in zip(names[1:], others, strict=True) if cell == label] for label in set(others)]
    return bool(groups) and all(score(group) >= 4 for group in groups)


def _names_index(row: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row below a header holds nothing but the name of the first column, which has none yet."""
    first = row[0].strip() if row else ""
    alone = len(row) == len(names) > 1 and bool(first) and not any(map(str.strip, row[1:]))
    return alone and not kind_of_time(first) and header_key(names[0]) not in ALIASES["time"]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _first_row(top: Sequence[str]) -> str | None:
    """Delimiter of a table without a header, whose first line has a time and numbers behind it; None: it is none."""
    line = next((line for line in top if line.strip()), "")
    for delimiter in DELIMITERS:
        cells = [cell.strip() for cell in _cells(line, delimiter)]
        if len(cells) >= 5 and any(kind_of_time(cell) in ("epoch", "day", "moment") for cell in cells[:3]):
            numbers = sum(re.fullmatch(r"[+-]?[\d.,]+([eE][+-]?\d+)?", cell) is not None for cell in cells)
            if numbers >= 4:
                return delimiter
    return None


def _taking(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    """Yields the lines and keeps each in `taken`: a quoted name may fill several."""
    for line in lines:
        taken.append(line)
        yield line


def _check_bytes(data: bytes, origin: str) -> None:
    """Refuses what is no text in UTF-8."""
    for magic, kind in OTHER_KINDS:
        if data.startswith(magic):
            raise InputError(f"{origin}: not a text file but {kind}")
    if not data or data.isspace():
        raise InputError(f"{origin}: the file is empty; allowed: a header line and rows")
    if b"\0" in data:
        raise InputError(f"{origin}: a binary file; allowed: CSV as UTF-8 text")
    for begin, end in [] if data.isascii() else pieces(data):
        try:
            data[begin:end].decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, begin + error.start) + 1
            raise InputError(f"{origin}: row {line} is not UTF-8 text; allowed: CSV saved as UTF-8") from None


def _find_header(top: Sequence[str], least: int) -> tuple[int, str] | None:
    """Number of lines above the header, and its delimiter; None where the first lines hold none."""
    for above, line in enumerate(top):
        scores = {delimiter: score(split_pairs(_cells(line, delimiter))[0]) for delimiter in DELIMITERS}
        if max(scores.values()) >= least:
            return above, max(scores, key=lambda delimiter: scores[delimiter])
    return None


def _no_header(data: bytes, origin: str, least: int) -> InputError:
    begin = text_stream(data).read(200).strip()
    first = shown(begin.splitlines()[0]) if begin else "''"
    named = "time, open, high, low, close, volume" if least > 1 else "timestamp and the other columns"
    allowed = f"a line that names {named}" + ("; or rows that begin with a time" if least > 1 else "")
    if score(begin.splitlines()[0].split() if begin else []) >= 3:
        return InputError(f"{origin}: spaces stand between the cells; allowed: commas, semicolons, tabs or |")
    for line in begin.splitlines()[:HEADER_WITHIN] if least > 1 else ():
        names = max((_cells(line, delimiter) for delimiter in DELIMITERS), key=len)
        if all(any(role in header_key(name) for name in names) for role in PRICES):
            what = f"no column is called open, high, low or close; found {', '.join(map(shown, names[:12]))}"
            return InputError(f"{origin}: {what}; allowed: one column of each, named so")
    return InputError(f"{origin}: no header in the first {HEADER_WITHIN} lines ({first} ...); allowed: {allowed}")
