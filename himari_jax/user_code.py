"""Guards around a user's own functions, of features or of weights: silence and read-only inputs."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the warnings of a user's code."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def sealed(given: Any) -> Any:
    """Replaces the arrays of a dataclass or a named tuple by read-only copies."""
    is_tuple = isinstance(given, tuple)
    names = given._fields if is_tuple else [field.name for field in fields(given)]
    copies: dict[str, Any] = {name: np.array(x) for name in names if isinstance(x := getattr(given, name), np.ndarray)}
    for copy in copies.values():
        copy.setflags(write=False)
    return given._replace(**copies) if is_tuple else replace(given, **copies)
