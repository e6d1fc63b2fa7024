"""Candles from files: Parquet or CSV, one file per symbol, the name of the file is the symbol."""

import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from himari_jax.candles import RawCandles
from himari_jax.errors import InputError
from himari_jax.sources._columns import plain
from himari_jax.sources._csv import read_csv
from himari_jax.sources._parquet import read_parquet
from himari_jax.sources._text import unzip
from himari_jax.sources.request import SourceRequest

SUFFIXES = (".parquet", ".csv.gz", ".csv", ".txt")


def load(request: SourceRequest) -> list[RawCandles]:
    """The candles of each symbol from the file of its name; one file needs no symbol.

    Raises:
        InputError: no such file or symbol, two files for one symbol, or a file that cannot be read.
    """
    files = _list_files(request.data)
    if not request.symbols and not request.every and len(files) > 1:
        raise InputError(f"--symbols is needed to choose from several files: {_stems(files)}")
    wanted = request.symbols or tuple(_stem(file) for file in files)
    chosen = {symbol: _find_file(symbol, files) for symbol in wanted}
    if len(set(chosen.values())) < len(wanted):
        raise InputError(f"--symbols {' '.join(wanted)}: two of them are one file; each may stand once")
    return [
        read_candles(read_bytes(path), suffix_of(path), symbol, str(path), request.assume_utc)
        for symbol, path in chosen.items()
    ]


def read_candles(data: bytes, suffix: str, symbol: str, origin: str, assume_utc: bool = False) -> RawCandles:
    """The content of one file as candles in the order of the file, unchecked.

    Args:
        data: the bytes of the file.
        suffix: one of `SUFFIXES`.
        symbol: what to call the candles; says which volume column counts the base asset.
        origin: what to call the file in messages.
        assume_utc: reads times without a zone as UTC.

    Raises:
        InputError: names file, row, column, value and what is allowed.
    """
    if suffix == ".parquet":
        return read_parquet(data, symbol, origin, assume_utc)
    if suffix == ".csv.gz":
        raw = read_csv(unzip(data, origin), symbol, origin, assume_utc)
        return replace(raw, notes=("gzip unpacked", *raw.notes))
    return read_csv(data, symbol, origin, assume_utc)


def _list_files(data: tuple[str, ...]) -> list[Path]:
    """The candle files among the paths and inside the folders among them, each once."""
    if not data:
        raise InputError("--data is needed: a folder of candle files, or files")
    files: list[Path] = []
    for path in map(Path, data):
        try:
            if path.is_dir():
                inside = [file for file in sorted(path.iterdir()) if suffix_of(file) and file.is_file()]
                if not inside:
                    raise InputError(f"--data {path}: no candle files in it; allowed: {' '.join(SUFFIXES)}")
                files += inside
            elif not path.exists():
                raise InputError(f"--data {path}: no such file or folder")
            elif not suffix_of(path):
                raise InputError(f"--data {path}: unknown kind of file; allowed: {' '.join(SUFFIXES)}")
            else:
                files.append(path)
        except (OSError, ValueError) as error:
            raise InputError(f"--data {path}: cannot be opened ({getattr(error, 'strerror', error)})") from None
    return list({file.resolve(): file for file in files}.values())


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); allowed: a readable file") from None


def suffix_of(path: Path) -> str:
    """Which of `SUFFIXES` a file has; empty: none."""
    name = path.name.lower()
    return next((end for end in SUFFIXES if name.endswith(end) and not name.startswith(".")), "")


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(suffix_of(path))]


def _stems(files: list[Path]) -> str:
    return ", ".join(sorted(_stem(file) for file in files))


def _find_file(symbol: str, files: list[Path]) -> Path:
    """The file whose stem is the symbol: literally, else without case and punctuation, USD also as USDT."""
    hits = [file for file in files if _stem(file) == symbol]
    if not hits:
        names = {plain(symbol), re.sub("usd$", "usdt", plain(symbol))}
        hits = [file for file in files if plain(_stem(file)) in names]
    if len(hits) > 1:
        raise InputError(f"--symbols {symbol}: {hits[0]} and {hits[1]} both match; name one by its exact file name")
    if not hits:
        stems = {plain(_stem(file)): _stem(file) for file in files}
        near = get_close_matches(plain(symbol), stems, 1)
        hint = f"; nearest is {stems[near[0]]}" if near else ""
        raise InputError(f"--symbols {symbol}: no file of that name; allowed are {_stems(files)}{hint}")
    return hits[0]
