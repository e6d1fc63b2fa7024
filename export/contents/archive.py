"""Reads an .npz archive that is not trusted: its size is known before it is unpacked, and no pickle is opened."""

import io
import zipfile
from math import prod

import numpy as np

MOST_UNPACKED = 256 * 2**20  # bytes of all arrays together
MOST_ARRAYS = 64
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
KINDS = "biufU"  # of numbers and texts


def read_arrays(data: bytes, most: int = MOST_UNPACKED) -> dict[str, np.ndarray]:
    """Reads the arrays of an archive by name.

    Args:
        data: the file.
        most: bytes that all arrays together may take.

    Raises:
        ValueError, zipfile.BadZipFile, zlib.error: it is no such archive, or a larger one.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS or len({member.filename for member in members}) < len(members):
            raise ValueError(f"{len(members)} arrays; must be at most {MOST_ARRAYS}, each once")
        if (total := sum(member.file_size for member in members)) > most:
            raise ValueError(f"it unpacks to {total:,} bytes; must be at most {most:,}")
        return {member.filename.removesuffix(".npy"): read_member(archive, member) for member in members}


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Reads one array, which must have exactly the bytes that its header declares."""
    if member.compress_type not in METHODS or member.flag_bits & 1:
        raise ValueError(f"{member.filename[:64]!r} is packed in another way than numpy does")
    raw = archive.read(member)
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{member.filename[:64]!r} is of another version of .npy")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in KINDS or dtype.itemsize == 0:
        raise ValueError(f"{member.filename[:64]!r} holds neither numbers nor texts")
    if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(raw) - stream.tell():
        raise ValueError(f"{member.filename[:64]!r} has the shape {shape} and {len(raw) - stream.tell()} bytes")
    flat = np.frombuffer(raw, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if in_columns else "C")
