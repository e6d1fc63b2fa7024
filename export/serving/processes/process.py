"""One process of the server: loads the model, watches for newer ones, answers requests."""

import gc
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.serving.app import Application, Settings
from export.serving.models.candidates import Candidates
from export.serving.models.model_store import ModelStore, ServedModel
from export.serving.processes.uvicorn_server import END_ALL, ShutdownSettings, serve
from export.serving.protocol import GuardedProtocol
from export.serving.requests.keys import KeyFile, watch
from export.serving.telemetry.telemetry import Metrics, QueuedLog

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of a process, besides those of the application."""

    bundle: Path
    candidates: Candidates
    header_seconds: float
    keep_alive: float  # seconds
    shutdown_settings: ShutdownSettings
    keys: tuple[KeyFile, ...] = ()  # files to watch


def work(plan: ProcessSettings, sock: socket.socket, settings: Settings, log: QueuedLog, place: int = 0) -> int:
    """Serves until a signal ends the process; the log is written to its end.

    Args:
        plan: of the process.
        sock: that listens.
        settings: of the application.
        log: of this process.
        place: among several processes.

    Returns:
        0.
    """
    exit_at_signals(log, alone=plan.shutdown_settings.alone)
    metrics = Metrics(place)
    log.output.on_drop = metrics.log_dropped.inc
    store = make_store(plan.bundle, metrics, log, plan.candidates)
    app = Application(store, settings, metrics, log)
    GuardedProtocol.header_seconds = plan.header_seconds
    if not store.refresh() and store.last_seen is None:
        log("WARNING", "no_model", message=f"{plan.bundle}: no bundle yet; not ready until there is one")
    freeze_heap()
    store.watch(POLL_SECONDS, metrics.inputs.flush)
    watch(plan.keys, log, POLL_SECONDS, store.stopping)
    serve(app, sock, plan.keep_alive, plan.shutdown_settings)
    store.stopping.set()
    log("NOTICE", "stopped")
    log.close()
    return 0


def exit_at_signals(log: QueuedLog, alone: bool) -> None:
    """Lets signals end the process at once, until the event loop takes them over."""

    def leave(number: int, frame: Any) -> None:
        log.close()
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT if alone else END_ALL):
        signal.signal(number, leave)


def freeze_heap() -> None:
    """Freezes the objects loaded so far for the garbage collector and makes its collections rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def make_store(path: Path, metrics: Metrics, log: Callable[..., None], candidates: Candidates) -> ModelStore:
    """Makes a store that counts and logs the models that it loads and the bundles that it refuses."""

    def on_load(served: ServedModel) -> None:
        metrics.use_model(served)
        info = served.info
        symbols = list(served.symbols)
        log("NOTICE", "model", name=info.name, version=info.version, model=info.hash[:12], symbols=symbols)

    def on_refuse(folder: Path, reason: str) -> None:
        metrics.rejected.inc()
        log("ERROR", "bundle_refused", folder=str(folder), reason=reason)

    return ModelStore(path, on_load, on_refuse, candidates.allow_code, candidates)
