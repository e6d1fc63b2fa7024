"""Guards around a user's own functions, of features or of weights: silence and read-only inputs."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from himari_jax.errors import first_line


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the warnings of a user's code."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def sealed(given: Any) -> Any:
    """Replaces the arrays of a dataclass or a named tuple by read-only copies."""
    is_tuple, names = isinstance(given, tuple), names_of(given)
    copies: dict[str, Any] = {name: np.array(x) for name in names if isinstance(x := getattr(given, name), np.ndarray)}
    for copy in copies.values():
        copy.setflags(write=False)
    return given._replace(**copies) if is_tuple else replace(given, **copies)


def names_of(given: Any) -> list[str]:
    """Names of the fields of a dataclass or a named tuple; none of anything else."""
    if is_dataclass(given):
        return [field.name for field in fields(given)]
    return list(getattr(given, "_fields", ()))


def failure(error: BaseException) -> str:
    """Words the failure of a user's function in a line; of a field that its input does not have, those that it has."""
    owner = getattr(error, "obj", None) if isinstance(error, AttributeError) else None
    if owner is not None and (names := names_of(owner)):
        return f"{type(owner).__name__.lower()} has no {error.name}; it has {', '.join(names)}"  # type: ignore[attr-defined]
    return f"{type(error).__name__}: {first_line(error)}"
