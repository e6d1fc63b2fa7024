"""Candle files with faults: what each holds, how it is written, and what is promised for it (seeded, plain Python)."""

import math
import random
from collections.abc import Callable

from faulty_files import DAY, HOUR, MINUTE, Case, Sheet, late, text_time
from mended_rows import priceless, rounded, torn

START = 1_577_836_800_000  # 2020-01-01T00:00Z, a Wednesday
BARS = (5 * MINUTE, 15 * MINUTE, HOUR, HOUR, HOUR, 4 * HOUR, DAY)


def make_case(seed: int, whole: bool = False) -> Case:
    """A case from its seed alone: valid rows, a way to write them, and a few faults; none and plain text if `whole`."""
    rng = random.Random(seed)
    bar, length = rng.choice(BARS), rng.choice((16, 30, 60, 60, 120, 480))
    case = Case(rng, bar, [], START + 10**4 * DAY)
    for symbol in ("BTC-USD", "ETH-USD")[: rng.choice((1, 1, 1, 2))]:
        skip = rng.choice((0, 0, 2)) if case.sheets else 0
        case.sheets.append(Sheet(symbol, walk(rng, bar, length, skip)))
    choose_writing(case)
    if whole:
        case.style = dict.fromkeys(("bom", "banner", "comment", "crlf", "blank", "unended", "extra"), False)
        case.style |= {"delimiter": ",", "coin": False, "quoted": False, "thousands": False}
        case.clock = "iso"
        return case
    chosen = rng.sample(sorted(HARMLESS), rng.choice((0, 1, 1, 2, 3)))
    if rng.random() < 0.35:
        chosen += rng.sample(sorted(FATAL), rng.choice((1, 1, 2)))
    for name, fault in (HARMLESS | FATAL).items():  # what moves rows comes before what needs their order
        if name in chosen and fault(case, rng.choice(case.sheets)) is not False:
            case.faults.append(name)
    return case


def walk(rng: random.Random, bar: int, length: int, skip: int) -> list[list]:
    """A random walk of whole cents with opens off the previous close."""
    close, rows = rng.choice((30_000.0, 1500.0, 12.0)), []
    for k in range(skip, skip + length):
        opened = round(close * (1 + rng.uniform(-0.002, 0.002)), 2)
        close = round(opened * (1 + rng.gauss(0, 0.01)), 2)
        high, low = round(max(opened, close) * 1.003 + 0.01, 2), round(min(opened, close) * 0.997 - 0.01, 2)
        rows.append([START + k * bar, opened, high, low, close, round(rng.lognormvariate(5, 1), 3)])
    return rows


def choose_writing(case: Case) -> None:
    """The kind of file, the form of its times and its quirks."""
    rng, style = case.rng, case.style
    case.suffix = rng.choice((".csv", ".csv", ".csv", ".csv.gz", ".txt", ".parquet"))
    clocks = ("iso", "iso", "utc", "offset", "s", "ms", "us", "ns", "s.0", "naive", "ampm")
    case.clock = rng.choice(clocks)
    case.assume_utc = case.clock in ("naive", "ampm")
    if case.suffix == ".parquet":
        style["table"] = rng.choice(("texts", "numbers", "stamps", "stamps", "float32"))
        return
    style["delimiter"] = "\t" if case.suffix == ".txt" else rng.choice(",,,;|")
    for name in ("bom", "banner", "crlf", "blank", "unended", "extra", "coin", "quoted", "thousands"):
        style[name] = rng.random() < 0.12
    style["thousands"] &= style["delimiter"] != ";"
    style["comment"] = rng.random() < 0.08
    for name, note in NOTES.items():
        if style[name]:
            case.notes.append(note)
    if case.suffix == ".csv.gz":
        case.notes.append("gzip unpacked")


NOTES = {
    "bom": "byte order mark skipped",
    "banner": "banner line skipped: 'Exported on request'",
    "comment": "banner line skipped: '# hourly candles'",
    "unended": "no line end",
    "coin": "volume from column",
}


