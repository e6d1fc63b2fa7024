"""gymnax's base class and spaces, without the plotting libraries that its own games import at once."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

PLOTTING = ("matplotlib.pyplot", "seaborn")  # to import them takes longer than to import jax


class LazyModule(ModuleType):
    """A stand-in for a module, which is imported when an attribute of it is first used."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def lazy_imports(names: tuple[str, ...]) -> Iterator[None]:
    """Inside the block these modules are imported lazily, at their first use; those imported already stay."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update((name, LazyModule(name)) for name in missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


with lazy_imports(PLOTTING):
    from gymnax.environments import environment, spaces

__all__ = ["environment", "spaces"]
