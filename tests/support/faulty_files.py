"""Writes the candles of a case as a file."""

import gzip
import io
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import polars as pl

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


COLUMNS = ("open", "high", "low", "close", "volume")


UNITS = {"s": 1000, "ms": 1, "us": 1e-3, "ns": 1e-6}


@dataclass
class Sheet:
    """The rows of one file: time in epoch milliseconds and five numbers; what cannot be a number is a text."""

    symbol: str
    rows: list[list]
    times: dict[int, str] = field(default_factory=dict)  # row -> what stands there instead of its time


@dataclass
class Case:
    """Files of one load, how they are written, and what has to come of them."""

    rng: random.Random
    bar: int
    sheets: list[Sheet]
    now: int
    repair: tuple[str, ...] = ()
    assume_utc: bool = False
    calendar: str = "continuous"
    suffix: str = ".csv"
    clock: str = "iso"
    style: dict = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    refusals: list[tuple[str, ...]] = field(default_factory=list)  # of each fault: the load fails and says one of these
    torn: list[list] = field(default_factory=list)  # last rows that are dropped as unfinished candles
    struck: list[list] = field(default_factory=list)  # rows with a fault that is refused
    notes: list[str] = field(default_factory=list)  # what the reader has to report


def late(case: Case, sheet: Sheet, least: int = 8) -> int:
    """Index of a row behind the first few that is still all numbers."""
    sound = [k for k in range(least, len(sheet.rows) - 2) if all(x == x and x != str(x) for x in sheet.rows[k])]
    return case.rng.choice([k for k in sound if not any(sheet.rows[k] is row for row in case.struck)] or sound)


# Writing.
def text_time(time: int, clock: str) -> str:
    """A time as a file has it."""
    if clock in UNITS:
        return str(round(time / UNITS[clock])) if clock in ("s", "ms") else str(time * round(1 / UNITS[clock]))
    if clock == "s.0":
        return f"{time / 1000:.1f}" if time % 100 == 0 else f"{time / 1000}"
    moment = datetime.fromtimestamp(time // 1000, UTC) + timedelta(milliseconds=time % 1000)
    if clock == "offset":
        return moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    half = "%I:%M:%S" if clock in ("ampm", "half") else "%H:%M:%S"
    text = moment.strftime(f"%Y-%m-%d {half}")
    return {"iso": text.replace(" ", "T") + "Z", "utc": text + " UTC", "ampm": text + moment.strftime(" %p")}.get(
        clock, text
    )


def text_number(value: float | str, thousands: bool) -> str:
    """A number as a file has it; the float it stands for comes back exactly."""
    if isinstance(value, str):
        return f'"{value}"' if "," in value else value
    text = f"{value:,}" if thousands and 1000 <= value < 1e15 else repr(value)
    return f'"{text}"' if "," in text else text


def write(case: Case, sheet: Sheet) -> bytes:
    """The bytes of a sheet's file."""
    times = [sheet.times.get(id(row)) or text_time(row[0], case.clock) for row in sheet.rows]
    if case.suffix == ".parquet":
        return write_parquet(case, sheet, times)
    style, mark = case.style, case.style["delimiter"]
    coin = f"Volume {sheet.symbol[:3]}"
    names = ["Open Time", "open", "High", "low", "Close", coin if style["coin"] else "volume"]
    lines = ["# hourly candles"] * style["comment"] + ["Exported on request"] * style["banner"]
    if style["extra"]:
        names = ["symbol", *names, "trades"]
    lines.append(mark.join(names))
    for time, row in zip(times, sheet.rows, strict=True):
        cells = [f'"{time}"' if style["quoted"] else time]
        cells += [text_number(value, style["thousands"]) for value in row[1:]]
        if style["extra"]:
            cells = [sheet.symbol, *cells, "17"]
        lines += [mark.join(cells)] + [""] * (style["blank"] and not style["unended"] and case.rng.random() < 0.1)
    end = "\r\n" if style["crlf"] else "\n"
    text = end.join(lines) + ("" if style["unended"] else end)
    data = (b"\xef\xbb\xbf" if style["bom"] else b"") + text.encode()
    return gzip.compress(data, 1) if case.suffix == ".csv.gz" else data


def write_parquet(case: Case, sheet: Sheet, times: list[str]) -> bytes:
    """The same rows as a Parquet table with one of several types for times and numbers."""
    table = case.style["table"]
    numbers = {name: [row[k] for row in sheet.rows] for k, name in enumerate(COLUMNS, 1)}
    if table == "texts":
        columns = {name: pl.Series([text_number(x, False) for x in values]) for name, values in numbers.items()}
    else:
        kind = pl.Float32 if table == "float32" else pl.Float64
        columns = {name: pl.Series([as_float(x) for x in values]).cast(kind) for name, values in numbers.items()}
    if table == "stamps":
        unit, zone = case.rng.choice(("ms", "us", "ns")), None if case.clock in ("naive", "ampm") else "Asia/Tokyo"
        stamps = pl.Series([row[0] for row in sheet.rows]).cast(pl.Datetime("ms")).cast(pl.Datetime(unit))
        time = stamps if zone is None else stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    elif table == "numbers" and case.clock in UNITS:
        time = pl.Series([int(text) for text in times])
    else:
        time = pl.Series(times)
    buffer = io.BytesIO()
    pl.DataFrame({"timestamp": time, **columns}).write_parquet(buffer)
    return buffer.getvalue()


def as_float(value: float | str) -> float | None:
    """The number of a Parquet cell; None where a text says that there is none."""
    if not isinstance(value, str):
        return value
    return None if value in ("", "null", "N/A") else float(value)
