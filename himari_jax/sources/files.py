"""Candles from files: of many kinds, one symbol a file or several, one file a symbol or several."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax.candles import COLUMNS, RawCandles, common_kind
from himari_jax.errors import Fault, InputError, refuse_faults
from himari_jax.reading.content import read_table
from himari_jax.reading.entries import SUFFIXES, Entry, entries_of, may_hold_candles, unpack
from himari_jax.reading.frames import damage_as_input_error, with_facts
from himari_jax.reading.names import bar_of_name, listed, names_symbol, plain, same_name, symbol_of, undated
from himari_jax.reading.reader import CandleTable
from himari_jax.sources.request import SourceRequest


def load(request: SourceRequest) -> list[RawCandles]:
    """The candles of each symbol from the files of its name, or from its rows in a file of many symbols.

    Several files of one symbol, such as one a month, are joined. One file, or one symbol's files, need no symbol.

    Raises:
        InputError: no such file or symbol, two files for one symbol, or a file that cannot be read.
    """
    entries = _list_entries(request.data)
    chosen = _Chosen(entries, request)
    wanted = request.symbols or chosen.all_symbols()
    found, faults = {}, []
    for symbol in wanted:
        try:
            found[symbol] = chosen.sources(symbol)
        except InputError as error:
            faults.append(Fault(str(error)))
    refuse_faults(faults)
    places = [tuple((entry.origin, own) for entry, own in sources) for sources in found.values()]
    if len(set(places)) < len(wanted):
        raise InputError(f"--symbols {' '.join(wanted)}: two of them are one file; each may stand once")
    return [chosen.read(symbol, sources) for symbol, sources in found.items()]


def read_candles(
    data: bytes, suffix: str, symbol: str, origin: str, assume_utc: bool = False, no_volume: bool = False
) -> RawCandles:
    """The content of one file of one symbol as candles in the order of the file, unchecked.

    Args:
        data: the bytes of the file.
        suffix: of its name, such as `.csv.gz`.
        symbol: what to call the candles; says which volume column counts the base asset.
        origin: what to call the file in messages.
        assume_utc: reads times without a zone as UTC.
        no_volume: takes no volume.

    Raises:
        InputError: names file, row, column, value and what is allowed.
    """
    with damage_as_input_error(origin):
        table = CandleTable(read_table(unpack(data, f"x{suffix}", origin), origin))
        if table.symbols:
            raise InputError(_several_symbols(origin, table.symbols))
        return table.read(symbol, None, assume_utc, no_volume)


class _Chosen:
    """The files of a request, and which of them hold a symbol."""

    def __init__(self, entries: Sequence[Entry], request: SourceRequest):
        self.entries, self.request = list(entries), request
        self.table = cache(self._table)
        self.called: dict[str, str] = {}  # names in the files of the symbols that the request does not name

    def all_symbols(self) -> tuple[str, ...]:
        """The symbols where none is asked for: the only one, or all for a pool.

        Raises:
            InputError: several, and no pool.
        """
        usual = [entry for entry in self.entries if not entry.side] or self.entries
        families: dict[str, list[Entry]] = {}
        for entry in usual:
            families.setdefault(undated(entry.stem), []).append(entry)
        found: list[str] = []
        for family, members in families.items():
            inside = list(dict.fromkeys(symbol for entry in members for symbol in self.table(entry).symbols))
            joined = len(members) > 1 and family
            found += inside or ([family] if joined else [entry.stem for entry in members])
        if len(found) > 1 and not self.request.every:
            if self.table(usual[0]).symbols:
                raise InputError(_several_symbols(families.popitem()[1][0].origin, found))
            names = listed(sorted(found), 100)
            raise InputError(f"--symbols is needed to choose from several files: {names}; --pool takes all of them")
        short = [symbol_of(name) for name in found]
        if len(set(short)) == len(short):
            self.called = dict(zip(short, found, strict=True))
        return tuple(self.called or found)

    def sources(self, symbol: str) -> list[tuple[Entry, str | None]]:
        """The files that hold a symbol, each with the name of the symbol in a file of several.

        A file of that name wins, then files of that name beside a bar, dates and vendors, then rows of a long file.

        Raises:
            InputError: none, or files of different kinds.
        """
        symbol = self.called.get(symbol, symbol)
        named = self._named(symbol)
        if named:
            return [(entry, self._own(entry, symbol)) for entry in named]
        inside: list[tuple[Entry, str | None]] = [
            (entry, own) for entry in self.entries if (own := self._find(entry, symbol)) is not None
        ]
        if inside:
            return inside
        stems = {plain(stem): stem for entry in self.entries for stem in [*self._symbols(entry), entry.stem]}
        near = get_close_matches(plain(symbol), stems, 1)
        allowed = listed(sorted(stems.values()), 30)
        hint = f"; nearest is {stems[near[0]]}" if near and len(stems) > 1 else ""
        raise InputError(f"--symbols {symbol}: no file of that name; it must be one of {allowed}{hint}")

    def _named(self, symbol: str) -> list[Entry]:
        """The files whose name is the symbol."""
        exact = [entry for entry in self.entries if symbol in entry.stems]
        hits = exact or [entry for entry in self.entries if same_name(symbol, entry.stems)]
        if hits:
            return [_only(symbol, hits)]
        hits = [entry for entry in self.entries if any(undated(stem) == symbol for stem in entry.stems)]
        hits = hits or [entry for entry in self.entries if any(names_symbol(stem, symbol) for stem in entry.stems)]
        families = {undated(entry.stem): entry for entry in hits}
        if len(families) > 1 and self.request.bar_ms is not None:
            hits = [entry for entry in hits if bar_of_name(entry.stem) == self.request.bar_ms] or hits
            families = {undated(entry.stem): entry for entry in hits}
        if len(families) > 1:
            _only(symbol, list(families.values()))
        stems = [entry.stem for entry in hits]
        for stem in stems if len(set(stems)) < len(stems) else ():
            _only(symbol, [entry for entry in hits if entry.stem == stem])
        return hits

    def _own(self, entry: Entry, symbol: str) -> str | None:
        """Name of a symbol inside the file that is called like it; None: the file holds one symbol.

        Raises:
            InputError: it holds others alone.
        """
        if not (inside := self.table(entry).symbols):
            return None
        own = self.table(entry).find(symbol)
        if own is None:
            raise InputError(_several_symbols(entry.origin, inside))
        return own

    def _symbols(self, entry: Entry) -> list[str]:
        """The symbols of a file of several; empty for one that cannot be read."""
        try:
            return self.table(entry).symbols
        except InputError:
            return []

    def _find(self, entry: Entry, symbol: str) -> str | None:
        return self.table(entry).find(symbol) if self._symbols(entry) else None

    def _table(self, entry: Entry) -> CandleTable:
        with damage_as_input_error(entry.origin):
            return CandleTable(read_table(entry.content, entry.origin))

    def read(self, symbol: str, sources: Sequence[tuple[Entry, str | None]]) -> RawCandles:
        """The candles of a symbol from its files."""
        request = self.request
        found = []
        for entry, own in sources:
            with damage_as_input_error(entry.origin):
                raw = self.table(entry).read(symbol, own, request.assume_utc, request.no_volume)
                found.append(with_facts(raw, entry.content.data))
        return found[0] if len(found) == 1 else join(found)


def _only(symbol: str, entries: Sequence[Entry]) -> Entry:
    """The only one of the files that may be meant.

    Raises:
        InputError: there are several.
    """
    if len(entries) == 1:
        return entries[0]
    stems = [entry.stem for entry in entries]
    bars = [bar_of_name(stem) for stem in stems]
    if len(set(stems)) == 1:
        how = "name one of them with --data"
    else:
        how = "name one by its exact file name" + (", or its bar with --bar" if len(set(bars)) == len(bars) else "")
    raise InputError(f"--symbols {symbol}: {entries[0].origin} and {entries[1].origin} both match; {how}")


def join(pieces: Sequence[RawCandles]) -> RawCandles:
    """The candles of several files as one series, in the order of time where each file is in order.

    Rows that two files share then follow each other, so that the check compares them.
    """
    pieces = sorted(pieces, key=lambda piece: int(piece.time.min(initial=2**62)))
    offsets = np.cumsum([0, *(int(piece.row.max(initial=0)) for piece in pieces)])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("time", *COLUMNS)
    }
    row = np.concatenate([piece.row + offset for piece, offset in zip(pieces, offsets, strict=False)])
    if all((np.diff(piece.time) >= 0).all() for piece in pieces):
        order = np.argsort(columns["time"], kind="stable")
        row, columns = row[order], {name: column[order] for name, column in columns.items()}
    names = [Path(piece.origin).name for piece in pieces]
    notes = [f"{len(pieces)} files joined: {listed(names, 4)}"]
    notes += dict.fromkeys(note for piece in pieces for note in piece.notes)
    return RawCandles(
        pieces[0].symbol,
        f"{pieces[0].origin} and {len(pieces) - 1} more",
        row,
        **columns,
        notes=tuple(notes),
        faults=tuple(fault for piece in pieces for fault in piece.faults),
        kind=common_kind({piece.origin: piece.kind for piece in pieces}),
        pieces=tuple((int(offset), piece.origin) for offset, piece in zip(offsets, pieces, strict=False)),
    )


def _several_symbols(origin: str, symbols: Sequence[str]) -> str:
    some = " ".join(f"'{symbol}'" if " " in symbol else symbol for symbol in symbols[:2])
    return f"{origin}: holds {len(symbols)} symbols, {listed(symbols, 8)}; name those that you want: --symbols {some}"


def _list_entries(data: Iterable[str]) -> list[Entry]:
    """The candle files among the paths and inside the folders and archives among them, each once."""
    if not data:
        raise InputError("--data is needed: a folder of candle files, or files")
    files: dict[Path, Path] = {}
    for path in map(Path, data):
        try:
            if path.is_dir():
                inside = [file for file in sorted(path.iterdir()) if may_hold_candles(file.name) and file.is_file()]
                if not inside:
                    raise InputError(f"--data {path}: no candle files in it; allowed: {' '.join(SUFFIXES)}")
                files |= {file.resolve(): file for file in inside}
            elif not path.exists():
                raise InputError(f"--data {path}: no such file or folder")
            elif not may_hold_candles(path.name):
                raise InputError(f"--data {path}: unknown kind of file; allowed: {' '.join(SUFFIXES)}")
            else:
                files.setdefault(path.resolve(), path)
        except (OSError, ValueError) as error:
            raise InputError(f"--data {path}: cannot be opened ({getattr(error, 'strerror', error)})") from None
    return [entry for file in files.values() for entry in entries_of(file)]
