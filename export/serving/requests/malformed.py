"""Refusals of a body that is no JSON: a NaN and its place, a byte order mark, a file's name, or anything else."""

import json
import re
from collections.abc import Iterator
from typing import Any

from export.serving.requests.errors import ApiError, invalid

FILE_NAME = re.compile(rb"@?[\w./~-]{1,200}\.json\s*")
MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class Constant(str):
    """NaN, Infinity or -Infinity, which Python's json writes and JSON does not have."""

    __slots__ = ()


def no_json(body: bytes, error: Exception) -> ApiError:
    """Makes the error for a body that is no JSON, with the field where that is known.

    Args:
        body: the JSON part of the request.
        error: of the decoder.
    """
    for mark, coding in MARKS.items():
        if body.startswith(mark):
            what = f"begins with a byte order mark (BOM) of {coding}; allowed: UTF-8 without one"
            return invalid("body", what, "malformed")
    if FILE_NAME.fullmatch(body):
        what = "no JSON but the name of a file; curl sends what is in it with an @ before the name: -d @request.json"
        return invalid("body", what, "malformed")
    try:
        found = next(constants(json.loads(body, parse_constant=Constant)), None)
    except (ValueError, RecursionError):
        found = None
    if found is not None:
        return invalid(found[0] or "body", f"{found[1]} is no JSON number", "malformed")
    return invalid("body", f"no JSON: {error}", "malformed")


def constants(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields path and name of each NaN and infinity, in the order of the text."""
    if isinstance(value, Constant):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from constants(inner, f"{path}.{key[:64]}".lstrip("."))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if isinstance(inner, (Constant, dict, list)):
                yield from constants(inner, f"{path}[{i}]")
