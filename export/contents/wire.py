"""A strict reader of protobuf messages: fields that are unknown or given twice are refused.

The serving image has no `onnx` package. Protobuf's own readers pass over fields that they do not know and merge those
that come twice, so that two of them may see two graphs in one file; here such a file is refused.

Source: Protocol Buffers, "Encoding".
"""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from himari_jax.errors import InputError

VARINT, LENGTH, FIXED32 = 0, 2, 5  # wire types
MOST_REPEATS = 10_000  # of a repeated field
LONGEST_VARINT = 10  # bytes


class Field(NamedTuple):
    """A field that a message may have."""

    name: str
    kind: Any  # int, float, str, bytes, or the table of an inner message
    repeated: bool = False


Table = Mapping[int, Field]  # by field number


class WireError(InputError):
    """Bytes that do not encode a message of their table."""


def read_message(data: memoryview, table: Table, what: str) -> dict[str, Any]:
    """Reads a message into a dict by field name; repeated fields are lists, absent ones are missing.

    Args:
        data: the message's bytes, all of them.
        table: of its fields.
        what: the message's name, for errors.

    Raises:
        WireError: a field that the table does not have, or that comes twice, is cut off, or of another kind.
    """
    found: dict[str, Any] = {field.name: [] for field in table.values() if field.repeated}
    place = 0
    while place < len(data):
        tag, place = read_varint(data, place, what)
        number, wire = tag >> 3, tag & 7
        if (field := table.get(number)) is None:
            raise WireError(f"{what} has the field {number}, which no exported policy has")
        values, place = read_field(data, place, wire, field, f"{what}.{field.name}")
        if field.repeated:
            found[field.name] += values
            if len(found[field.name]) > MOST_REPEATS:
                raise WireError(f"{what}.{field.name}: more than {MOST_REPEATS}")
        elif field.name in found or len(values) != 1:
            raise WireError(f"{what}.{field.name}: given twice")
        else:
            found[field.name] = values[0]
    return found


def read_field(data: memoryview, place: int, wire: int, field: Field, what: str) -> tuple[list[Any], int]:
    """Reads the values of a field and the offset after it; several where integers are packed."""
    if field.kind is int and wire == VARINT:
        value, place = read_varint(data, place, what)
        return [signed(value)], place
    if field.kind is float and wire == FIXED32:
        return [struct.unpack("<f", piece(data, place, 4, what))[0]], place + 4
    if wire != LENGTH or field.kind is float or (field.kind is int and not field.repeated):
        raise WireError(f"{what}: of another kind")
    length, place = read_varint(data, place, what)
    part = piece(data, place, length, what)
    return read_part(part, field.kind, what), place + length


def read_part(part: memoryview, kind: Any, what: str) -> list[Any]:
    """Reads the values of a length-delimited field."""
    if kind is int:
        values, place = [], 0
        while place < len(part):
            value, place = read_varint(part, place, what)
            values.append(signed(value))
            if len(values) > MOST_REPEATS:
                raise WireError(f"{what}: more than {MOST_REPEATS}")
        return values
    if kind is bytes:
        return [part]
    if kind is str:
        try:
            return [str(part, "utf-8")]
        except UnicodeDecodeError:
            raise WireError(f"{what}: no text") from None
    return [read_message(part, kind, what)]


def piece(data: memoryview, place: int, length: int, what: str) -> memoryview:
    """Returns so many bytes from an offset on."""
    if length > len(data) - place:
        raise WireError(f"{what}: cut off")
    return data[place : place + length]


def read_varint(data: memoryview, place: int, what: str) -> tuple[int, int]:
    """Reads a varint, which must be in its shortest encoding, and the offset after it."""
    value = 0
    for k, byte in enumerate(data[place : place + LONGEST_VARINT]):
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            if (k and not byte) or value >= 2**64:
                raise WireError(f"{what}: an integer of a wrong length")
            return value, place + k + 1
    raise WireError(f"{what}: cut off")


def signed(value: int) -> int:
    """Converts an unsigned integer of 64 bits to two's complement."""
    return value - 2**64 if value >= 2**63 else value
