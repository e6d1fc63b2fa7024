"""From a base sizing, or a user's own file, to the positions that the policy multiplies."""

import numpy as np

from himari_jax.candles import Candles
from himari_jax.plugins import BASE_SIZINGS
from himari_jax.positions.own_positions import OwnPositions, hold
from himari_jax.positions.sizing import SizingRules

Base = str | OwnPositions  # a base sizing by its command-line name, or positions from a file


def base_positions(base: Base, candles: Candles, rules: SizingRules) -> np.ndarray:
    """Base position of each asset at each row, (T, N), share of equity, from rows <= t.

    Args:
        base: name of a base sizing on the command line, or a user's own positions, NaN before their first row.
        candles: checked candles.
        rules: caps and parameters.

    Raises:
        InputError: no such sizing, or a file that does not fit the candles.
    """
    if isinstance(base, OwnPositions):
        return hold(base, candles)
    return BASE_SIZINGS.load(base)(candles, rules)


def first_known(base: np.ndarray) -> int:
    """The first row of (T, N) base positions that holds a number for every asset; T where none does."""
    known = np.isfinite(base).all(1)
    return int(np.argmax(known)) if known.any() else len(known)
