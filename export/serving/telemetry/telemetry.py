"""Counters for Prometheus and one JSON line for each event; never candles, keys or tokens."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from export.serving.models.model_store import ServedModel
from export.serving.telemetry.input_counts import InputCounts
from export.serving.telemetry.output import Output, write_stdout

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.08, 0.1, 0.5, 2.0)
MULTIPLIERS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
EARLY = ("200", "400", "409")  # counted from 0: of a series that begins at 1 Prometheus does not see the first rise
FLUSH_SECONDS = 1.0  # for the last lines where the output does not flow
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # where workers add up their numbers


class Metrics:
    """The Prometheus metrics that `/metrics` serves.

    Args:
        place: of this worker among several; one that fails hands its counters on to the next in its place.
    """

    def __init__(self, place: int = 0) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.shared = os.environ.get(SHARED)
        if self.shared is not None:
            values.ValueClass = values.MultiProcessValue(process_identifier=lambda: place)
            (Path(self.shared) / f"worker_{place}").write_text(str(os.getpid()))
        live: Any = "livemin", "livemax"
        self.requests = Counter("himari_requests", "Answered requests.", ("route", "status"), **made)
        self.seconds = Histogram("himari_request_seconds", "Server time.", ("route",), buckets=SECONDS, **made)
        self.predictions = Counter("himari_predictions", "Rows answered.", **made)
        self.refusals = Counter("himari_refusals", "Refused requests by code.", ("code",), **made)
        self.nonfinite = Counter("himari_nonfinite_outputs", "Outputs that were no numbers.", **made)
        self.errors = Counter("himari_unexpected_errors", "Faults of the server.", **made)
        self.swaps = Counter("himari_model_loads", "Verified models put on duty.", **made)
        self.rejected = Counter("himari_rejected_bundles", "Candidates that were not served.", **made)
        self.log_dropped = Counter("himari_log_lines_dropped", "Lines that the output did not take.", **made)
        self.ready = Gauge(
            "himari_ready", "1 with a verified model and not draining.", multiprocess_mode=live[0], **made
        )
        names = ("name", "version", "hash", "kind")
        self.model = Gauge("himari_model_info", "1: on duty.", names, multiprocess_mode=live[1], **made)
        self.last: Any = None
        self.multiplier = Histogram("himari_multiplier", "Answers.", ("symbol",), buckets=MULTIPLIERS, **made)
        self.bound: dict[tuple[str, int], tuple[Any, Any]] = {}  # looking labels up takes longer than counting
        self.bound_symbols: dict[str, Any] = {}
        for status in EARLY:
            self.requests.labels("/predict", status)
        self.whole = CollectorRegistry()
        self.whole.register(
            WithoutOldModels(self.registry if self.shared is None else MultiProcessCollector(None, self.shared))
        )
        self.inputs = InputCounts(None if self.shared is None else Path(self.shared), place)
        self.whole.register(self.inputs)
        if self.shared is None:
            ProcessCollector(registry=self.whole)
        else:
            self.whole.register(Processes(Path(self.shared)))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        found = self.bound.get((route, status))
        if found is None:
            found = self.requests.labels(route, str(status)), self.seconds.labels(route)
            self.bound[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def answered(self, symbol: str, multiplier: float) -> None:
        """Counts one answer for one symbol."""
        found = self.bound_symbols.get(symbol)
        if found is None:
            found = self.bound_symbols[symbol] = self.multiplier.labels(symbol)
        found.observe(multiplier)

    def use_model(self, served: ServedModel) -> None:
        """Sets the model that answers from now on."""
        self.swaps.inc()
        if self.last is not None:
            self.last.set(0)
        self.last = self.model.labels(served.info.name, served.info.version, served.info.hash, served.model.kind)
        self.last.set(1)
        self.inputs.use_model(served)
        self.ready.set(1)

    def page(self) -> bytes:
        """Renders the text of `/metrics`; of all workers together where there are several."""
        return generate_latest(self.whole)


def forget_worker(place: int) -> None:
    """Removes the gauges of a worker that ended: readiness and model. Its counters stay."""
    mark_process_dead(place, os.environ[SHARED])
    (Path(os.environ[SHARED]) / f"worker_{place}").unlink(missing_ok=True)


class WithoutOldModels(Collector):
    """The metrics of a collector, without models that are no longer served."""

    def __init__(self, source: Any):
        self.source = source

    def collect(self) -> Iterator[Metric]:
        """Yields every metric."""
        for metric in self.source.collect():
            if metric.name == "himari_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


class Processes(Collector):
    """Memory, processor time and open files of the supervisor and of each worker, by the label `worker`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yields one metric of each kind, with a sample for each process."""
        found: dict[str, Metric] = {}
        for name, pid in self.processes():
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                whole = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    whole.add_sample(sample.name, {"worker": name}, sample.value)
        yield from found.values()

    def processes(self) -> Iterator[tuple[str, str]]:
        """Yields name and id of each process."""
        yield "supervisor", str(os.getppid())
        for path in sorted(self.folder.glob("worker_*")):
            try:
                yield path.name.removeprefix("worker_"), path.read_text()
            except FileNotFoundError:  # it fell just now
                continue


class Log:
    """JSON lines on a stream."""

    def __init__(self, stream: Any = None):
        self.stream = sys.stdout if stream is None else stream
        self.encode = msgspec.json.Encoder().encode
        self.lock = threading.Lock()

    def __call__(self, severity: str, event: str, **more: object) -> None:
        """Writes one line; `severity` and `time` are the names that Cloud Logging reads."""
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = self.encode({"time": now, "severity": severity, "event": event, **more}).decode()
        with self.lock:
            self.stream.write(line + "\n")
            self.stream.flush()


class QueuedLog(Log):
    """Writes JSON lines to standard output without waiting for its reader."""

    def __init__(self, write: Callable[[bytes], None] = write_stdout):
        self.output = Output(self.on_flow, write)
        super().__init__(self.output)

    def on_flow(self, lines: int) -> None:
        """Logs how many lines were dropped, once lines can be written again."""
        self("WARNING", "log_dropped", lines=lines, message="the output was not read; these lines are lost")

    def close(self) -> None:
        """Writes the queued lines; those not read in time are lost."""
        self.output.close(FLUSH_SECONDS)


class Bridge(logging.Handler):
    """Writes log records of libraries as JSON lines: the message, without arguments that could hold a request."""

    def __init__(self, log: Log):
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record's template and the kind of its exception."""
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        more = {} if kind is None else {"exception": kind}
        self.log(record.levelname, "library", logger=record.name, message=str(record.msg).strip(), **more)
