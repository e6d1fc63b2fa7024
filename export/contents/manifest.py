"""Parses the manifest of a bundle and checks the type of every value that the server uses."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from export.runtime import FILLS, SCHEMA, decision_bars
from himari_jax.candles import KINDS
from himari_jax.drift import DriftTable
from himari_jax.errors import InputError
from himari_jax.features.own_features import SUFFIX
from himari_jax.plugins import FEATURE_FILE
from himari_jax.positions.sizing import SizingRules

NEEDED = (
    *("name", "version", "symbols", "bar_ms", "calendar", "min_candles", "features", "features_hash"),
    *("carry_shapes", "sizing", "files"),
)
MOST_NAME = 256  # characters of a name, which requests, answers and metrics carry
MOST_INTEGER = 2**63 - 1
MOST_DEPTH = 32  # levels of JSON


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """Parses and checks manifest.json.

    Args:
        data: the file.
        where: begins the line of an error.

    Raises:
        InputError: it is no JSON, of another schema, lacks a key, or has a value that is not of its kind.
    """
    try:
        manifest = dict(json.loads(data, parse_int=bounded))
        if manifest.get("schema") != SCHEMA:
            raise InputError(f"{where}: schema {manifest.get('schema')}; this server reads {SCHEMA}")
        if missing := [key for key in NEEDED if key not in manifest]:
            raise InputError(f"{where}: {missing[0]} is missing; export the bundle again")
        check_kinds(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{where}: damaged ({error}); export the bundle again") from error
    return manifest


def bounded(text: str) -> int:
    """Parses an integer of the manifest.

    Raises:
        ValueError: it needs more than 64 bits, which no answer can carry.
    """
    if len(text) > 20 or abs(int(text)) > MOST_INTEGER:
        raise ValueError(f"the integer {text[:24]} is beyond 64 bits")
    return int(text)


def code_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Lists the user's feature files in a bundle."""
    return tuple(name for name in manifest["features"].get("sets", {}) if name.endswith(SUFFIX))


def check_kinds(manifest: Mapping[str, Any]) -> None:
    """Raises where a value of the manifest is of the wrong type or out of range."""
    json.dumps(manifest, ensure_ascii=False).encode()  # a lone surrogate could not be encoded in an answer
    if depth(manifest) > MOST_DEPTH:
        raise ValueError(f"more than {MOST_DEPTH} levels")
    for key in ("name", "version", "calendar", "features_hash"):
        check_name(manifest[key], key)
    for key in ("bar_ms", "min_candles"):
        if type(manifest[key]) is not int or manifest[key] < 1:
            raise ValueError(f"{key} is no number above 0")
    symbols, shapes = manifest["symbols"], manifest["carry_shapes"]
    if not isinstance(symbols, list) or not symbols:
        raise TypeError("symbols is no list of names")
    for symbol in symbols:
        check_name(symbol, "symbols")
    if len(set(symbols)) < len(symbols):
        raise ValueError("symbols has a name twice")
    if not isinstance(shapes, list) or not all(isinstance(x, list) and all(type(n) is int for n in x) for x in shapes):
        raise TypeError("carry_shapes is no list of shapes")
    if any(n < 1 for shape in shapes for n in shape):
        raise ValueError("carry_shapes has a length below 1")
    check_sets(manifest["features"])
    if not isinstance(manifest.get("pool", False), bool):
        raise TypeError("pool is neither true nor false")
    if manifest.get("source_kind") not in (None, *KINDS):
        raise ValueError(f"source_kind is none of {', '.join(KINDS)}")
    if manifest.get("fill", FILLS[0]) not in FILLS:
        raise ValueError(f"fill is none of {', '.join(FILLS)}")
    if decision_bars(manifest) >= manifest["min_candles"] and shapes:
        raise ValueError("min_candles does not reach back to the decision before")
    if not isinstance(manifest["files"], dict):
        raise TypeError("files is no table")
    check_sizing(manifest["sizing"])
    if manifest.get("drift") is not None:
        DriftTable.from_json(manifest["drift"])
    check_test_span(manifest.get("test_span") or {})


def depth(value: Any) -> int:
    """Counts the levels of a JSON value; a number or a text has none."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def check_name(value: Any, key: str) -> None:
    """Raises where a value is not a name."""
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    if not 1 <= len(value) <= MOST_NAME:
        raise ValueError(f"{key} has {len(value)} characters; must have 1 to {MOST_NAME}")


def check_sizing(sizing: Any) -> None:
    """Raises where the sizing rules are missing or no numbers."""
    if not isinstance(sizing, dict) or not isinstance(sizing["base_sizing"], str):
        raise TypeError("sizing is no table with a base_sizing")
    rules = sizing["rules"]
    if not isinstance(rules, dict) or not all(type(x) in (int, float) and x > 0 for x in rules.values()):
        raise ValueError("sizing.rules are not all numbers above 0")
    made = SizingRules(**rules)
    if not isfinite(made.max_position_pct) or not isfinite(made.max_gross):
        raise ValueError("sizing.rules has a cap that is not finite")


def check_test_span(found: Any) -> None:
    """Raises where a figure of the test span is not a number."""
    if not isinstance(found, dict):
        raise TypeError("test_span is no table")
    for name, x in found.items():
        if x is not None and (type(x) not in (int, float) or not isfinite(x)):
            raise ValueError(f"test_span.{name} is no number")


def check_sets(features: Any) -> None:
    """Raises where the feature sets are not lists of names."""
    sets = features.get("sets", {}) if isinstance(features, dict) else None
    if not isinstance(sets, dict):
        raise TypeError("features is no table of sets")
    for name, names in sets.items():
        if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
            raise TypeError(f"features.sets.{name} is no list of names")
        if name.endswith(SUFFIX) and FEATURE_FILE.fullmatch(name) is None:
            raise ValueError(f"features.sets has a file {name!r}")
