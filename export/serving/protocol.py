"""HTTP/1.1 of uvicorn with what it lacks: limits on headers and connections, the rule of the one Host."""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from export.serving.app import Application, Endpoint
from export.serving.errors import ApiError

MOST_HEADER = 64 * 1024  # bytes of a request before its body
LONG = ApiError(431, "too_large", "headers", f"longer than {MOST_HEADER // 1024} KiB")
HOST = ApiError(400, "host", "host", "a request has exactly one")
BUSY = ApiError(503, "busy", "connections", "too many are open; ask again later")


class JoinedWrites:
    """A transport that holds the head of an answer back until its body comes: one call of the system, one packet."""

    __slots__ = ("head", "is_closing", "transport")

    def __init__(self, transport: Any):
        self.transport, self.head, self.is_closing = transport, b"", transport.is_closing

    def write(self, data: bytes) -> None:
        """Writes all but a head, which waits for what is written next."""
        if self.head:
            data, self.head = self.head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self.head = data
            return
        self.transport.write(data)

    def flush(self) -> None:
        """Writes a head that no body follows."""
        if self.head:
            self.write(b"")

    def close(self) -> None:
        """Closes the connection when everything is written."""
        self.flush()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections whose headers come too slowly or without end, and refuses what no handler should see."""

    header_seconds = 10.0

    def __init__(self, config: Any, *args: Any, **more: Any):
        super().__init__(config, *args, **more)
        self.application: Application = config.app

    def connection_made(self, transport: Any) -> None:
        """A new connection must say what it wants in time."""
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]
        self.waited: int = 0  # bytes of headers so far
        self.seen: int = 0  # the same, with what came together with their end
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
            self.waited += len(data)
        self.seen = self.waited or len(data)
        super().data_received(data)
        if self.waited:  # a timer costs more than most requests take to come, so only those that wait have one
            self.start_deadline()
        if self.deadline is not None and self.waited > MOST_HEADER:
            self.answer_and_close(LONG)

    def reading_body(self) -> bool:
        """Whether a request is between its headers and the end of its body."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def is_idle(self) -> bool:
        """Whether everything that was asked so far is answered, and something was asked."""
        return self.deadline is None and self.cycle is not None and self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """The request begins."""
        self.stop_deadline()
        self.waited = 0
        self.app = self.refusal() or self.application
        super().on_headers_complete()

    def refusal(self) -> Endpoint | None:
        """Who answers instead of the application, where the headers alone forbid the request."""
        if self.seen > MOST_HEADER:
            line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n")
            if line + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers) > MOST_HEADER:
                return self.application.refusing(LONG)
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            return self.application.refusing(HOST)
        if len(self.connections) > self.application.settings.max_connections:
            # A probe that is refused would have the process ended for being busy.
            return None if self.url in self.application.probes else self.application.refusing(BUSY)
        return None

    def on_response_complete(self) -> None:
        """The next headers of a kept connection get their deadline when their first byte comes."""
        self.stop_deadline()
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the deadline."""
        self.stop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP with the same kind of error as any other bad request."""
        self.answer_and_close(ApiError(400, "malformed", "request", msg))

    def answer_and_close(self, error: ApiError) -> None:
        """Answers outside of a request, and ends the connection."""
        self.stop_deadline()
        if self.transport.is_closing():
            return
        body = error.encode()
        status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(status + head + body)
        self.transport.close()
