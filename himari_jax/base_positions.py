"""From the name of a base sizing to the positions that the policy multiplies."""

import numpy as np

from himari_jax.candles import Candles
from himari_jax.plugins import BASE_SIZINGS
from himari_jax.sizing import SizingRules


def base_positions(name: str, candles: Candles, rules: SizingRules) -> np.ndarray:
    """Base position of each asset at each row, (T, N), share of equity, from rows <= t.

    Args:
        name: of a base sizing, on the command line.
        candles: checked candles.
        rules: caps and parameters.

    Raises:
        InputError: no such sizing.
    """
    return BASE_SIZINGS.load(name)(candles, rules)
