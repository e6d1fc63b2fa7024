"""Drift: are the inputs of today like those of training? Thresholds are those of the training's own windows.

The textbook's alarm, a population stability index (PSI) above .25, is for draws that do not depend on each other: of
market features it fires in most healthy weeks. Here a window is compared with what windows inside training showed.

Source: Siddiqi, "Credit Risk Scorecards", 2005 (PSI).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from himari_jax.times import DAY_MS

BINS = 10
WINDOW_DAYS = (7, 28)
LEAST_BARS = 60  # of a window: fewer show nothing
QUANTILE = 0.95  # of the windows inside training, the threshold of a feature
FALSE_ALARMS = 0.05  # share of windows inside training with an alarm of any kind
MANY = 1 / 3  # share of the features that make an alarm at once
OUTSIDE = 0.001  # share of training's rows beyond either end of the range
LEAST_SHARE = 1e-4  # that is expected of a bin, at least: PSI divides by it
STRIDES = 8  # starts of windows, to a window


@dataclass(frozen=True)
class DriftTable:
    """Distribution of the F market inputs of training, and the thresholds of windows of W lengths."""

    names: tuple[str, ...]
    edges: np.ndarray  # (F, BINS - 1) of the bins, rising
    expected: np.ndarray  # (F, BINS) shares of training's rows
    low: np.ndarray  # (F,) range of training, without the outermost rows
    high: np.ndarray  # (F,)
    windows: tuple[int, ...]  # W lengths, bars
    thresholds: np.ndarray  # (W, F) PSI

    def place(self, rows: np.ndarray) -> np.ndarray:
        """The bin of each number, (..., F) int64."""
        return (np.asarray(rows)[..., None] > self.edges).sum(-1)

    def outside(self, rows: np.ndarray) -> np.ndarray:
        """Whether each number lies outside the range of training, (..., F) bool."""
        return (rows < self.low) | (rows > self.high)

    def scores(self, counts: np.ndarray, window: int) -> np.ndarray:
        """PSI over the threshold of each feature, (..., F): above 1 it drifts.

        Args:
            counts: (..., F, BINS) rows in each bin over a window.
            window: which of `windows`.
        """
        return psi(counts, self.expected) / self.thresholds[window]

    def to_json(self) -> dict[str, Any]:
        """The table as the manifest of a bundle stores it."""
        digits = {name: np.round(getattr(self, name), 9).tolist() for name in ("edges", "expected", "low", "high")}
        thresholds = np.round(self.thresholds, 6).tolist()
        return {"names": list(self.names), "windows": list(self.windows), **digits, "thresholds": thresholds}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "DriftTable":
        """Reads what `to_json` gave.

        Raises:
            ValueError: the shapes do not fit each other.
        """
        names, windows = tuple(stored["names"]), tuple(int(x) for x in stored["windows"])
        shapes = {
            "edges": (len(names), BINS - 1),
            "expected": (len(names), BINS),
            "low": (len(names),),
            "high": (len(names),),
            "thresholds": (len(windows), len(names)),
        }
        arrays = {name: np.array(stored[name], np.float64).reshape(shape) for name, shape in shapes.items()}
        if not all(np.isfinite(x).all() for x in arrays.values()) or not (arrays["thresholds"] > 0).all():
            raise ValueError("drift has a number that is not finite, or a threshold of 0")
        return cls(names, windows=windows, **arrays)


def psi(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Population stability index, `sum((p - q) log(p / q))`, (..., F).

    Args:
        counts: (..., F, BINS) rows in each bin; half a row is added to each.
        expected: (F, BINS) shares.
    """
    shares = (counts + 0.5) / (counts + 0.5).sum(-1, keepdims=True)
    floor = np.maximum(expected, LEAST_SHARE)
    return ((shares - floor) * np.log(shares / floor)).sum(-1)


def fit_drift(names: Sequence[str], parts: Sequence[np.ndarray], bar_ms: int) -> DriftTable:
    """Fits the table to the inputs of training.

    Args:
        names: of the F features.
        parts: (T, F) rows of one symbol each, in the order of time.
        bar_ms: length of a bar, milliseconds.
    """
    rows = np.concatenate(parts)
    edges = np.quantile(rows, np.arange(1, BINS) / BINS, axis=0).T
    low, high = np.quantile(rows, [OUTSIDE, 1 - OUTSIDE], axis=0)
    lengths = dict.fromkeys(max(LEAST_BARS, int(days * DAY_MS / bar_ms)) for days in WINDOW_DAYS)
    windows = tuple(length for length in lengths if 3 * length <= max(map(len, parts)))
    bare = DriftTable(tuple(names), edges, np.zeros((len(names), BINS)), low, high, (), np.zeros((0, len(names))))
    places = [bare.place(part) for part in parts]
    expected = count_bins(np.concatenate(places))[0] / len(rows)
    thresholds = [calibrate(places, expected, length) for length in windows]
    return DriftTable(
        tuple(names), edges, expected, low, high, windows, np.reshape(thresholds, (len(windows), len(names)))
    )


def count_bins(places: np.ndarray, length: int | None = None, step: int | None = None) -> np.ndarray:
    """Rows in each bin of each window, (K, F, BINS).

    Args:
        places: (T, F) bins.
        length: of a window; None: all rows.
        step: from window to window.
    """
    ones = places[..., None] == np.arange(BINS)
    if length is None:
        return ones.sum(0)[None]
    total = np.concatenate([np.zeros((1, *ones.shape[1:]), np.int64), ones.cumsum(0)])
    starts = np.arange(0, len(places) - length + 1, step or length)
    return total[starts + length] - total[starts]


def calibrate(places: Sequence[np.ndarray], expected: np.ndarray, length: int) -> np.ndarray:
    """Thresholds of a window's PSI, (F,): a quantile of training's own windows, widened until alarms are rare there."""
    step = max(1, length // STRIDES)
    found = [psi(count_bins(part, length, step), expected) for part in places if len(part) >= length]
    thresholds = np.maximum(np.quantile(np.concatenate(found), QUANTILE, axis=0), 1e-6)
    for _ in range(200):
        rate = np.mean(np.concatenate([alarms(x / thresholds, STRIDES) for x in found]))
        if rate <= FALSE_ALARMS:
            break
        thresholds = thresholds * 1.05
    return thresholds


def alarms(scores: np.ndarray, before: int = 1) -> np.ndarray:
    """Whether each window raises an alarm, (K,): a feature twice running, or a third of them at once.

    Args:
        scores: (K, F) PSI over threshold.
        before: how many windows back the one before it stands, that shares no bar with it.
    """
    high = scores > 1
    twice = np.zeros(len(high), bool)
    twice[before:] = (high[before:] & high[: len(high) - before]).any(1)
    return twice | (high.mean(1) >= MANY)
