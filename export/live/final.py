"""Final candles for a replay: those of a file, or the newest that the log itself knows."""

from collections.abc import Sequence
from typing import NamedTuple

from export.live.book import Book, Row, fault_of
from export.live.replay import Source
from himari_jax.errors import InputError
from himari_jax.times import iso_minute


class Revisions(NamedTuple):
    """Differences between the final candles and those that decisions were made on."""

    changed: int  # candles with other numbers than when their bar was decided
    late: int  # candles that were not there when their bar was decided
    missing: int  # candles that the log has and the final ones do not
    refused: int  # final candles that no market can have made


def final_book(source: Source, rows: Sequence[Row] | None) -> tuple[Book, Revisions]:
    """Builds the book of final candles, and counts what changed since decisions were made on them.

    Args:
        source: of the log.
        rows: final candles of the log's symbols; None: the newest version of each that the log has.

    Raises:
        InputError: a symbol has none in the span of the log.
    """
    known, bars = source.book(source.bars), source.bars
    book = Book(source.start["symbols"], source.start["bar_ms"])
    first = min(order[0] for order in known.order.values() if order)
    last = bars[-1]["time"]
    given = [row for held in known.rows.values() for row in held.values()] if rows is None else rows
    refused = 0
    for row in sorted(given, key=lambda row: (row.time, row.symbol)):
        if not first <= row.time <= last:
            continue
        if fault_of(row):
            refused += 1
            continue
        book.enter(row)
    if empty := [symbol for symbol in book.symbols if not book.order[symbol]]:
        raise InputError(
            f"the final candles have none of {' '.join(empty)} from {iso_minute(first)} to {iso_minute(last)}, the "
            "span of the log; name those of the log, or leave --data and --source out"
        )
    return book, compare_books(source, book, refused)


def compare_books(source: Source, final: Book, refused: int) -> Revisions:
    """Counts, over the bars of the log, candles that differ from the final ones."""
    known, changed, late, missing = source.book(), 0, 0, 0
    for record in source.bars:
        known.enter_record(record)
        for symbol in final.symbols:
            then, now = known.rows[symbol].get(record["time"]), final.rows[symbol].get(record["time"])
            late += then is None and now is not None
            missing += then is not None and now is None
            changed += then is not None and now is not None and then != now
    return Revisions(changed, late, missing, refused)
