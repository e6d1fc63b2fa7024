"""Candle files that grow: Parquet with the facts of its source, and a log of revisions; a kill costs nothing."""

import contextlib
import fcntl
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from himari_jax.atomic import replacing
from himari_jax.candles import COLUMNS, FACTS_KEY, RawCandles
from himari_jax.errors import InputError, first_line
from himari_jax.reading.frames import fact_notes, read_facts
from himari_jax.times import bar_name, iso_second

SAME = ("source", "source_kind", "symbol", "bar", "id", "currency")  # facts that may not change within a file
LOG = "revisions.log"  # JSON lines; no ending of a file of candles


class Stored(NamedTuple):
    """Content of a candle file."""

    rows: np.ndarray  # (T, 6) float64, as of a page, in the order of time
    facts: dict[str, Any]  # of the source; empty: there is no file yet


class Revision(NamedTuple):
    """A closed candle whose values the source has changed."""

    symbol: str
    time: int  # open, epoch milliseconds
    known_ms: int  # when it was learned
    before: tuple[float, ...]  # open, high, low, close, volume
    after: tuple[float, ...]


def file_name(symbol: str, bar_ms: int) -> str:
    """Name of the file of a symbol, such as BTC_USDT-1h.parquet: `--symbols BTC/USDT` finds it."""
    return f"{re.sub(r'[^A-Za-z0-9.]+', '_', symbol).strip('_')}-{bar_name(bar_ms)}.parquet"


def read_store(path: Path) -> Stored:
    """The candles of a file that a download wrote; none where there is no file.

    Raises:
        InputError: it is damaged, or was not written by a download.
    """
    if not path.exists():
        return Stored(np.zeros((0, 6)), {})
    data = path.read_bytes()
    facts = read_facts(data)
    if facts is None:
        raise InputError(f"{path}: not written by train.download; name another folder, or move the file away")
    try:
        frame = pl.read_parquet(io.BytesIO(data))
        time = frame["timestamp"].dt.epoch("ms").to_numpy().astype(float)
        return Stored(np.column_stack([time, *(frame[name].to_numpy() for name in COLUMNS)]), facts)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); move it away, it is downloaded anew") from error


def write_store(path: Path, stored: Stored) -> None:
    """Writes a candle file in one step: whoever reads it sees the old or the new one, whatever happens."""
    columns = {"timestamp": pl.Series(stored.rows[:, 0].astype(np.int64)).cast(pl.Datetime("ms", "UTC"))}
    columns |= {name: pl.Series(stored.rows[:, k]) for k, name in enumerate(COLUMNS, 1)}
    with replacing(path) as part:
        pl.DataFrame(columns).write_parquet(part, metadata={FACTS_KEY: json.dumps(stored.facts)})


def refuse_other(path: Path, stored: Stored, facts: dict[str, Any]) -> None:
    """Raises InputError where a file holds candles of another source, symbol or bar than the facts that are given."""
    for name in [name for name in SAME if name in facts and stored.facts]:
        if stored.facts.get(name) != facts.get(name):
            raise InputError(
                f"{path}: holds candles of {name} {stored.facts.get(name)}, not {facts.get(name)}; name another folder"
            )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a file for one process; another one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def merge(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rows of both in the order of time; where both have a candle, the new one.

    Args:
        old: (T, 6).
        new: (K, 6).
    """
    kept = old[~np.isin(old[:, 0], new[:, 0])]
    rows = np.concatenate([kept, new])
    return rows[np.argsort(rows[:, 0], kind="stable")]


def find_revisions(symbol: str, old: np.ndarray, new: np.ndarray, known_ms: int) -> list[Revision]:
    """Candles that both have and that differ.

    Args:
        symbol: whose candles.
        old: (T, 6).
        new: (K, 6).
        known_ms: when the new ones were learned, epoch milliseconds.
    """
    before = {int(row[0]): tuple(row[1:].tolist()) for row in old[np.isin(old[:, 0], new[:, 0])]}
    after = {int(row[0]): tuple(row[1:].tolist()) for row in new}
    return [
        Revision(symbol, time, known_ms, before[time], after[time])
        for time in sorted(before)
        if not np.array_equal(before[time], after[time], equal_nan=True)
    ]


def log_revisions(folder: Path, revisions: Sequence[Revision]) -> None:
    """Appends revisions to the folder's log, each once.

    They are logged before the file takes them: after a kill in between they are found again, and stand there already.
    """
    if not revisions:
        return
    path = folder / LOG
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line
    known = {_content(json.loads(line)) for line in whole.splitlines()}
    lines = [_line(each) for each in revisions]
    fresh = [line for line in lines if _content(line) not in known]
    with path.open("r+" if path.exists() else "w", encoding="utf-8") as file:
        file.truncate(len(whole.encode()))
        file.seek(0, os.SEEK_END)
        file.writelines(json.dumps(line) + "\n" for line in fresh)
        file.flush()
        os.fsync(file.fileno())


def _line(revision: Revision) -> dict[str, Any]:
    """A revision as the log has it."""
    return {
        "symbol": revision.symbol,
        "time": iso_second(revision.time),
        "known": iso_second(revision.known_ms),
        "before": dict(zip(COLUMNS, revision.before, strict=True)),
        "after": dict(zip(COLUMNS, revision.after, strict=True)),
    }


def _content(line: dict[str, Any]) -> str:
    """Identity of a revision in the log: all but when it became known."""
    return json.dumps([line["symbol"], line["time"], line["before"], line["after"]])


def to_raw(symbol: str, origin: str, stored: Stored, notes: Sequence[str] = ()) -> RawCandles:
    """Stored candles as a source hands them on."""
    rows = stored.rows
    values = dict(zip(COLUMNS, rows[:, 1:].T.copy(), strict=True))
    own = (*fact_notes(stored.facts), *notes)
    number = np.arange(1, len(rows) + 1, dtype=np.int64)
    return RawCandles(
        symbol, origin, number, rows[:, 0].astype(np.int64), **values, notes=own, kind=stored.facts["source_kind"]
    )
