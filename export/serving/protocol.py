"""uvicorn's HTTP/1.1 with limits on headers and connections and exactly one Host, and direct answers."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from export.serving.app import Application
from export.serving.direct import DirectRequest, encode_answer
from export.serving.endpoint import Endpoint, RequestHead
from export.serving.requests.errors import ApiError
from export.serving.requests.http import JSON

MOST_HEADER = 64 * 1024  # bytes of a request before its body
LONG = ApiError(431, "too_large", "headers", f"longer than {MOST_HEADER // 1024} KiB")
HOST = ApiError(400, "host", "host", "a request has exactly one")
BUSY = ApiError(503, "busy", "connections", "too many are open; ask again later")


class JoinedWrites:
    """A transport that writes the head of an answer with its body: one system call, one packet."""

    __slots__ = ("head", "is_closing", "transport")

    def __init__(self, transport: Any):
        self.transport, self.head, self.is_closing = transport, b"", transport.is_closing

    def write(self, data: bytes) -> None:
        """Writes data; a head waits for the next write."""
        if self.head:
            data, self.head = self.head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self.head = data
            return
        self.transport.write(data)

    def write_whole(self, data: bytes) -> None:
        """Writes a whole answer."""
        self.flush()
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
    """Limits headers and connections, refuses invalid requests before any handler, and answers `/predict` directly."""

    header_seconds = 10.0

    def __init__(self, config: Any, *args: Any, **more: Any):
        super().__init__(config, *args, **more)
        self.application: Application = config.app

    def connection_made(self, transport: Any) -> None:
        """Starts the deadline for the headers of a new connection."""
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]
        self.waited: int = 0  # bytes of headers so far
        self.seen: int = 0  # the same, with bytes that came together with their end
        self.deadline: asyncio.TimerHandle | None = None
        self.direct: DirectRequest | None = None  # whose body is not yet whole
        self.may_be_direct = True  # one request of each read, so that no connection holds up the others
        self.start_deadline()

    def start_deadline(self) -> None:
        """Starts the deadline for the headers."""
        if self.deadline is None:
            self.deadline = self.loop.call_later(self.header_seconds, self.give_up)

    def stop_deadline(self) -> None:
        """Stops the deadline: the headers have arrived."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def give_up(self) -> None:
        """Closes a connection whose headers did not arrive in time, without an answer."""
        self.deadline = None
        if not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Counts bytes until the headers are complete; a body has its own limits."""
        if not self.reading_body():
            self.waited += len(data)
        self.seen = self.waited or len(data)
        self.may_be_direct = True
        super().data_received(data)
        if self.direct is not None and self.direct.deadline is None:
            seconds = self.application.settings.read_seconds
            self.direct.deadline = self.loop.call_later(seconds, self.answer, self.direct.endpoint.too_slow())
        if self.waited:  # a timer costs more than most requests take to come, so only those that wait have one
            self.start_deadline()
        if self.deadline is not None and self.waited > MOST_HEADER:
            self.answer_and_close(LONG)

    def reading_body(self) -> bool:
        """Whether a request is between its headers and the end of its body."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def is_idle(self) -> bool:
        """Whether there was a request, and all requests so far are answered."""
        return self.deadline is None and self.cycle is not None and self.cycle.response_complete

    def on_message_begin(self) -> None:
        """Begins a request; uvicorn's scope is made when it is needed."""
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Chooses who answers: directly where possible, else ASGI."""
        self.stop_deadline()
        self.waited = 0
        if self.transport.is_closing():  # by the answer to the request before
            return
        refusal = self.refusal()
        if refusal is None and (request := self.direct_request()) is not None:
            self.cycle = self.direct = request  # type: ignore[assignment]
            return
        self.app = refusal or self.application
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def direct_request(self) -> DirectRequest | None:
        """Makes a direct request where only its body is missing for an answer, else None."""
        endpoint = self.application.direct.get(self.url)
        if endpoint is None or not self.may_be_direct or self.parser.get_method() != b"POST":
            return None
        is_free = self.cycle is None or self.cycle.response_complete
        if not is_free or self.flow.write_paused or self.expect_100_continue or self.parser.should_upgrade():
            return None
        head = RequestHead("POST", dict(self.headers))
        if not endpoint.can_answer(head):
            return None
        self.may_be_direct = False
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return DirectRequest(endpoint, head, keep_alive)

    def on_body(self, body: bytes) -> None:
        """Adds a part of the body."""
        if self.direct is None:
            super().on_body(body)
        elif not self.direct.add(body):
            self.answer(self.direct.endpoint.too_long())

    def on_message_complete(self) -> None:
        """Answers a direct request, whose body is complete."""
        if self.direct is None:
            super().on_message_complete()
        else:
            self.answer(self.direct.body())

    def answer(self, body: bytes | ApiError) -> None:
        """Answers the direct request: its body is complete, or refused."""
        request, self.direct = self.direct, None
        assert request is not None
        request.stop_deadline()
        reply = request.endpoint.answer(request.head, body)
        headers = [*self.server_state.default_headers, *request.endpoint.headers_of(request.head, reply)]
        data, keep_alive = encode_answer(reply.status, headers, reply.body, request.keep_alive)
        self.transport.write_whole(data)  # type: ignore[attr-defined]
        request.response_complete = True
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()
        request.endpoint.record(request.head, reply)

    def refusal(self) -> Endpoint | None:
        """Returns the endpoint that refuses a request which its headers alone forbid, else None."""
        if self.seen > MOST_HEADER:
            line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n")
            if line + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers) > MOST_HEADER:
                return self.application.refusing(LONG)
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            return self.application.refusing(HOST)
        if len(self.connections) > self.application.settings.max_connections:
            # Refusing a probe would make the platform end a busy process.
            return None if self.url in self.application.probes else self.application.refusing(BUSY)
        return None

    def on_response_complete(self) -> None:
        """Ends a request; the next headers of a kept connection get their deadline with their first byte."""
        self.stop_deadline()
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drops the deadlines and a request whose body will not arrive."""
        self.stop_deadline()
        if self.direct is not None:
            self.direct.stop_deadline()
            self.direct = None
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP with the same kind of error as any other bad request."""
        self.answer_and_close(ApiError(400, "malformed", "request", msg))

    def answer_and_close(self, error: ApiError) -> None:
        """Answers outside of a request, and closes the connection."""
        self.stop_deadline()
        if self.transport.is_closing():
            return
        body = error.encode()
        headers = ((b"content-type", JSON), (b"content-length", b"%d" % len(body)))
        data, _ = encode_answer(error.status, headers, body, keep_alive=False)
        self.transport.write(data)
        self.transport.close()
