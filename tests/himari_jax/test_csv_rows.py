"""Rows of CSV files: what is read in blocks is what Python's csv module reads, in blocks of any size."""

import csv
import io
from unittest.mock import patch

import numpy as np
import pytest
from candle_files import HOUR, PLAIN, START, outcome, read, refused
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from himari_jax.reading import rows as row_reader
from himari_jax.reading.rows import TextTable
from himari_jax.reading.text import read_text

NAMES = ["timestamp", "open", "high", "low", "close", "volume"]
WORDS = st.sampled_from(
    ["1", "2.5", "", "é", "中", "x y", " 1", "1 ", "\t", "\x0b", "\u2028", "\ufeff", "#", "'", "\x1f"]
)


@st.composite
def csv_bodies(draw):
    """Rows below a header: quoted or not, blank lines, other widths, stray quotes, line ends of every kind."""
    delimiter, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r", "\n\r"]))
    quote, stray = draw(st.sampled_from(["never", "some", "all"])), draw(st.booleans())
    cells = {
        "never": WORDS,
        "some": st.tuples(WORDS, st.booleans()).map(lambda x: f'"{x[0]}"' if x[1] else x[0]),
        "all": (WORDS | st.sampled_from([delimiter, "1,234", "a\nb", 'a""b'])).map(lambda x: f'"{x}"'),
    }[quote]
    if stray:
        cells = cells | st.sampled_from(['"', 'a"b', '"a" ', ' "a"', '"a"b'])
    row = st.lists(cells, min_size=6, max_size=6).map(delimiter.join)
    odd = st.sampled_from(["", " ", "x", delimiter * 5, delimiter * 6])
    lines = draw(st.lists(row | odd if draw(st.booleans()) else row, max_size=12))
    return delimiter, end.join([delimiter.join(NAMES), *lines]) + draw(st.sampled_from(["", end, end * 2]))


def rows_of_csv(text, delimiter):
    """Lines and cells of the rows as Python's csv module has them, or the beginning of what they are refused with."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t"
    )
    next(reader)
    rows, uneven = [], None
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return uneven or rows or "x.csv: no rows below the header"
        except csv.Error as error:
            return f"x.csv: row {line} is no CSV ({error})"
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if uneven:
            return uneven
        if len(row) == 6:
            rows.append((line, row))
        else:  # what follows it says whether the file is cut there
            uneven = f"x.csv: row {line} has {len(row)} cells"


def check_blocks(delimiter, text, size, rows):
    """Holds the blocks of a table against the csv module, with pieces of some bytes and rows."""
    table = read_text(text.encode(), "x.csv")
    assert table.delimiter == delimiter
    if table.labels or len(table.names) != 6:
        assume(False)  # a second header; a delimiter at the end of rows
    with patch.multiple(row_reader, BLOCK_BYTES=size, ODD_ROWS=rows):
        blocks = outcome(lambda: list(table.blocks(range(6))))
        loaded = outcome(lambda: list(table.loaded(range(6)).blocks(range(6))))
    wanted = rows_of_csv(text, delimiter)
    if isinstance(blocks, str):
        assert isinstance(wanted, str), wanted
        assert blocks.startswith(wanted)
        assert loaded == blocks
        return
    for found in (blocks, loaded):
        lines = [line for block, _ in found for line in block.tolist()]
        cells = [list(row) for _, texts in found for row in zip(*(column.to_list() for column in texts), strict=True)]
        assert list(zip(lines, cells, strict=True)) == wanted


@settings(max_examples=300)
@given(csv_bodies(), st.sampled_from([1, 30, 100, 1 << 22]), st.sampled_from([1, 3, 1 << 13]))
def test_blocks_of_any_size_hold_the_rows_that_the_csv_module_reads(body, size, rows):
    check_blocks(*body, size, rows)


@pytest.mark.parametrize("size", [1, 20, 1 << 22])
@pytest.mark.parametrize(
    ("delimiter", "row"),
    [
        (",", '"1\n2",2,3,4,5,6'),
        (",", '"1",2,3,4,5,"6\n\n"'),
        (",", '1,2,3,4,5,"6\n1",2,3,4,5,6'),
        (",", '1"2",2,3,4,5,6'),
        (",", '"1"2,2,3,4,5,6'),
        (",", '"1" ,2,3,4,5,6'),
        (",", '1, "2",3,4,5,6'),
        (",", '1," 2",3,4,5,6'),
        (",", '"1""2",2,3,4,5,6'),
        (",", '"1,2",\x1f,3,4,5,6'),
        (",", '"1",2\x1f3,4,5,6'),
        (",", '"1,2",",",",,","",5,6'),
        (",", '1,2,3,4,5,"'),
        (",", "1,  2,3,4 ,5, 6"),
        (",", "\ufeff1,2,3,4,5,6"),
        (",", "\ufeff,2,3,4,5,6"),
        (",", ",,,,,"),
        (",", "1,2,3,4,5\n1,2,3,4,5,6,7"),
        (",", "1,2,3,4,5,6\r1,2,3,4,5,6"),
        (",", "1,2,3,4,5,6\r\r\n1,2,3,4,5,6"),
        (",", "1,2,3,4,5,6\r\n\r\n1,2,3,4,5,6"),
        ("\t", " 1\t2\t 3\t4\t5\t6"),
        ("\t", "\t2\t 3\t4\t5\t6"),
        (";", "#1;2,3;4;4;5;6"),
    ],
)
def test_rows_that_a_quick_reader_would_take_for_others_are_those_of_the_csv_module(delimiter, row, size):
    head, plain = delimiter.join(NAMES), delimiter.join("123456")
    for text in (f"{head}\n{row}", f"{head}\n{plain}\n{row}\n{plain}\n", f"{head}\n\n{row}\n\n{plain}\n"):
        check_blocks(delimiter, text, size, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace(",", '","').replace("\n", '"\n"')[:-1].join(['"', ""]),
        lambda text: text.replace(",102,", ',"1,020",'),
        lambda text: text.replace(",", "; "),
        str.rstrip,
    ],
)
def test_common_forms_need_no_csv_module(change):
    with patch.object(TextTable, "_odd_blocks", side_effect=AssertionError):
        np.testing.assert_array_equal(read(change(PLAIN)).time, START + np.arange(3) * HOUR)


def test_a_cell_of_more_letters_than_the_csv_module_reads_is_refused():
    refused(PLAIN.replace(",5\n", "," + "5" * (csv.field_size_limit() + 1) + "\n"), "row 2 is no CSV", "field limit")


def test_a_fault_of_the_rows_is_reported_before_a_missing_column():
    text = PLAIN.replace("volume", "note")
    refused(text + "2019-10-17T12:00Z,10", "row 5", "last line")
    refused(text.replace("note", "symbol"), "3 symbols")
    refused(text, "no column volume")


def test_what_is_not_utf8_behind_a_byte_order_mark_is_named_by_its_line():
    refused(b"\xef\xbb\xbf" + PLAIN.encode() + b"\xff,1,1,1,1,1\n", "row 5 is not UTF-8")


def test_a_file_that_begins_with_hundreds_of_blank_lines_has_no_header():
    refused("\n" * 300 + PLAIN, "no header in the first 10 lines")
