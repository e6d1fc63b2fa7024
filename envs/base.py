"""gymnax's base class and spaces, without the plotting libraries that its own games import at once."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

PLOTTING = ("matplotlib.pyplot", "seaborn")  # to import them takes longer than to import jax


class Later(ModuleType):
    """A module that is imported when somebody asks it for something."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def importing_later(names: tuple[str, ...]) -> Iterator[None]:
    """Whoever imports these modules meanwhile gets them when it first uses them; those that are there stay."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update((name, Later(name)) for name in missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


with importing_later(PLOTTING):
    from gymnax.environments import environment, spaces

__all__ = ["environment", "spaces"]
