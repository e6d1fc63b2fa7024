"""The baselines of a span and of its windows, by name."""

from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np

from himari_jax import plugins
from himari_jax.baselines import Orders, Setting, Window


def all_rules(setting: Setting) -> dict[str, np.ndarray]:
    """Target weights of every baseline that is a rule, at every row, (T, N) each."""
    return {name: rule(setting) for name, rule in baselines_of(Setting).items()}


def every_bar(target: np.ndarray) -> Orders:
    """An order at every row."""
    return Orders(target, np.ones(target.shape, bool))


def all_orders(rules: Mapping[str, np.ndarray], window: Window) -> dict[str, Orders]:
    """What every baseline wants in a window, in the order of the table; what the rules add stands after them."""
    orders = {name: every_bar(weights[window.seen]) for name, weights in rules.items()}
    orders |= {name: strategy(window) for name, strategy in baselines_of(Window).items()}
    names = plugins.BASELINES.names
    return {name: orders[name] for name in (*names, *(name for name in rules if name not in names))}


def baselines_of(kind: type) -> dict[str, Any]:
    """The baselines whose argument is a `Setting`, or a `Window`, by name.

    Raises:
        TypeError: one of them does not say which.
    """
    functions = {name: plugins.BASELINES.load(name) for name in plugins.BASELINES.names}
    found = {name: set(get_type_hints(function).values()) for name, function in functions.items()}
    for name, hints in found.items():
        if not hints & {Setting, Window}:
            raise TypeError(f"himari_jax.baselines.{name}: annotate its argument as Setting or Window")
    return {name: function for name, function in functions.items() if kind in found[name]}


def entrant_name(name: str) -> str:
    """A name that no baseline has."""
    return f"run {name}" if name in plugins.BASELINES.names else name
