"""Response surfaces: the multiplier against one input, all others held."""

from typing import NamedTuple

import numpy as np

from export.runtime import Model

POINTS = 25  # of a curve
ROWS = 256  # observations that the others are held at


class Surface(NamedTuple):
    """The multiplier of each asset against one input."""

    name: str  # of the input
    inputs: np.ndarray  # (POINTS,)
    mean: np.ndarray  # (POINTS, N) over the observations
    low: np.ndarray  # (POINTS, N) a tenth of the observations have less
    high: np.ndarray  # (POINTS, N) a tenth have more

    @property
    def swing(self) -> float:
        """Range of the mean multiplier, the largest over the assets."""
        return float(np.ptp(self.mean, axis=0).max())


def surfaces(model: Model, observations: np.ndarray) -> list[Surface]:
    """Computes the surface of every input that varies, by the size of its effect, the largest first.

    A policy with a memory is asked as at the start of an episode.

    Args:
        model: the policy.
        observations: (K, D) that it met; an input moves from the 2nd to the 98th of their percentiles.
    """
    rows = observations[np.linspace(0, len(observations) - 1, min(ROWS, len(observations))).astype(int)]
    found = []
    for d, name in enumerate(model.names):
        low, high = np.quantile(observations[:, d], [0.02, 0.98])
        if high > low:
            found.append(surface(model, rows, d, name, np.linspace(low, high, POINTS)))
    return sorted(found, key=lambda one: -one.swing)


def surface(model: Model, rows: np.ndarray, d: int, name: str, inputs: np.ndarray) -> Surface:
    """Computes the surface of one input."""
    batch = np.repeat(rows[None], len(inputs), axis=0).astype(np.float32)
    batch[:, :, d] = inputs[:, None]
    multiplier = model.predict(batch.reshape(-1, rows.shape[1])).multiplier.reshape(len(inputs), len(rows), -1)
    low, high = np.quantile(multiplier, [0.1, 0.9], axis=1)
    return Surface(name, inputs, multiplier.mean(1), low, high)
