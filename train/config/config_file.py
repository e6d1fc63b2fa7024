"""A file of settings as defaults of the flags: the config.json of a run, or one written by hand."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from himari_jax.errors import InputError
from himari_jax.spelling import meant
from train.config.run import RunConfig
from train.config.serialize import config_fields, group_kinds, path_flag

GROUPS = group_kinds()
HINTS = {group: get_type_hints(kind) for group, kind in GROUPS.items()}
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}


def read_config_file(path: Path) -> dict[str, Any]:
    """Reads the fields of `Config` that a file has; the others keep their defaults.

    Of a run's config.json the flags of its start are left out: folder, processes, --fresh, --debug.

    Raises:
        InputError: names the file, the key, its value and what it must be.
    """
    values = read_object(path)
    of_a_run = "flags" in values
    values = values["flags"] if of_a_run else values
    if not isinstance(values, dict):
        raise InputError(f"{path}: flags must be an object of the groups {', '.join(GROUPS)}")
    for group in values:
        if group not in GROUPS:
            raise InputError(f"{path}: {unknown_group(path, group)}")
    groups = {group: read_group(path, group, found) for group, found in values.items()}
    run = groups.get("run", RunConfig())
    if of_a_run:
        return config_fields(groups | {"run": new_start(run)})
    for name in ("resume", "debug"):
        if getattr(run, name):
            raise InputError(f"{path}: run.{name} true: must be given on the command line, as --{name}")
    return config_fields(groups)


def unknown_group(path: Path, group: str) -> str:
    """Words a key that is no group: one that was meant, or a file without flags and where a run has them."""
    if meant(group, [*GROUPS, *(name for hints in HINTS.values() for name in hints)]):
        return f"{group} is not known; did you mean {nearest(group, {x: x for x in GROUPS})}?"
    beside = path.with_name("config.json")
    where = str(beside) if beside != path and beside.is_file() else "config.json of a run"
    return f"no file of flags: {group} is none of {', '.join(GROUPS)}; the flags of a run are in {where}"


def new_start(run: RunConfig) -> RunConfig:
    """Returns the flags of a run without those of its start: folder, processes, --resume, --fresh, --debug."""
    own = ("run_dir", "bucket_name", "model_dir", "devices", "coordinator", "num_processes", "process_id")
    unset: dict[str, Any] = dict.fromkeys(own)
    return dataclasses.replace(run, **unset, resume=False, fresh=False, debug=False)


def read_object(path: Path) -> dict[str, Any]:
    """Reads the JSON object in a file; no key may stand twice.

    Raises:
        InputError: no such file, or its content is something else.
    """
    if path.is_dir():
        raise InputError(f"--config {path}: is a folder; name a file, such as {path / 'config.json'}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}, column {error.colno}: no JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON of settings ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: must be a JSON object of the groups {', '.join(GROUPS)}")
    return values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object of its pairs; ValueError where a key stands twice."""
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]} stands there twice")
    return dict(pairs)


def read_group(path: Path, group: str, values: Any) -> Any:
    """Makes one group of flags of its JSON values.

    Raises:
        InputError: names the file, the key, its value and what it must be.
    """
    hints = HINTS[group]
    if not isinstance(values, dict):
        raise InputError(f"{path}: {group} {json.dumps(values)[:80]}: must be an object of settings by name")
    given = {}
    for key, value in values.items():
        if key not in hints:
            meant = nearest(key, {name: f"{group}.{name}" for name in hints})
            raise InputError(f"{path}: {group}.{key} is not known; did you mean {meant}?")
        try:
            given[key] = as_type(value, hints[key])
        except (TypeError, OverflowError):
            shown = json.dumps(value)[:80]
            raise InputError(f"{path}: {group}.{key} {shown}: must be {in_words(hints[key])}") from None
    try:
        return GROUPS[group](**given)
    except InputError as error:
        raise InputError(f"{path}: {with_keys(str(error), group)}") from error


def with_keys(message: str, group: str) -> str:
    """Replaces the flags that a message names by the keys of a group."""
    keys = {path_flag(f"{group}.{name}"): f"{group}.{name}" for name in HINTS[group]}
    return re.sub(r"--[a-z][a-z.-]*[a-z]", lambda found: keys.get(found[0], found[0]), message)


def nearest(key: str, own: Mapping[str, str]) -> str:
    """Returns the known name nearest to a key: in the group, then in any group, then the least distant of the group."""
    anywhere = {name: f"{group}.{name}" for group, hints in HINTS.items() for name in hints}
    if key in anywhere:
        return anywhere[key]
    near = get_close_matches(key, own, 1) or get_close_matches(key, anywhere, 1) or get_close_matches(key, own, 1, 0.0)
    return own.get(near[0]) or anywhere[near[0]]


def as_type(value: Any, hint: Any) -> Any:
    """Converts a JSON value to the type of its field; TypeError where it does not fit."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        for part in parts:
            with contextlib.suppress(TypeError):
                return as_type(value, part)
    elif kind is Literal and any(type(value) is type(part) and value == part for part in parts):
        return value
    elif kind is tuple and isinstance(value, list):
        wanted = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(wanted) == len(value):
            return tuple(as_type(x, part) for x, part in zip(value, wanted, strict=True))
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is int and type(value) is float and value.is_integer():  # 2e6
        return int(value)
    elif type(value) is hint:
        return value
    raise TypeError(value)


def in_words(hint: Any) -> str:
    """Describes the values of a type in words."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(in_words(part) for part in parts)
    if kind is Literal:
        return " or ".join(json.dumps(part) for part in parts)
    if kind is tuple:
        count = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        one = in_words(parts[0])
        if get_origin(parts[0]) in (Union, UnionType):
            return f"a list of {count}values, each {one}"
        return f"a list of {count}{one.removeprefix('a ') + 's' if one.startswith('a ') else one}"
    return WORDS[hint]
