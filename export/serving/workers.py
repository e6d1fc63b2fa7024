"""Several processes on one listening socket: started, watched and ended together."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from export.serving.telemetry import Log

PAUSE = 1.0  # seconds before a worker that died is restarted


def supervise(count: int, run: Callable[[], int], log: Log) -> int:
    """Runs `count` copies of `run` until SIGTERM or SIGINT; a copy that dies is restarted.

    Returns:
        0 where every worker ended well after the signal, else 1.
    """
    workers: set[int] = set()
    stopping: list[int] = []

    def stop(number: int, frame: Any) -> None:
        stopping.append(number)
        for worker in workers:
            os.kill(worker, number)

    # No signal may fall between a fork and the note of its child.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for number in signals:
        signal.signal(number, stop)
    workers |= {start(run, signals) for _ in range(count)}
    code = 0
    while workers:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        child, status = os.wait()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        if child not in workers:  # an orphan of another process, as process 1 of a container gets them
            continue
        workers.discard(child)
        exit_code = os.waitstatus_to_exitcode(status)
        if stopping:
            code = code or int(exit_code != 0)
            continue
        log("ERROR", "worker_fell", pid=child, exit=exit_code)
        time.sleep(PAUSE)
        workers.add(start(run, signals))
    return code


def start(run: Callable[[], int], signals: set[signal.Signals]) -> int:
    """Forks a worker; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        code = run()
    finally:
        os._exit(code)
