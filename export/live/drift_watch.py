"""Drift of a lane's market inputs, from decision to decision: the newest windows against those of training."""

from typing import Any

import numpy as np

from export.runtime import Model
from himari_jax.drift import DriftTable, alarms, count_bins


class DriftWatch:
    """The bins of the newest decisions of a lane.

    Args:
        model: whose drift table.
        table: of it.
    """

    def __init__(self, model: Model, table: DriftTable):
        self.table = table
        self.places = model.drift_places
        self.longest = 2 * max(table.windows, default=0)  # a window, and the one before it
        self.bins = np.zeros((0, len(table.names)), np.int64)
        self.outside = np.zeros((0, len(table.names)), bool)

    def add(self, observations: Any) -> None:
        """Adds observations, (..., D), the oldest first."""
        rows = np.atleast_2d(np.asarray(observations, np.float64))[:, self.places]
        self.bins = np.concatenate([self.bins, self.table.place(rows)])[-max(self.longest, 1) :]
        self.outside = np.concatenate([self.outside, self.table.outside(rows)])[-max(self.longest, 1) :]

    def scores(self, k: int, back: int = 0) -> np.ndarray | None:
        """Computes PSI over threshold of each feature in a window, (F,); None where it is not full yet.

        Args:
            k: which of the table's windows.
            back: windows before the newest one.
        """
        length = self.table.windows[k]
        stop = len(self.bins) - back * length
        if stop < length:
            return None
        return self.table.scores(count_bins(self.bins[stop - length : stop])[0], k)

    def alarms(self) -> list[int]:
        """Lists the lengths of the windows that alarm, by `himari_jax.drift.alarms` of the newest two windows."""
        found = []
        for k, length in enumerate(self.table.windows):
            seen = [scores for back in (1, 0) if (scores := self.scores(k, back)) is not None]
            if seen and alarms(np.stack(seen))[-1]:
                found.append(length)
        return found

    def figures(self) -> dict[int, tuple[dict[str, float], dict[str, float]]]:
        """By length of a full window: PSI over threshold, and share outside of training's range, of each feature."""
        found = {}
        for k, length in enumerate(self.table.windows):
            if (scores := self.scores(k)) is not None:
                outside = self.outside[-length:].mean(0)
                found[length] = named(self.table.names, scores), named(self.table.names, outside)
        return found


def named(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    """Returns numbers by feature name."""
    return dict(zip(names, map(float, values), strict=True))
