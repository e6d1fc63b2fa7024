"""Defaults that depend on other flags: those of presets and of policy cores.

A default is the core's own, else the preset's, else that of the kind of market, else the common one. A core states its
own at the top of its module, as literals: `DEFAULTS`, `CANDLES` of PPO on candles, and `SEVERAL_ASSETS` where there is
more than one asset.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from himari_jax.errors import InputError
from himari_jax.plugins import POLICIES

# Flags whose defaults depend on other flags.
DEPENDENT = ("num_envs", "lookahead", "hidden_dim", "initial_log_std", "learning_rate")
# On candles, where nearly all of a return is noise, exploration must be wide (with a narrow one the clipped ratio
# allows steps of a few hundredths), and learning slow, or it learns the noise.
CANDLES = {"initial_log_std": 0.5, "learning_rate": 1e-3}  # of PPO
CANDLES_SEVERAL = {"initial_log_std": 1.0, "learning_rate": 5e-4}  # of PPO with several assets
KNOWN = {"learning_rate": 2e-3}  # of markets with a known optimum, and pathwise


class Preset(NamedTuple):
    """A set of defaults."""

    defaults: Mapping[str, float]  # of DEPENDENT, by name
    summary: str  # for the help of --preset
    settings: Mapping[str, Mapping[str, Any]] = {}  # of other flags, by group and field as config.json has them


TREND: dict[str, dict[str, Any]] = {
    "policy": {"hidden_dim": 32},
    "data": {"pool": True},
    "market": {
        "features": ["base", "trend"],
        "decide_every": "1d",
        "min_trade": 0.05,
        "reward": ["log_return", "volatility=auto"],
    },
    "ppo": {
        "algorithm": "pathwise",
        "episode_steps": 100,
        "num_envs": 256,
        "total_steps": 400_000,
        "weight_decay": 0.1,
    },
}

PRESETS = {
    "common": Preset({"num_envs": 512, "lookahead": 2, "hidden_dim": 128}, "For every market."),
    "fees": Preset(
        {"initial_log_std": -5.0, "learning_rate": 2e-3},
        "For markets in which what is to be learned is when not to trade, and noise pays more fees than the position "
        "earns (--initial-log-std -5); on real candles it did harm.",
    ),
    "quick": Preset(
        {"num_envs": 128},
        "Sooner at a good policy, and ends at a less exact one (--num-envs 128; lstm keeps its own).",
    ),
    "trend": Preset(
        {},
        "One policy for many coins over weeks and months: --pool, --features base trend, --decide-every 1d, "
        "--min-trade 0.05, --reward log_return volatility=auto, --algorithm pathwise, --weight-decay 0.1, "
        "--hidden-dim 32, --episode-steps 100, --num-envs 256, --total-steps 400000.",
        TREND,
    ),
}


def default(
    name: str,
    core: str,
    preset: str,
    num_assets: int = 1,
    candles: bool = True,
    costly: bool = False,
    algorithm: str = "ppo",
) -> Any:
    """Returns the default of a flag; None where neither core nor presets have one.

    Args:
        name: one of DEPENDENT.
        core: --policy.
        preset: --preset.
        num_assets: N.
        candles: whether prices come from candles, and not from a market with a known optimum.
        costly: whether trading costs something.
        algorithm: --algorithm.

    Raises:
        InputError: the core states a default that it may not.
    """
    tables: tuple[Mapping[str, Any], ...] = (
        core_defaults(core, num_assets),
        PRESETS[preset].defaults,
        candle_defaults(core, num_assets) if candles and algorithm == "ppo" else known_defaults(costly),
        PRESETS["common"].defaults,
    )
    return next((table[name] for table in tables if name in table), None)


def candle_defaults(core: str, num_assets: int) -> dict[str, Any]:
    """Returns the defaults of PPO on candles."""
    return CANDLES | stated(core, "CANDLES") | (CANDLES_SEVERAL if num_assets > 1 else {})


def known_defaults(costly: bool) -> dict[str, Any]:
    """Returns the defaults of markets with a known optimum, and of pathwise: noise pays fees and bends its gradient."""
    return KNOWN | {"initial_log_std": -2.0 if costly else 0.0}


def core_defaults(core: str, num_assets: int) -> dict[str, Any]:
    """Reads the defaults that a core states in its own file, without importing it.

    Raises:
        InputError: it states something else than literals of DEPENDENT.
    """
    found: dict[str, Any] = {}
    for variable in ("DEFAULTS", "SEVERAL_ASSETS")[: 2 if num_assets > 1 else 1]:
        found |= stated(core, variable)
    return found


def stated(core: str, variable: str) -> dict[str, Any]:
    """Reads the defaults in one constant of a core's file.

    Raises:
        InputError: it states something else than literals of DEPENDENT.
    """
    found: dict[str, Any] = POLICIES.constant(core, variable) or {}
    if unknown := set(found) - set(DEPENDENT):
        raise InputError(f"--policy {core}: states a default of {min(unknown)}; must be one of {', '.join(DEPENDENT)}")
    return found


def describe_default(name: str) -> str:
    """Describes the defaults of a flag in words, for its help."""
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