# Faults that the boundary repairs and reports, or reads as they are. False: it does not apply here.
def short_gap(case: Case, sheet: Sheet) -> None:
    k = late(case, sheet)
    del sheet.rows[k : k + case.rng.choice((1, 2, 3))]


def long_gap(case: Case, sheet: Sheet) -> None:
    k = late(case, sheet)
    shift = case.bar * case.rng.choice((4, 5, 40))
    for row in sheet.rows[k:]:
        row[0] += shift


def century(case: Case, sheet: Sheet) -> bool | None:
    if len(case.sheets) > 1:
        return False
    sheet.rows[0][0] -= 30 * 365 * DAY
    return None


def duplicate(case: Case, sheet: Sheet) -> None:
    k = late(case, sheet)
    sheet.rows[k:k] = [list(sheet.rows[k]) for _ in range(case.rng.choice((1, 2)))]


def sorted_back(case: Case, sheet: Sheet) -> None:
    case.repair = ("sort",)
    if case.rng.random() < 0.5:
        sheet.rows.reverse()  # newest first
    else:
        k = late(case, sheet)
        sheet.rows[k], sheet.rows[k + 1] = sheet.rows[k + 1], sheet.rows[k]


def half_formed(case: Case, sheet: Sheet) -> bool | None:
    last = max(row[0] for other in case.sheets for row in other.rows)
    if case.now < START + 10**4 * DAY:
        return False
    case.now = last + case.rng.choice((0, 1, case.bar // 2, case.bar - 1))
    return None


def flat_stretch(case: Case, sheet: Sheet) -> bool | None:
    k, length = late(case, sheet), case.rng.choice((4, 5, 6, 7, 12))
    if k + length + 1 > len(sheet.rows):
        return False
    for row in sheet.rows[k : k + length]:
        row[1:] = [sheet.rows[k - 1][4]] * 4 + [0.0]
    return None


def jump(case: Case, sheet: Sheet) -> None:
    factor = case.rng.choice((0.25, 4.0))
    for row in sheet.rows[late(case, sheet) :]:
        row[1:5] = [value * factor for value in row[1:5]]


def sessions(case: Case, sheet: Sheet) -> None:
    case.calendar = "sessions"


def distant(case: Case, sheet: Sheet) -> None:
    """Prices and volumes at the ends of what is allowed: every feature stays finite."""
    factor = case.rng.choice((1e-16, 1e-12, 1e12))
    for row in sheet.rows:
        row[1:5] = [value * factor for value in row[1:5]]
        row[5] *= case.rng.choice((factor, 1e-300, 1e25))


def mixed_units(case: Case, sheet: Sheet) -> bool | None:
    if case.clock not in ("s", "ms", "us", "ns") or case.style.get("table") == "stamps":
        return False
    row = sheet.rows[late(case, sheet)]
    sheet.times[id(row)] = text_time(row[0], "ms" if case.clock != "ms" else "s")
    case.notes.append("each read by its size")
    return None


HARMLESS: dict[str, Callable[[Case, Sheet], bool | None]] = {
    f.__name__: f
    for f in (distant, flat_stretch, jump, short_gap, long_gap, century, half_formed, duplicate, sorted_back, sessions)
} | {f.__name__: f for f in (priceless, rounded, torn, mixed_units)}


# Faults that the boundary refuses, each in a row of its own.
def strike(case: Case, sheet: Sheet) -> int:
    """Index of a row that has no such fault yet."""
    k = late(case, sheet)
    case.struck.append(sheet.rows[k])
    return k


def refuse(case: Case, *words: str) -> None:
    case.refusals.append(words)


def spoiled(column: int, values: tuple, *words: str) -> Callable[[Case, Sheet], bool | None]:
    def spoil(case: Case, sheet: Sheet) -> None:
        sheet.rows[strike(case, sheet)][column] = case.rng.choice(values)
        refuse(case, *words)

    return spoil


def high_below(case: Case, sheet: Sheet) -> None:
    row = sheet.rows[strike(case, sheet)]
    row[2] = min(row[1], row[4]) * 0.99 if case.rng.random() < 0.5 else row[3] * 0.5
    refuse(case, "high", "low")


def low_above(case: Case, sheet: Sheet) -> None:
    row = sheet.rows[strike(case, sheet)]
    row[3] = max(row[1], row[4]) * 1.01
    refuse(case, "low", "high")


def off_grid(case: Case, sheet: Sheet) -> None:
    sheet.rows[strike(case, sheet)][0] += case.rng.choice((1000, 30_000, 7000))
    refuse(case, "off the grid", "12-hour clock", "--repair sort")


def between_milliseconds(case: Case, sheet: Sheet) -> bool | None:
    k = strike(case, sheet)
    if case.clock not in ("iso", "us", "ns") or case.style.get("table") in ("numbers", "stamps", "float32"):
        return False
    moment = text_time(sheet.rows[k][0], case.clock)
    sheet.times[id(sheet.rows[k])] = moment[:-1] + ".0004Z" if case.clock == "iso" else moment[:-1] + "7"
    refuse(case, "millisecond")
    return None


def out_of_order(case: Case, sheet: Sheet) -> bool | None:
    k = strike(case, sheet)
    follower = sheet.rows[k + 1]
    taken = any(follower is row for row in case.struck) or not isinstance(follower[1], float) or math.isnan(follower[1])
    if case.repair or sheet.rows[k][0] == follower[0] or taken:
        return False
    case.struck.append(follower)
    sheet.rows[k], sheet.rows[k + 1] = sheet.rows[k + 1], sheet.rows[k]
    refuse(case, "--repair sort")
    return None


def contradiction(case: Case, sheet: Sheet) -> None:
    k = strike(case, sheet)
    sheet.rows.insert(k, [*sheet.rows[k][:5], sheet.rows[k][5] * 2 + 1.0])
    refuse(case, "for the same time in row")


def no_zone(case: Case, sheet: Sheet) -> bool | None:
    if not case.assume_utc:
        return False
    case.assume_utc = False
    for _ in case.sheets:
        refuse(case, "--assume-utc")
    return None


def half_clock(case: Case, sheet: Sheet) -> bool | None:
    if case.bar > HOUR or len(sheet.rows) * case.bar < 2 * DAY or case.style.get("table") == "stamps":
        return False
    case.clock, case.assume_utc = "half", True
    refuse(case, "12-hour clock")
    return None


def from_the_future(case: Case, sheet: Sheet) -> bool | None:
    if case.torn:
        return False
    case.now = max(row[0] for row in sheet.rows) - 1
    for other in case.sheets:
        if max(row[0] for row in other.rows) > case.now:
            refuse(case, "opens after now")
    return None


def no_number(case: Case, sheet: Sheet) -> bool | None:
    if case.suffix == ".parquet":
        return False
    sheet.rows[strike(case, sheet)][case.rng.randrange(1, 6)] = case.rng.choice(("abc", "1_0", "$5", "0,123", "1.5X"))
    refuse(case, "is no number")
    return None


def scaled(case: Case, sheet: Sheet) -> bool | None:
    """A whole candle that no currency can have, or a volume."""
    if "distant" in case.faults:
        return False
    row, factor = sheet.rows[strike(case, sheet)], case.rng.choice((1e24, 1e-24, 1e200, 1e-200))
    if case.rng.random() < 0.3:
        row[5] = 1e31
    else:
        row[1:5] = [value * factor for value in row[1:5]]
    refuse(case, "1e-18 to 1e+18", "up to 1e+30", "finite and > 0")  # the last where it leaves a float32
    return None


FATAL: dict[str, Callable[[Case, Sheet], bool | None]] = {
    "bad_price": spoiled(1, ("nan", "inf", "-inf", "", "0", "-3", "1e300", "1e-300", "null"), "open", "high", "low"),
    "bad_scale": scaled,
    "bad_close": spoiled(4, ("nan", "inf", "", "0.0", "-1e-9", "N/A"), "close", "high", "low"),
    "bad_volume": spoiled(5, ("nan", "-1", "inf", "", "-0.001"), "volume"),
    **{
        f.__name__: f
        for f in (
            *(high_below, low_above, off_grid, between_milliseconds, out_of_order, contradiction),
            *(no_zone, half_clock, from_the_future, no_number),
        )
    },
}
