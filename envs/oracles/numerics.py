"""Quadrature and dynamic programming on grids, numpy float64, from which the optima are computed."""

import numpy as np


def normal_nodes(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and probabilities of the standard normal law, (count,) each: Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def maximize(values: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place and size of the largest value of each row by the parabola through its grid neighbors.

    Args:
        values: (..., G) of concave functions.
        grid: (G,) evenly spaced.

    Returns:
        argmax (...), max (...).
    """
    top = np.clip(values.argmax(-1), 1, len(grid) - 2)
    left, mid, right = (np.take_along_axis(values, (top + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * mid + right
    shift = np.where(bend < 0, np.clip(0.5 * (left - right) / np.where(bend < 0, bend, -1), -1, 1), 0)
    value = mid - 0.25 * (left - right) * shift
    edge = np.maximum(values[..., 0], values[..., -1])
    at_edge = edge >= value
    end = np.where(values[..., 0] >= values[..., -1], grid[0], grid[-1])
    return np.where(at_edge, end, grid[top] + shift * (grid[1] - grid[0])), np.where(at_edge, edge, value)


def interpolation(points: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left neighbors (int) and shares of the right ones, so that `f(x) = (1 - s) f[i] + s f[i + 1]`; ends are held."""
    place = np.clip((points - grid[0]) / (grid[1] - grid[0]), 0, len(grid) - 1)
    left = np.minimum(place.astype(np.int64), len(grid) - 2)
    return left, place - left


def spread(points: np.ndarray, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Transition matrix on a grid, (G, G): from each row of points (G, Q) with probabilities (G, Q) or (Q,)."""
    left, share = interpolation(points, grid)
    rows = np.broadcast_to(np.arange(len(points))[:, None], points.shape)
    weights = np.broadcast_to(weights, points.shape)
    matrix = np.zeros((len(points), len(grid)))
    np.add.at(matrix, (rows, left), weights * (1 - share))
    np.add.at(matrix, (rows, left + 1), weights * share)
    return matrix


def stationary(matrix: np.ndarray) -> np.ndarray:
    """The stationary law of a transition matrix, (G,): the solution of `p (P - 1) = 0, sum(p) = 1`."""
    system = np.vstack([matrix.T - np.eye(len(matrix)), np.ones(len(matrix))])
    target = np.zeros(len(matrix) + 1)
    target[-1] = 1
    law = np.linalg.lstsq(system, target, rcond=None)[0]
    return np.maximum(law, 0) / np.maximum(law, 0).sum()


def trade(values: np.ndarray, grid: np.ndarray, fee: float) -> tuple[np.ndarray, np.ndarray]:
    """`max_v values[..., v] - fee |grid[v] - grid[w]|` for every w, and the v: two running maxima.

    Args:
        values: (..., G) of holding grid[v].
        grid: (G,) rising.
        fee: of a unit traded.

    Returns:
        value (..., G), index of the best holding (..., G).
    """
    up, where_up = running_max(values[..., ::-1] - fee * grid[::-1])  # over v >= w
    down, where_down = running_max(values + fee * grid)  # over v <= w
    buy, sell = up[..., ::-1] + fee * grid, down - fee * grid
    last = len(grid) - 1
    return np.maximum(buy, sell), np.where(buy > sell, last - where_up[..., ::-1], where_down)


def running_max(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest value so far along the last axis, and its newest index, (..., G) each."""
    best = np.maximum.accumulate(values, -1)
    index = np.where(values >= best, np.arange(values.shape[-1]), 0)
    return best, np.maximum.accumulate(index, -1)
