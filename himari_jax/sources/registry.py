"""From the name of a source to its candles and its options."""

from functools import cache

from himari_jax.candles import RawCandles
from himari_jax.plugins import SOURCES
from himari_jax.sources.request import SourceRequest


def load_candles(name: str, request: SourceRequest) -> list[RawCandles]:
    """The candles that the source `name` has for the request, one per symbol in its order.

    Raises:
        InputError: no such source, or the source cannot serve the request.
    """
    return SOURCES.load(name).load(request)


@cache
def option_kinds() -> dict[str, type]:
    """The frozen dataclass `Options` of each source that has one, by the name of the source.

    Flags are made of them, so these modules are imported first of all: what is heavy belongs inside their `load`.
    """
    return {name: SOURCES.load(name).Options for name in SOURCES.names if SOURCES.defines(name, "Options")}
