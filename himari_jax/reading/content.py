"""Content: the bytes of a file as a table, of the kind that their beginning shows."""

import re

from himari_jax.errors import InputError
from himari_jax.reading.entries import FEATHER, FEATHER_FILES, JSON_FILES, PARQUET, PARQUET_FILES, Content
from himari_jax.reading.frames import read_frame
from himari_jax.reading.json import read_json
from himari_jax.reading.tables import Table
from himari_jax.reading.text import UTF8_MARK, read_text

KINDS = ((PARQUET, "Parquet", PARQUET_FILES), (FEATHER, "Feather", FEATHER_FILES))


def read_table(content: Content, origin: str, least: int = 3) -> Table:
    """A file's content as a table.

    Args:
        content: unpacked.
        origin: what to call the file in messages.
        least: how many of time and prices make a line of a text the header.

    Raises:
        InputError: it is cut or damaged, holds no table, or is not what its name says.
    """
    data, name = content.data, content.name.lower()
    table: Table
    for mark, kind, endings in KINDS:
        if data.startswith(mark):
            table = read_frame(data, origin)
            break
        if name.endswith(endings):
            raise InputError(f"{origin}: not a whole {kind} file as its name says; allowed: {kind}, or name it .csv")
    else:
        json = name.endswith(JSON_FILES) or re.match(rb"\s*[\[{]", data.removeprefix(UTF8_MARK)[:200])
        table = read_json(data, origin) if json else read_text(data, origin, least)
    table.notes[:0] = content.notes
    return table
