"""Sketches of what trials earned beyond their base, and which trials are one and the same by them."""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from himari_jax.times import MINUTE_MS

CELLS = 256  # of a sketch, at most
ALIKE = 0.99  # correlation from which on two trials are one
STILL = 1e-3  # deviation of what is earned beyond the base, in deviations of a return, below which it counts as nothing
LARGEST = 32_767  # of an int16


class Sketch(NamedTuple):
    """Sums of a series over the cells of a calendar grid, on a scale of their own."""

    minutes: int  # of a cell, a power of 2; cell number c begins c cells after 1970
    first: int  # number of the first cell
    sums: np.ndarray  # (n,) int16, n <= CELLS, the largest 32,767 in size; zeros: nothing beyond the base


def sketch(times: np.ndarray, returns: np.ndarray, base: np.ndarray) -> Sketch | None:
    """Sketches what a policy earned beyond its base: `r / sd(r) - b / sd(b)`, summed over cells of time.

    The base is what policies of a desk have in common; without it they differ by their decisions alone. Cells are
    powers of 2 minutes on one grid for all, so that sketches of any span and bar can be laid over each other.

    Args:
        times: of the decisions, (S,) epoch milliseconds.
        returns: of the policy, simple, (S,).
        base: of the base position, (S,); zeros where there is none.

    Returns:
        None where a return is not finite.
    """
    beyond = standardized(returns) - standardized(base)
    if not np.isfinite(beyond).all():
        return None
    minutes = 1
    while times[-1] // (minutes * MINUTE_MS) - times[0] // (minutes * MINUTE_MS) >= CELLS:
        minutes *= 2
    cells = times // (minutes * MINUTE_MS)
    sums = np.bincount(cells - cells[0], beyond)
    if beyond.std() < STILL:
        sums = np.zeros_like(sums)
    scale = LARGEST / (np.abs(sums).max() or 1.0)
    return Sketch(minutes, int(cells[0]), np.round(sums * scale).astype(np.int16))


def standardized(returns: np.ndarray) -> np.ndarray:
    """Returns with mean 0 and deviation 1, (S,); zeros where they do not move."""
    r = np.asarray(returns, np.float64)
    return (r - r.mean()) / r.std() if r.min() != r.max() else np.zeros_like(r)


def to_json(each: Sketch | None) -> dict[str, Any] | None:
    """Formats a sketch as JSON, up to 700 letters: sums are base64 of little-endian int16."""
    if each is None:
        return None
    return {**each._asdict(), "sums": base64.b64encode(each.sums.astype("<i2").tobytes()).decode()}


def from_json(value: Any) -> Sketch | None:
    """Reads the sketch that `to_json` wrote; None where there is none.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    if value is None:
        return None
    sums = np.frombuffer(base64.b64decode(value["sums"], validate=True), "<i2").astype(np.int16)
    minutes = int(value["minutes"])
    if not 1 <= len(sums) <= CELLS or minutes < 1 or minutes & (minutes - 1):
        raise ValueError("no sketch")
    return Sketch(minutes, int(value["first"]), sums)


def clusters(sketches: Sequence[Sketch | None]) -> np.ndarray:
    """Clusters trials that correlate by 0.99 or more pairwise: the number of each one's cluster, (n,), from 0 on.

    Hierarchical, complete linkage on `1 - correlation`. What has no sketch is a cluster of its own.
    """
    if len(sketches) < 2:
        return np.zeros(len(sketches), int)
    from scipy.cluster.hierarchy import fcluster, linkage  # a fifth of a second that a first run does not need
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(1 - correlations(sketches), checks=False), "complete")
    return fcluster(tree, 1 - ALIKE, "distance") - 1


def correlations(sketches: Sequence[Sketch | None]) -> np.ndarray:
    """Correlations of the luck of trials, (n, n): of their sums, 0 outside their spans, over the larger of their cells.

    Two on half of each other's bars correlate by half of what they do there: their Sharpe ratios have that in common.
    Trials that earn nothing beyond their base correlate by what they overlap.
    """
    found = np.eye(len(sketches))
    grids = [0 if each is None else each.minutes for each in sketches]
    for minutes in sorted(set(grids) - {0}):
        on = [k for k, grid in enumerate(grids) if 0 < grid <= minutes]
        rows = [unit_row(each, minutes) for each in sketches if each is not None and each.minutes <= minutes]
        columns = np.unique(np.concatenate([cells for cells, _ in rows]))
        table = np.zeros((len(rows), len(columns)))
        for row, (cells, values) in zip(table, rows, strict=True):
            row[np.searchsorted(columns, cells)] = values
        here = np.array([grids[k] == minutes for k in on])
        pairs = np.ix_(on, on)
        found[pairs] = np.where(here[:, None] | here[None, :], table @ table.T, found[pairs])
    np.fill_diagonal(found, 1.0)
    return np.clip(found, -1.0, 1.0)


def unit_row(each: Sketch, minutes: int) -> tuple[np.ndarray, np.ndarray]:
    """Lays a sketch on its own or a coarser grid: numbers of cells, and sums of mean 0 and length 1, (n,).

    A sketch of zeros has equal numbers instead: they go with those of another such, and with nothing of mean 0.
    """
    cells = (each.first + np.arange(len(each.sums))) // (minutes // each.minutes)
    sums = np.bincount(cells - cells[0], each.sums)
    cells = np.arange(cells[0], cells[0] + len(sums))
    sums = sums - sums.mean() if each.sums.any() else np.ones_like(sums)
    return cells, sums / (np.sqrt(np.sum(sums**2)) or 1.0)
