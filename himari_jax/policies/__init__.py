"""Policies: normalizer -> core -> actor and critic heads. One file per core; its name is its command-line name."""

import importlib
import pkgutil

from himari_jax.errors import InputError


def available() -> list[str]:
    """Names of the policy cores, by file, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in ("core", "policy"))


def make_core(name: str, **sizes: int):
    """The core of that name with the sizes that it takes out of `sizes`.

    Raises:
        InputError: no such policy.
    """
    if name not in available():
        raise InputError(f"--policy {name}: allowed are {', '.join(available())}")
    return importlib.import_module(f"{__name__}.{name}").make(**sizes)
