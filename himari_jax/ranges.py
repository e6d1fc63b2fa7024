"""Valid ranges of costs, caps and base sizing parameters: one table for the command line and for `envs.make`."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

from himari_jax.command import require


class Range(NamedTuple):
    """The values that a setting may have."""

    holds: Callable[[float], bool]
    allowed: str  # the same in words


SHARE = Range(lambda x: 0 <= x < 1, "a share from 0 up to, not including, 1 (0.01 is 1 %)")
POSITIVE = Range(lambda x: x > 0 and math.isfinite(x), "a number above 0")

RANGES = {
    "commission_rate": SHARE,
    "min_trade": SHARE,
    "ruin": SHARE,
    "slippage_bps": Range(lambda x: 0 <= x < 5_000, "0 up to 5000 basis points"),
    "max_position_pct": Range(lambda x: 0 < x <= 1, "a share above 0, up to 1 (0.5 is 50 %)"),
    "max_gross": Range(lambda x: 0 < x <= 1, "a share above 0, up to 1 (1 is 100 %, no leverage)"),
    "delay": Range(lambda x: 0 <= x <= 100, "0 to 100 bars"),
    "kelly_fraction": Range(lambda x: 0 < x <= 10, "above 0, up to 10"),
    "kelly_prior_bars": Range(lambda x: x > 2 and math.isfinite(x), "a number above 2"),
    "kelly_half_life_days": Range(lambda x: x > 0, "a number above 0"),
    "kelly_prior_volatility": POSITIVE,
    "initial_capital": POSITIVE,
}


def check_ranges(values: Mapping[str, Any], spell: Callable[[str], str] = str) -> None:
    """Checks each setting that has a range; others pass.

    Args:
        values: settings by name.
        spell: how the message names a setting, such as by its flag.

    Raises:
        InputError: one line that names the setting, its value and what is allowed.
    """
    for name, (holds, allowed) in RANGES.items():
        if name in values:
            value = values[name]
            require(isinstance(value, Real) and holds(float(value)), spell(name), value, allowed)
