"""uvicorn with what it lacks: a limit on slow and long headers, and an orderly end."""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from export.serving.app import Application
from export.serving.telemetry import Bridge

MOST_HEADER = 64 * 1024  # bytes before the headers end
DRAIN_SECONDS = 1.5  # not ready, but still answering, so that a balancer can look away
FINISH_SECONDS = 5.0  # for requests in flight after that; together below the 8 s of the contract
IDLE_SECONDS = 75.0  # of a kept connection


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections whose headers come too slowly or without end."""

    header_seconds = 10.0

    def connection_made(self, transport: Any) -> None:
        """A new connection must say what it wants in time."""
        super().connection_made(transport)
        self.waited: int = 0  # bytes of headers so far
        self.deadline: asyncio.TimerHandle | None = None
        self.start_deadline()

    def start_deadline(self) -> None:
        """From now on the headers have so many seconds."""
        if self.deadline is None:
            self.deadline = self.loop.call_later(self.header_seconds, self.give_up)

    def stop_deadline(self) -> None:
        """The headers are here."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def give_up(self) -> None:
        """Nobody gets an answer who has not asked."""
        self.deadline = None
        if not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Counts bytes until the headers are complete; a body has its own limits."""
        if not self.reading_body():
            self.start_deadline()
            self.waited += len(data)
        super().data_received(data)
        if self.deadline is not None and self.waited > MOST_HEADER:
            self.send_400_response("the headers are longer than 64 KiB")

    def reading_body(self) -> bool:
        """Whether a request is between its headers and the end of its body."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """The request begins."""
        self.stop_deadline()
        self.waited = 0
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The next headers of a kept connection get their deadline when their first byte comes."""
        self.stop_deadline()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the deadline."""
        self.stop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP with the same kind of error as any other bad request."""
        self.stop_deadline()
        if self.transport.is_closing():
            return
        error = {"error": {"code": "malformed", "field": "request", "message": msg}}
        body = msgspec.json.encode(error)
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class Server(uvicorn.Server):
    """Drains at SIGTERM or SIGINT and then returns, so that the process can exit 0."""

    def __init__(self, config: uvicorn.Config, app: Application):
        super().__init__(config)
        self.app = app

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handlers that drain; uvicorn would raise the signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin_drain, number)
        yield

    def begin_drain(self, number: int) -> None:
        """First signal: not ready, then stop accepting; a second one stops at once."""
        if self.app.draining:
            self.should_exit = self.force_exit = True
            return
        self.app.drain()
        self.app.log("NOTICE", "draining", signal=signal.Signals(number).name)
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, setattr, self, "should_exit", True)


def listen(host: str, port: int, backlog: int = 2048) -> socket.socket:
    """A listening socket; `port` 0 takes a free one.

    Raises:
        OSError: the port is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def serve(app: Application, sock: socket.socket, most_connections: int) -> None:
    """Answers on a listening socket until a signal comes and what was asked is answered."""
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Bridge(app.log)], False
        logger.setLevel(logging.WARNING)
    config = uvicorn.Config(
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
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=int(FINISH_SECONDS),
        limit_concurrency=most_connections,
    )
    Server(config, app).run(sockets=[sock])
