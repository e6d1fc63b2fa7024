"""A user's own features: FILE.py with `features(candles) -> (values, names)`, run anew for every call on sealed copies.

`candles` are those of one stretch without a longer gap, values are (T, N, k), names k texts. `LOOKBACK = "90d"` at the
top of the file says how far back they look; 400 hours else.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import HimariError, InputError
from himari_jax.features.market import BASE, Features, FeatureSet, named_set, rows_of, segments
from himari_jax.features.windows import BASE_HOURS, bars_of
from himari_jax.times import BAR_UNITS
from himari_jax.user_code import failure, quiet, sealed

SUFFIX = ".py"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
MOST_NAMES = 256


def load_features(wanted: Sequence[str], candles: Candles) -> Features:
    """The feature sets that `--features` names, whose files are run once to learn the names of their features.

    Args:
        wanted: names of sets, and paths of files.
        candles: that they are for.

    Raises:
        InputError: no such set or file, or a file that is no set of features; one line.
    """
    return Features(tuple(read_set(Path(x), candles) if x.endswith(SUFFIX) else named_set(x) for x in wanted))


def read_set(path: Path, candles: Candles) -> FeatureSet:
    """The feature set of a file, whose names are those that it gives for the first stretch of the candles."""
    try:
        code = path.read_bytes()
    except OSError as error:
        raise InputError(f"--features {path}: {error.strerror}") from error
    start, stop = segments(candles)[0]
    return own_set(path.name, code, call(path.name, code, rows_of(candles, start, stop))[1])


def restore_features(sets: Mapping[str, Sequence[str]], codes: Mapping[str, bytes], where: str) -> Features:
    """Restores the feature sets of a run or a bundle.

    Args:
        sets: names of the features by set, in their order.
        codes: files of the user by name.
        where: begins the line of an error.

    Raises:
        InputError: this version has no such set, or one of other features.
    """
    found = []
    for name, names in sets.items():
        try:
            one = own_set(name, codes[name], tuple(names)) if name in codes else named_set(name)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if one.names != tuple(names):
            raise InputError(f"{where}: the features of {name} were {', '.join(names)}; here {', '.join(one.names)}")
        found.append(one)
    return Features(tuple(found)) if found else BASE


def own_set(name: str, code: bytes, names: tuple[str, ...]) -> FeatureSet:
    """The feature set of a file's code, with the names that it must give."""
    declared = declared_lookback(name, code)

    def lookback(bar_ms: int) -> int:
        return bars_of(BASE_HOURS, bar_ms) if declared is None else ceil(declared / bar_ms) + 1

    def function(candles: Candles) -> np.ndarray:
        values, given = call(name, code, candles)
        if given != names:
            raise InputError(f"{name}: features() named {', '.join(names)}, then {', '.join(given)}; name them alike")
        return values

    return FeatureSet(name, names, lookback, function, code, hashlib.sha256(code).hexdigest())


def declared_lookback(name: str, code: bytes) -> int | None:
    """Milliseconds that `LOOKBACK` says, None where there is none; read off the source text.

    Raises:
        InputError: it is no text such as 36h or 90d, or the file is no Python.
    """
    try:
        tree = ast.parse(code, name)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: cannot be run: {failure(error)}") from error
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not any(isinstance(target, ast.Name) and target.id == "LOOKBACK" for target in targets):
            continue
        value = getattr(node, "value", None)
        text = value.value if isinstance(value, ast.Constant) else None
        found = re.fullmatch(r"([1-9]\d{0,5})([mhd])", text) if isinstance(text, str) else None
        if found is None:
            raise InputError(f'{name}: LOOKBACK must be a text, a number and m, h or d, such as "36h" or "90d"')
        return int(found[1]) * BAR_UNITS[found[2]]
    return None


def call(name: str, code: bytes, candles: Candles) -> tuple[np.ndarray, tuple[str, ...]]:
    """Calls the function of a file on the candles of one stretch; returns values (T, N, k) float64 and their names.

    Raises:
        InputError: it fails, leaves, or gives something else.
    """
    with quiet():
        function = find_function(name, code)
        try:
            given = function(sealed(candles))
            values, names = given if isinstance(given, tuple) and len(given) == 2 else (None, None)
            if names is None:
                raise TypeError("it must return (values, names)")
            values = np.asarray(values)
            if values.dtype.kind not in "biuf":
                raise TypeError(f"values of the kind {values.dtype}; allowed: numbers")
            values = np.array(values, np.float64)
        except (HimariError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a file may leave by sys.exit, too
            raise InputError(f"{name}: features() failed: {failure(error)}") from error
    names = checked_names(name, names)
    wanted = (*candles.close.shape, len(names))
    if values.shape != wanted:
        raise InputError(
            f"{name}: features() gave values of the shape {values.shape} for {len(names)} names; allowed: {wanted}, "
            "bars, symbols, names"
        )
    return values, names


def checked_names(file: str, names: Any) -> tuple[str, ...]:
    """The names of a file's features.

    Raises:
        InputError: they are no names, or one stands there twice.
    """
    good = isinstance(names, list | tuple) and all(isinstance(x, str) and NAME.fullmatch(x) for x in names)
    if not good or not 1 <= len(names) <= MOST_NAMES:
        shown = " ".join(repr(names).split())[:80]
        raise InputError(
            f"{file}: features() gave the names {shown}; allowed: 1 to {MOST_NAMES} of letters, digits and _, such as "
            '("carry", "funding_8h")'
        )
    if twice := [x for x in names if names.count(x) > 1]:
        raise InputError(f"{file}: features() names {twice[0]} twice; allowed: each once")
    return tuple(names)


def find_function(name: str, code: bytes) -> Callable[[Candles], Any]:
    """The function `features` of a file's code, which is run for it.

    Raises:
        InputError: the code cannot be run or has no such function.
    """
    module = ModuleType(f"himari_features_{hashlib.sha256(code).hexdigest()[:16]}")
    module.__file__ = name
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    try:
        exec(compile(code, name, "exec"), module.__dict__)
    except (HimariError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a file may leave by sys.exit, too
        raise InputError(f"{name}: cannot be run: {failure(error)}") from error
    function = getattr(module, "features", None)
    if not callable(function):
        raise InputError(f"{name}: needs a function features(candles) that returns (values, names)")
    return function
