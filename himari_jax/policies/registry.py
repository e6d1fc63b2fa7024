"""From the name of a policy core to the core."""

import inspect

from himari_jax.plugins import POLICIES
from himari_jax.policies.core import Core


def make_core(name: str, **sizes: int) -> tuple[Core, tuple[int, ...]]:
    """The core of that name, and the hidden widths of the heads.

    Args:
        name: on the command line.
        sizes: of layers; the module's `make` gets those that it names.

    Raises:
        InputError: no such policy.
    """
    make = POLICIES.load(name).make
    wanted = inspect.signature(make).parameters
    return make(**{key: value for key, value in sizes.items() if key in wanted})
