"""Defaults that depend on other flags: the presets, and what a policy core states of itself.

A default is the core's own, else the preset's, else the common one. A core states its own at the top of its module, as
literals: `DEFAULTS`, and `SEVERAL_ASSETS` where there is more than one asset.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from himari_jax.errors import InputError
from himari_jax.plugins import POLICIES

DEPENDENT = ("num_envs", "lookahead", "hidden_dim", "initial_log_std")  # the flags whose defaults are found here


class Preset(NamedTuple):
    """A set of defaults."""

    defaults: Mapping[str, float]  # of DEPENDENT, by name
    summary: str  # for the help of --preset


PRESETS = {
    "common": Preset({"num_envs": 512, "lookahead": 2, "hidden_dim": 128}, "For every market."),
    "fees": Preset(
        {"initial_log_std": -5.0},
        "For markets in which what is to be learned is when not to trade, and noise pays more fees than the position "
        "earns (--initial-log-std -5); on real candles it did harm.",
    ),
    "quick": Preset(
        {"num_envs": 128},
        "Sooner at a good policy, and ends at a less exact one (--num-envs 128; lstm keeps its own).",
    ),
}


def default(name: str, core: str, preset: str, num_assets: int = 1) -> Any:
    """The default of a flag, None where neither core nor presets have one.

    Args:
        name: one of DEPENDENT.
        core: --policy.
        preset: --preset.
        num_assets: N.

    Raises:
        InputError: the core states a default that it may not.
    """
    tables = (core_defaults(core, num_assets), PRESETS[preset].defaults, PRESETS["common"].defaults)
    return next((table[name] for table in tables if name in table), None)


def core_defaults(core: str, num_assets: int) -> dict[str, Any]:
    """What a core states of itself, read without importing it.

    Raises:
        InputError: it states something else than literals of DEPENDENT.
    """
    found: dict[str, Any] = {}
    for variable in ("DEFAULTS", "SEVERAL_ASSETS")[: 2 if num_assets > 1 else 1]:
        found |= POLICIES.constant(core, variable) or {}
    if unknown := set(found) - set(DEPENDENT):
        raise InputError(f"--policy {core}: states a default of {min(unknown)}; allowed are {', '.join(DEPENDENT)}")
    return found


def describe_default(name: str) -> str:
    """The defaults of a flag in words, for its help."""
    common = PRESETS["common"].defaults.get(name)
    words = [] if common is None else [f"{common}"]
    for core in POLICIES.names:
        one, several = (core_defaults(core, assets).get(name) for assets in (1, 2))
        if one is not None:
            words.append(f"{one} for {core}")
        if several != one:
            words.append(f"{several} for {core} with several assets")
    if any(name in preset.defaults for key, preset in PRESETS.items() if key != "common"):
        words.append("see --preset")
    return "; ".join(words)
