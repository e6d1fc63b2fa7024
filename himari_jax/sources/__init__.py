"""Sources of candles: each module here is one source and its name is its command-line name."""

import pkgutil
from dataclasses import dataclass
from importlib import import_module

from himari_jax.candles import RawCandles
from himari_jax.errors import InputError


@dataclass(frozen=True)
class SourceRequest:
    """What a source is asked for."""

    symbols: tuple[str, ...] = ()  # as the user spells them; none: the only one that the source has
    data: tuple[str, ...] = ()  # paths: one folder, or files
    bar_ms: int | None = None  # length of a bar; None: as the source has it
    assume_utc: bool = False  # reads times without a zone as UTC
    options: object | None = None  # options of this source alone


def available() -> list[str]:
    """The names of the sources, found without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str, request: SourceRequest) -> list[RawCandles]:
    """The candles that the source `name` has for the request, one per symbol in its order.

    Raises:
        InputError: no such source, or the source cannot serve the request.
    """
    if name not in available():
        raise InputError(f"--source {name}: unknown; available are {', '.join(available())}")
    return import_module(f"{__name__}.{name}").load(request)
