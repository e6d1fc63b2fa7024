"""Rows that a file has beside its candles, or nearly as candles are, and that are mended: added to a case."""

import math

from faulty_files import Case, Sheet, late


def priceless(case: Case, sheet: Sheet) -> bool | None:
    """Rows of a bar without a price, as a table has that is laid on every bar."""
    if len(sheet.rows) < 24:
        return False
    k = late(case, sheet)
    for row in sheet.rows[k : k + case.rng.choice((1, 1, 3, 5))][: len(sheet.rows) - 2 - k]:
        row[1:] = [math.nan] * 4 + [case.rng.choice((math.nan, 0.0, row[5]))]
    return None


def rounded(case: Case, sheet: Sheet) -> bool | None:
    """High or low misses the body by a last digit, as adjusting by a factor leaves it."""
    row = sheet.rows[late(case, sheet)]
    if sum(other[0] == row[0] for other in sheet.rows) > 1:
        return False
    if case.rng.random() < 0.5:
        row[2] = math.nextafter(max(row[1], row[4]), 0)
    else:
        row[3] = min(row[1], row[4]) * (1 + 9e-10)
    return None


def torn(case: Case, sheet: Sheet) -> None:
    """The newest row is a candle that was being made when the file was written."""
    first = sheet.rows[0][0] > sheet.rows[-1][0]
    kinds = ("nan", "high", "twice") if first else ("nan", "high", "twice", "time")  # the last counts as sorted, too
    row, kind = sheet.rows[0 if first else -1], case.rng.choice(kinds)
    if kind == "twice":
        row = [row[0], *(1.001 * x for x in row[1:])]
        sheet.rows.insert(0 if first else len(sheet.rows), row)
    elif kind == "time":
        row[0] += 30_000
    elif kind == "nan":
        row[case.rng.choice((1, 4, 5))] = math.nan
    else:
        row[2] = row[4] * 0.9
    case.torn.append(row)
