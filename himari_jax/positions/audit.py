"""Audits a base sizing before anything is trained on it: causal, repeatable, a finite share of 0 or more per row."""

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import HimariError, InputError
from himari_jax.features.audit import NEAR, audited_rows, largest_change, other_futures
from himari_jax.features.market import rows_of, segments
from himari_jax.positions.base_positions import Base, base_positions
from himari_jax.positions.own_positions import OwnPositions
from himari_jax.positions.sizing import SizingRules
from himari_jax.times import iso_second
from himari_jax.user_code import failure, quiet, sealed

BETWEEN = 4  # rows after which the future changes, beside the first and the last two
FUTURE = 1000  # rows of another future, after which there are none
MOST_ROWS = 50_000  # the newest of the longest stretch


def audit_sizing(base: Base, candles: Candles, rules: SizingRules, first: int, futures: bool = True) -> None:
    """Refuses a base sizing that knows later candles, changes from call to call, or gives what is no position.

    Args:
        base: name of a base sizing; positions from a file are checked when they are read.
        candles: that training will see.
        rules: caps and parameters.
        first: row of a stretch from which on positions are used.
        futures: whether other futures are tried; of a pool's symbols one is enough.

    Raises:
        InputError: one line: which base sizing, when, by how much.
    """
    if isinstance(base, OwnPositions):
        return
    check_positions(base, call(base, sealed(candles), rules), candles, first)
    start, stop = max(segments(candles), key=lambda edges: edges[1] - edges[0])
    if futures and stop - start > first + 2:
        audit_stretch(base, rows_of(candles, max(start, stop - MOST_ROWS - first), stop), rules, first)


def audit_stretch(name: str, candles: Candles, rules: SizingRules, first: int) -> None:
    """Audits a base sizing over one stretch, as `himari_jax.features.audit` does own features."""
    ours = call(name, candles, rules)
    if not np.array_equal(ours, call(name, candles, rules), equal_nan=True):
        raise InputError(f"base sizing {name}: gives other positions when called again; fix its seed")
    for t in audited_rows(first, len(candles.time), BETWEEN):
        for _, other in other_futures(rows_of(candles, 0, t + 1 + FUTURE), t):
            theirs = call(name, other, rules)
            found = largest_change(ours[: t + 1, :, None], theirs[: t + 1, :, None], NEAR)
            if found is not None:
                row, n, _, gap = found
                when, later = (iso_second(candles.time[k] + candles.bar_ms) for k in (row, t))
                raise InputError(
                    f"base sizing {name}: knows later candles: the position of {candles.symbols[n]} at {when} changes "
                    f"by {gap:.2g} with other candles after {later}; a row must depend on rows up to itself alone"
                )


def call(name: str, candles: Candles, rules: SizingRules) -> np.ndarray:
    """Calls a base sizing; returns its positions (T, N).

    Raises:
        InputError: it fails, or gives another shape or no numbers.
    """
    try:
        with quiet():
            found = base_positions(name, candles, rules)
    except HimariError:
        raise
    except Exception as error:
        raise InputError(f"base sizing {name}: failed: {failure(error)}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf" or found.shape != candles.close.shape:
        given = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise InputError(
            f"base sizing {name}: returned {given}; must be numbers in a numpy array of shape {candles.close.shape}, "
            "bars and symbols"
        )
    return found


def check_positions(name: str, found: np.ndarray, candles: Candles, first: int) -> None:
    """Refuses positions (T, N) that are negative, or not finite where decisions use them.

    Raises:
        InputError: says where, and how many.
    """
    used = np.concatenate([np.arange(start, stop) - start >= first for start, stop in segments(candles)])
    for bad, must in (
        (used[:, None] & ~np.isfinite(found), f"finite from row {first} of a stretch on, where decisions begin"),
        (found < 0, "0 or more, a share of equity"),
    ):
        if bad.any():
            row, n = (int(x[0]) for x in np.nonzero(bad))
            raise InputError(
                f"base sizing {name}: {found[row, n]:g} for {candles.symbols[n]} at "
                f"{iso_second(candles.time[row] + candles.bar_ms)}, one of {int(bad.sum())}; must be {must}"
            )
