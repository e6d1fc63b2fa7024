"""Entries: the files that may hold candles, in folders and zip archives, and their bytes, unpacked."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from himari_jax.errors import InputError

PARQUET, FEATHER = b"PAR1", b"ARROW1"  # how a file of the kind begins and ends
PARQUET_FILES = (".parquet.gzip", ".parquet.snappy", ".parquet", ".parq", ".pq")
FEATHER_FILES = (".feather", ".ftr", ".arrow", ".ipc")
JSON_FILES = (".json", ".jsonl", ".ndjson")
TABLES = (*PARQUET_FILES, *FEATHER_FILES, ".csv", ".tsv", ".txt", *JSON_FILES)
PACKED = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".zip")
SUFFIXES = (".parquet", ".feather", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".zip", ".gz", ".bz2", ".xz", ".zst")
# Endings and names also of what lies beside candles: among others such a file is taken where it is asked for by name.
SIDE = (".json",)
BESIDE = ("readme", "license", "licence", "notes", "changelog", "requirements", "checksums", "metadata")


@dataclass(frozen=True)
class Entry:
    """A file, or a member of a zip archive, that may hold candles."""

    path: Path
    member: str = ""  # of a zip archive; empty: the file itself
    alone: bool = False  # the only member: the archive's name is as good as its own

    @property
    def origin(self) -> str:
        """Its name in messages."""
        return f"{self.path}:{self.member}" if self.member and not self.alone else str(self.path)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.member.rsplit("/")[-1] or self.path.name

    @property
    def stem(self) -> str:
        """The name without its endings."""
        return stem_of(self.path.name if self.alone else self.name)

    @property
    def stems(self) -> set[str]:
        """The names that a symbol may be asked for by."""
        return {self.stem, stem_of(self.name)}

    @property
    def side(self) -> bool:
        """Whether files of its kind lie beside candles, too."""
        return self.name.lower().endswith(SIDE) or stem_of(self.name).lower() in BESIDE

    @cached_property
    def content(self) -> "Content":
        """The bytes, unpacked.

        Raises:
            InputError: they cannot be read, or the archive is cut or damaged.
        """
        data = read_bytes(self.path)
        if self.member:
            with _damage_as_input_error(self.origin, "zip archive"), zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(self.member)
        return unpack(data, self.name, self.origin)


@dataclass(frozen=True)
class Content:
    """Unpacked bytes of a file."""

    data: bytes
    name: str  # without the endings that unpacking took off
    notes: tuple[str, ...]


def stem_of(name: str) -> str:
    """The name of a file without the endings of a table and of what packed it."""
    packed = next((end for end in PACKED if name.lower().endswith(end)), "")
    for ending in (*TABLES, ""):
        if name.lower().endswith(ending + packed) and len(name) > len(ending + packed):
            left = name[: len(name) - len(ending + packed)]
            return left if ending or not packed else stem_of(left)
    return name


def may_hold_candles(name: str) -> bool:
    """Whether a file of that name is one of the kinds that are read."""
    lower = name.lower()
    return not name.startswith(".") and lower.endswith((*TABLES, *PACKED)) and len(stem_of(name)) > 0


def entries_of(path: Path) -> list[Entry]:
    """The file as an entry, or the members of a zip archive that may hold candles.

    Raises:
        InputError: an archive that cannot be read or holds none.
    """
    if not _is_zip(path):
        return [Entry(path)]
    with _damage_as_input_error(str(path), "zip archive"), zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if "[Content_Types].xml" in names:
            raise InputError(f"{path}: a spreadsheet; save it as CSV")
        if any(info.flag_bits & 1 for info in archive.infolist()):
            raise InputError(f"{path}: the zip archive is locked by a password; unpack it")
    inside = [name for name in names if not name.startswith("__MACOSX/") and may_hold_candles(name.rsplit("/")[-1])]
    if not inside:
        what = f"found {', '.join(names[:3])}" if names else "it is empty"
        raise InputError(f"{path}: no candle files in the zip archive ({what}); allowed: {' '.join(SUFFIXES)}")
    return [Entry(path, name, alone=len(inside) == 1) for name in inside]


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")  # the second is an empty one
    except OSError:
        return False  # reading it says why


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); allowed: a readable file") from None


def unpack(data: bytes, name: str, origin: str) -> Content:
    """The bytes without the compressions around them, which their first bytes say, whatever the name says.

    Raises:
        InputError: cut, damaged, or not packed as the name says.
    """
    notes: list[str] = []
    while kind := next((each for each in KINDS if data.startswith(each[0])), None):
        _, word, ending, open_packed = kind
        with _damage_as_input_error(origin, f"{word} file"):
            data = open_packed(data)
        notes.append(f"{word} unpacked")
        name = next((name[: -len(end)] for end in ending if name.lower().endswith(end)), name)
    if not data.startswith(PARQUET):  # pandas calls Parquet that is packed inside .parquet.gzip
        for _, word, ending, _ in KINDS:
            if name.lower().endswith(ending):
                raise InputError(f"{origin}: not packed by {word} as its name says; allowed: {word}, or name it .csv")
    return Content(data, name, tuple(notes))


@contextmanager
def _damage_as_input_error(origin: str, what: str) -> Iterator[None]:
    """Turns what an unpacker raises on a damaged file into one line."""
    try:
        yield
    except (
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
    ) as error:
        raise InputError(f"{origin}: the {what} is cut or damaged ({error}); allowed: a whole one") from None


def _open_zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    try:
        return zstd.decompress(data)
    except zstd.ZstdError as error:
        raise OSError(error) from None


KINDS: tuple[tuple[bytes, str, tuple[str, ...], Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", (".gz", ".gzip"), gzip.decompress),
    (b"BZh", "bzip2", (".bz2",), bz2.decompress),
    (b"\xfd7zXZ\0", "xz", (".xz",), lzma.decompress),
    (b"\x28\xb5\x2f\xfd", "zstd", (".zst", ".zstd"), _open_zstd),
)
