"""Message types of Google's APIs, out of the client library's own discovery documents."""

import json
from functools import cache
from pathlib import Path

KINDS = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}


@cache
def messages(api):
    """The message types of a Google API, out of the client library's own discovery document."""
    import googleapiclient.discovery_cache as found

    return json.loads((Path(found.__file__).parent / "documents" / f"{api}.json").read_text())["schemas"]


def check(value, kind, types, where="$"):
    """Raises where a value is not of a message type: a field unknown or not ours to set, a value of another kind."""
    if "$ref" in kind:
        return check(value, types[kind["$ref"]], types, where)
    if kind.get("readOnly"):
        raise ValueError(f"{where}: only the service writes it")
    if kind["type"] == "array":
        if not isinstance(value, list):
            raise ValueError(f"{where}: no list")
        for i, item in enumerate(value):
            check(item, kind["items"], types, f"{where}[{i}]")
    elif kind["type"] == "object":
        if not isinstance(value, dict):
            raise ValueError(f"{where}: no message")
        for name, item in value.items():
            inner = kind.get("properties", {}).get(name) or kind.get("additionalProperties")
            if inner is None:
                raise ValueError(f"{where}.{name}: no such field")
            check(item, inner, types, f"{where}.{name}")
    elif not isinstance(value, KINDS[kind["type"]]) or (kind["type"] != "boolean" and isinstance(value, bool)):
        raise ValueError(f"{where}: {value!r} is no {kind['type']}")
    elif "enum" in kind and value not in kind["enum"]:
        raise ValueError(f"{where}: {value!r} is none of {kind['enum']}")
    return None
