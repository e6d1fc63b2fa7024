"""uvicorn with a graceful shutdown: not ready, then no new connections, then the last answers."""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from export.serving.app import Application
from export.serving.processes.listener import readable, reject_new_connections
from export.serving.protocol import GuardedProtocol
from export.serving.telemetry.telemetry import Bridge

FINISH_SECONDS = 4.0  # for requests in flight after the listener closed
SETTLE_SECONDS = 0.5  # for handshakes that are under way when it closes
TICK = 0.02
END_ALL = signal.SIGUSR1  # from the supervisor: all workers end, so that no process accepts any more


@dataclass(frozen=True)
class ShutdownSettings:
    """Settings of the graceful shutdown."""

    drain_seconds: float  # not ready, but still accepting, so that a balancer can look away
    alone: bool = True  # without a supervisor: a second signal ends at once
    abandoned: Callable[[], bool] = lambda: False  # whether the supervisor is gone


class Server(uvicorn.Server):
    """Drains at SIGTERM or SIGINT and then returns, so that the process can exit 0."""

    def __init__(self, config: uvicorn.Config, app: Application, shutdown_settings: ShutdownSettings):
        super().__init__(config)
        self.app, self.shutdown_settings = app, shutdown_settings
        self.is_last = shutdown_settings.alone  # whether no other process goes on accepting

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Installs handlers that drain; uvicorn's own would raise the signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, END_ALL):
            loop.add_signal_handler(number, self.on_signal, number)
        yield

    def on_signal(self, number: int) -> None:
        """First signal: not ready, then stop accepting; a second one stops at once.

        Only its supervisor stops a worker at once (SIGKILL): Ctrl-C and some service managers signal
        every process of a group, and the supervisor passes its own signal on.
        """
        if not self.shutdown_settings.alone and number == signal.SIGINT:
            return
        self.is_last = self.is_last or number == END_ALL or self.shutdown_settings.abandoned()
        if self.app.draining:
            if self.shutdown_settings.alone:
                self.should_exit = self.force_exit = True
            return
        seconds = 0.0 if self.shutdown_settings.abandoned() else self.shutdown_settings.drain_seconds
        self.app.drain()
        self.app.log("NOTICE", "draining", signal=signal.Signals(number).name, seconds=seconds)
        asyncio.get_running_loop().call_later(seconds, setattr, self, "should_exit", True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts what could connect, closes the listeners, and answers what was accepted."""
        listeners = sockets or []
        if not self.force_exit:
            await self.accept_last(listeners)
        for server in self.servers:
            server.close()
        for sock in listeners:
            sock.close()
        await self.finish()

    async def accept_last(self, listeners: list[socket.socket]) -> None:
        """Drops new connections where this is the last process, and lets the loop accept those that wait."""
        if self.is_last:
            for sock in listeners:
                reject_new_connections(sock)
        loop = asyncio.get_running_loop()
        settled, end = loop.time() + SETTLE_SECONDS, loop.time() + 2 * SETTLE_SECONDS
        files = [sock.fileno() for sock in listeners]
        while loop.time() < settled or (self.is_last and readable(files) and loop.time() < end):
            self.close_idle()
            await asyncio.sleep(TICK)
            if self.force_exit:
                return

    async def finish(self) -> None:
        """Waits until every connection has its answer; aborts the rest after a while, or at a second signal."""
        loop = asyncio.get_running_loop()
        end = loop.time() + FINISH_SECONDS
        while self.server_state.connections and not self.force_exit and loop.time() < end:
            self.close_idle()
            await asyncio.sleep(TICK)
        if left := list(self.server_state.connections):
            self.app.log("WARNING", "connections_cut", connections=len(left))
        for connection in left:
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()

    def close_idle(self) -> None:
        """Closes kept connections that have their answers, unless the next request is here already."""
        idle: dict[int, Any] = {}
        for connection in self.server_state.connections:
            if isinstance(connection, GuardedProtocol) and connection.is_idle():
                idle[connection.transport.get_extra_info("socket").fileno()] = connection
        busy = readable(list(idle))
        for file, connection in idle.items():
            if file not in busy:
                connection.transport.close()


def configure(app: Application, keep_alive: float) -> uvicorn.Config:
    """Makes uvicorn's settings; `keep_alive` is the seconds that a kept connection may wait for its next request."""
    return uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="none",
        loop="uvloop",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]
    )


def serve(app: Application, sock: socket.socket, keep_alive: float, shutdown_settings: ShutdownSettings) -> None:
    """Answers on a listening socket until a signal comes and what was asked is answered."""
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Bridge(app.log)], False
        logger.setLevel(logging.WARNING)
    Server(configure(app, keep_alive), app, shutdown_settings).run(sockets=[sock])
