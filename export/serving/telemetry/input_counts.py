"""Market inputs of the answered requests, counted in the bins of training, as metrics for Prometheus.

The shares of a week or of four, their PSI and its threshold are rules there (export/deploy/monitoring/rules.yml), so
that they outlive the server and add up over workers and machines.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from export.serving.models.model_store import ServedModel
from himari_jax.drift import BINS, LEAST_SHARE, DriftTable
from himari_jax.times import DAY_MS

BY_FEATURE = ("hash", "feature")
BY_BIN = (*BY_FEATURE, "bin")
BY_WINDOW = (*BY_FEATURE, "window")


class InputCounts(Collector):
    """Counters of the served model, updated every second and at a scrape.

    Args:
        folder: in which workers add up their numbers; None: there is one process.
        place: of this worker.
    """

    def __init__(self, folder: Path | None, place: int):
        self.folder, self.place, self.lock = folder, place, threading.Lock()
        self.served: ServedModel | None = None
        self.table: DriftTable | None = None
        self.counts = np.zeros((0, BINS + 1), np.int64)  # (F, BINS + 1) rows in each bin, and outside of the range

    def use_model(self, served: ServedModel) -> None:
        """Counts the inputs of another model from now on."""
        self.flush()
        with self.lock:
            self.served, self.table = served, served.model.drift
            if self.table is None:
                return
            shape = len(self.table.names), BINS + 1
            self.counts = np.zeros(shape, np.int64)
            if self.folder is not None:
                path = self.folder / f"inputs_{served.info.hash}_{self.place}"  # a worker that failed left its numbers
                if not path.exists():
                    self.counts.tofile(path)
                self.counts = np.memmap(path, np.int64, "r+", shape=shape)

    def flush(self) -> None:
        """Adds the rows that were answered since the last time."""
        with self.lock:
            if self.served is None or self.table is None:
                return
            answered, rows = self.served.answered, []
            while answered:
                rows.append(answered.popleft())
            if rows:
                stacked = np.concatenate([np.atleast_2d(row) for row in rows])
                found = stacked[:, self.served.model.drift_places].astype(np.float64)
                self.counts[:, :BINS] += bins_of(self.table, found)
                self.counts[:, BINS] += self.table.outside(found).sum(0)

    def total(self) -> np.ndarray:
        """Adds up the counters of all workers, (F, BINS + 1)."""
        if self.folder is None or self.served is None:
            return self.counts
        paths = sorted(self.folder.glob(f"inputs_{self.served.info.hash}_*"))
        found = [np.fromfile(path, np.int64) for path in paths]
        return sum((x.reshape(self.counts.shape) for x in found if x.size == self.counts.size), 0 * self.counts)

    def collect(self) -> Iterator[Metric]:
        """Yields the counters, and expected shares, thresholds and rows of a window for the alert rules."""
        self.flush()
        with self.lock:
            served, table = self.served, self.table
            if served is None or table is None:
                return
            counts = self.total()
        model, labels = served.model, [served.info.hash[:12]]  # as in the log
        days = [f"{length * model.step * model.bar_ms / DAY_MS:g}d" for length in table.windows]
        rows = CounterMetricFamily("himari_input_rows", "Answered rows whose inputs are counted.", labels=["hash"])
        rows.add_metric(labels, float(counts[0, :BINS].sum()))
        bins = CounterMetricFamily("himari_input_bin", "Of them in each of training's ten bins.", labels=BY_BIN)
        outside = CounterMetricFamily("himari_input_outside", "Of them outside training's range.", labels=BY_FEATURE)
        expected = GaugeMetricFamily("himari_input_expected", "Shares of training's rows.", labels=BY_BIN)
        limit = GaugeMetricFamily("himari_input_drift_threshold", "PSI that drifts.", labels=BY_WINDOW)
        least = GaugeMetricFamily("himari_input_window_rows", "Decisions of a window.", labels=["hash", "window"])
        for k, (window, length) in enumerate(zip(days, table.windows, strict=True)):
            least.add_metric([*labels, window], length)
            for name, threshold in zip(table.names, table.thresholds[k], strict=True):
                limit.add_metric([*labels, name, window], threshold)
        for name, found, shares in zip(table.names, counts.tolist(), table.expected.tolist(), strict=True):
            outside.add_metric([*labels, name], found[BINS])
            for k in range(BINS):
                bins.add_metric([*labels, name, str(k)], found[k])
                expected.add_metric([*labels, name, str(k)], max(shares[k], LEAST_SHARE))
        yield from (rows, bins, outside, expected, limit, least)


def bins_of(table: DriftTable, rows: np.ndarray) -> np.ndarray:
    """Counts the rows in each bin of each feature, (F, BINS), as `DriftTable.place` and `count_bins` do, in one pass.

    Args:
        table: of F features.
        rows: (B, F) float64.
    """
    above = (rows[..., None] > table.edges).sum(0)  # (F, BINS - 1) rows beyond each edge
    return -np.diff(above, axis=1, prepend=len(rows), append=0)
