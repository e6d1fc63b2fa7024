"""Columnar files: Parquet and Feather as tables."""

import ctypes
import io
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from himari_jax.candles import FACTS_KEY, KINDS, RawCandles
from himari_jax.errors import InputError, first_line
from himari_jax.reading.columns import shown
from himari_jax.reading.entries import FEATHER, PARQUET
from himari_jax.reading.tables import FrameTable, split_pairs

if TYPE_CHECKING:
    import polars as pl


def read_frame(data: bytes, origin: str) -> FrameTable:
    """The content of a Parquet or Feather file; categories become texts.

    Raises:
        InputError: it is not a whole one.
    """
    import polars as pl
    import polars.selectors as cs

    with damage_as_input_error(origin):
        frame = load_frame(data, origin)
        frame = frame.with_columns((cs.categorical() | cs.enum()).cast(pl.String))
    names, labels = split_pairs(frame.columns)
    return FrameTable(origin, frame, names, labels=labels)


def load_frame(data: bytes, origin: str) -> "pl.DataFrame":
    """The columns of a Parquet or Feather file.

    Raises:
        InputError: it is not a whole one.
    """
    import polars as pl

    kind, mark = ("Parquet", PARQUET) if data.startswith(PARQUET) else ("Feather", FEATHER)
    if not (data.startswith(mark) and data.endswith(mark)):
        raise InputError(f"{origin}: not a whole {kind} file; allowed: one that was written to its end")
    with _silenced_stderr() as stderr, _line_at_abort(f"error: {origin}: the {kind} file is damaged", stderr):
        return pl.read_parquet(io.BytesIO(data)) if kind == "Parquet" else pl.read_ipc(io.BytesIO(data))


def read_facts(data: bytes) -> dict[str, Any] | None:
    """Reads the facts about its source that a download wrote into a Parquet file; None where there are none."""
    import polars as pl

    if FACTS_KEY.encode() not in data[-(1 << 20) :]:  # the footer is at the end
        return None
    try:
        found = json.loads(pl.read_parquet_metadata(io.BytesIO(data))[FACTS_KEY])
    except (pl.exceptions.PolarsError, OSError, ValueError, KeyError):
        return None
    return found if isinstance(found, dict) else None


def with_facts(raw: RawCandles, data: bytes) -> RawCandles:
    """Adds the facts about its source that a file holds to its candles."""
    facts = read_facts(data) if data.startswith(PARQUET) else None
    if facts is None or facts.get("source_kind") not in KINDS:
        return raw
    return replace(raw, kind=facts["source_kind"], notes=(*raw.notes, *fact_notes(facts)))


def fact_notes(facts: dict[str, Any]) -> tuple[str, ...]:
    """Words the facts about a source for a data report."""
    names = ("source", "source_kind", "symbol", "id", "fetched_at")
    known = [f"{name.replace('_', ' ')} {facts[name]}" for name in names if facts.get(name)]
    return (f"downloaded: {', '.join(known)}",)


@contextmanager
def damage_as_input_error(origin: str) -> Iterator[None]:
    """Turns what polars raises on a damaged file into one line.

    Raises:
        InputError: then.
    """
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, MemoryError) as error:
        reason = shown(first_line(error, None))
        raise InputError(f"{origin}: the file is damaged or of an unknown kind ({reason})") from None


@contextmanager
def _silenced_stderr() -> Iterator[int]:
    """Keeps the standard error empty: polars prints a stack where a damaged file only deserves our one line.

    Yields a descriptor that still leads to it, or -1.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield -1
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield kept
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _line_at_abort(line: str, stderr: int) -> Iterator[None]:
    """Ends the process with a line and 2 where polars aborts it: a damaged length can ask for memory without bounds.

    Rust aborts then, which Python cannot catch; `signal.signal` would only run after polars has returned.
    """

    def leave(number: int) -> None:
        with suppress(OSError):
            os.write(stderr, f"{line}\n".encode())
        os._exit(2)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(leave)
    set_handler = ctypes.CDLL(None).signal
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = set_handler(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        set_handler(signal.SIGABRT, before)
