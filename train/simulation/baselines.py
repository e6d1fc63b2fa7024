"""The baselines of a span and of its windows, by name."""

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import numpy as np

from himari_jax import plugins
from himari_jax.positions.baselines import Orders, Setting, Window


def all_rules(setting: Setting) -> dict[str, np.ndarray]:
    """Computes the target weights of every baseline that is a rule, at every row, (T, N) each."""
    return {name: rule(setting) for name, rule in baselines_of(Setting).items()}


def every_bar(target: np.ndarray) -> Orders:
    """Makes an order at every row of target weights (S, N)."""
    return Orders(target, np.ones(target.shape, bool))


def all_orders(
    rules: Mapping[str, np.ndarray], window: Window, names: Sequence[str] | None = None
) -> dict[str, Orders]:
    """Makes the orders of baselines in a window.

    Args:
        rules: see `all_rules`.
        window: the inputs of the others.
        names: of the baselines; None: all, in the order of the table.
    """
    others = baselines_of(Window)
    return {
        name: every_bar(rules[name][window.seen]) if name in rules else others[name](window)
        for name in (plugins.BASELINES.names if names is None else names)
    }


def baselines_of(kind: type) -> dict[str, Any]:
    """Finds the baselines whose argument is of a kind, `Setting` or `Window`, by name.

    Raises:
        TypeError: a baseline annotates neither.
    """
    functions = {name: plugins.BASELINES.load(name) for name in plugins.BASELINES.names}
    found = {name: set(get_type_hints(function).values()) for name, function in functions.items()}
    for name, hints in found.items():
        if not hints & {Setting, Window}:
            raise TypeError(f"himari_jax.positions.baselines.{name}: annotate its argument as Setting or Window")
    return {name: function for name, function in functions.items() if kind in found[name]}


def of_agent() -> tuple[str, ...]:
    """Names the baselines that depend on an agent's own weights: those of a `Window`, but for buy and hold."""
    return tuple(name for name in baselines_of(Window) if name != "buy_and_hold")


def entry_name(name: str) -> str:
    """Returns a name that no baseline has: `run NAME` where one has it."""
    return f"run {name}" if name in plugins.BASELINES.names else name
