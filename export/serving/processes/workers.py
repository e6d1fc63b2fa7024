"""Several processes on one listening socket: started, watched and ended together."""

import faulthandler
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from export.serving.processes.exits import explain_exit, last_words, oom_kills, read_last_words
from export.serving.processes.uvicorn_server import END_ALL
from export.serving.telemetry.telemetry import Log, forget_worker
from himari_jax.errors import HimariError

FIRST_PAUSE, MOST_PAUSE = 0.5, 16.0  # seconds before a worker that failed is started again; doubled each time
WINDOW = 60.0  # seconds in which failures are counted
MOST_FAILURES = 5  # in the window, times the number of workers; one more ends the server
STOP_SECONDS = 12.0  # beyond the drain, after which a worker that does not end is killed


class WorkersFailed(HimariError):
    """Workers fail again and again; the server gives up."""

    exit_code = 1


class SupervisorLink:
    """A worker's link to its supervisor: once the supervisor is gone, however it ended, the worker ends, too.

    Args:
        pipe: whose other end the supervisor alone holds.
    """

    def __init__(self, pipe: int):
        self.pipe, self.is_cut = pipe, False
        threading.Thread(target=self.wait, name="supervisor-link", daemon=True).start()

    def wait(self) -> None:
        """Waits until the supervisor's end of the pipe is closed."""
        os.read(self.pipe, 1)
        self.is_cut = True
        os.kill(os.getpid(), signal.SIGTERM)


Work = Callable[[int, SupervisorLink], int]  # index of the worker, link to the supervisor -> exit code


class Worker(NamedTuple):
    """A worker process that was started."""

    place: int
    words: int  # pipe with its last words
    kills: int | None  # for want of memory, before it was started


class Supervisor:
    """Runs copies of a worker until SIGTERM or SIGINT; one that fails is started again after a pause.

    Args:
        count: of workers.
        work: what each does.
        sock: on which all listen; closed here when they are to end.
        log: of the supervisor.
        drain_seconds: that they take to end, besides what they have to finish.
    """

    def __init__(self, count: int, work: Work, sock: socket.socket, log: Log, drain_seconds: float):
        self.count, self.run_worker, self.sock, self.log = count, work, sock, log
        self.patience = drain_seconds + STOP_SECONDS
        self.workers: dict[int, Worker] = {}
        self.due = dict.fromkeys(range(count), 0.0)  # when the worker of a place is to be started
        self.failures: deque[tuple[float, int]] = deque()  # when, which place
        self.signals: list[int] = []
        self.kill_at: float | None = None  # set when the workers are to end
        self.code = 0
        self.gave_up = ""
        self.pipe_end, self.pipe_held = os.pipe()

    def run(self) -> int:
        """Supervises.

        Returns:
            0 where every worker ended well after the signal, else 1.

        Raises:
            WorkersFailed: they fail again and again.
        """
        wake, woken = os.pipe()
        for end in (wake, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self.signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while self.workers or self.kill_at is None:
            if self.kill_at is None:
                self.start_due()
            if select.select([wake], [], [], self.wait_seconds())[0]:
                os.read(wake, 4096)
            self.handle_signals()
            self.reap()
        if self.gave_up:
            raise WorkersFailed(self.gave_up)
        return self.code

    def wait_seconds(self) -> float:
        """Returns the seconds until something is due; signals interrupt the wait."""
        times = [*self.due.values()] if self.kill_at is None else [self.kill_at]
        return max(0.0, min([*times, time.monotonic() + 60.0]) - time.monotonic())

    def start_due(self) -> None:
        """Starts the workers whose pause is over."""
        for place, when in list(self.due.items()):
            if when <= time.monotonic():
                del self.due[place]
                self.start(place)

    def start(self, place: int) -> None:
        """Forks a worker."""
        words, pen = os.pipe()
        kills = oom_kills()
        # No signal may reach a worker while it has the handlers of its supervisor.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, END_ALL})
        child = os.fork()
        if child == 0:
            self.be_worker(place, pen, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(pen)
        os.set_blocking(words, False)
        self.workers[child] = Worker(place, words, kills)

    def be_worker(self, place: int, pen: int, mask: set[Any]) -> None:
        """Runs in a forked worker, until its exit."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for number in (signal.SIGTERM, END_ALL):
                signal.signal(number, lambda *_: os._exit(0))
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self.pipe_held)  # else the pipe would not end with the supervisor
            faulthandler.enable(pen)
            code = self.run_worker(place, SupervisorLink(self.pipe_end))
        except BaseException as error:
            os.write(pen, last_words(error).encode())
        finally:
            os._exit(code)

    def handle_signals(self) -> None:
        """Forwards signals: the first ends the workers gracefully, another one at once."""
        while self.signals:
            self.signals.pop()
            if self.kill_at is None:
                self.end()
            else:
                self.kill()
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.log("ERROR", "workers_killed", message="they did not end in time", workers=len(self.workers))
            self.code = 1
            self.kill()

    def end(self) -> None:
        """Asks the workers to end."""
        self.kill_at = time.monotonic() + self.patience
        self.sock.close()
        for worker in self.workers:
            os.kill(worker, END_ALL)

    def kill(self) -> None:
        """Ends the workers at once."""
        self.kill_at = time.monotonic() + self.patience
        for worker in self.workers:
            os.kill(worker, signal.SIGKILL)

    def reap(self) -> None:
        """Collects the workers that ended."""
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            # Another one is an orphan of another process, as process 1 of a container gets them.
            if (worker := self.workers.pop(child, None)) is not None:
                self.on_end(child, worker, os.waitstatus_to_exitcode(status))

    def on_end(self, pid: int, worker: Worker, code: int) -> None:
        """Logs why a worker ended and schedules another, unless all are to end."""
        why = explain_exit(code, read_last_words(worker.words), worker.kills, oom_kills())
        os.close(worker.words)
        forget_worker(worker.place)
        if self.kill_at is not None:
            if code not in (0, -signal.SIGKILL):
                self.log("ERROR", "worker_fell", pid=pid, worker=worker.place, exit=code, message=why)
                self.code = 1
            return
        now = time.monotonic()
        self.failures.append((now, worker.place))
        while self.failures[0][0] < now - WINDOW:
            self.failures.popleft()
        if len(self.failures) > MOST_FAILURES * self.count:
            self.gave_up = f"workers fell {len(self.failures)} times within {WINDOW:g} s, the last by {why}"
            self.log("CRITICAL", "gave_up", message=self.gave_up)
            self.end()
            return
        recent = sum(place == worker.place for _, place in self.failures)
        pause = min(FIRST_PAUSE * 2 ** (recent - 1), MOST_PAUSE)
        self.due[worker.place] = now + pause
        self.log("ERROR", "worker_fell", pid=pid, worker=worker.place, exit=code, message=why, pause=pause)
