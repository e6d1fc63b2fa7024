"""From the name of a market with a known optimum to the market."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from envs.oracles.oracle import Oracle
from envs.plugins import MARKETS
from himari_jax.errors import InputError


def make_oracle(name: str, options: Mapping[str, Any]) -> Oracle:
    """The market of that name.

    Args:
        name: on the command line.
        options: its parameters; those that are None keep the market's default.

    Raises:
        InputError: no such market, or a parameter that it does not have or take.
    """
    kind = MARKETS.load(name).MARKET
    given = {key: value for key, value in options.items() if value is not None}
    known: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(kind)}
    for key, value in given.items():
        flag = f"--oracle.{key.replace('_', '-')}"
        if key not in known:
            names = ", ".join(x.replace("_", "-") for x in known) or "none"
            raise InputError(f"{flag}: {name} has no such parameter; it has {names}")
        wanted = len(known[key]) if isinstance(known[key], tuple) else 1
        found = len(value) if isinstance(value, tuple) else 1
        if found != wanted:
            raise InputError(f"{flag}: {name} takes {wanted} numbers there, not {found}")
        if isinstance(value, tuple) and not isinstance(known[key], tuple):
            given[key] = value[0]
    return kind(**given)
