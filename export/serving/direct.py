"""Requests that the protocol answers itself, without ASGI's scope, task and cycle; the answer is the same."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

from export.serving.endpoint import Endpoint, RequestHead
from export.serving.requests.http import Header

STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class DirectRequest:
    """A request whose headers have arrived; stands in for uvicorn's own request cycle.

    Args:
        endpoint: that answers.
        head: of the request.
        keep_alive: whether its connection goes on.
    """

    __slots__ = ("deadline", "disconnected", "endpoint", "head", "keep_alive", "parts", "response_complete", "size")
    message_event = asyncio.Event()  # of uvicorn's cycles; never waited for here
    more_body = True  # until the response is complete

    def __init__(self, endpoint: Endpoint, head: RequestHead, keep_alive: bool):
        self.endpoint, self.head, self.keep_alive = endpoint, head, keep_alive
        self.parts: list[bytes] = []
        self.size = 0
        self.deadline: asyncio.TimerHandle | None = None  # of a body that does not come with its headers
        self.response_complete = self.disconnected = False

    def add(self, part: bytes) -> bool:
        """Adds a part of the body; returns whether the body is within the limit."""
        self.parts.append(part)
        self.size += len(part)
        return self.size <= self.endpoint.app.settings.max_body

    def body(self) -> bytes:
        """Returns the body so far."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    def stop_deadline(self) -> None:
        """Cancels the deadline of the body."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def encode_answer(status: int, headers: Iterable[Header], body: bytes, keep_alive: bool) -> tuple[bytes, bool]:
    """Encodes an answer as uvicorn does; returns it and whether the connection is kept.

    Args:
        status: of the answer.
        headers: in lower case; `connection` may only be `close`.
        body: whose length is among the headers.
        keep_alive: whether the caller lets the connection go on.
    """
    parts, closes = [STATUS_LINES[status]], False
    for name, value in headers:
        closes = closes or name == b"connection"
        parts += name, b": ", value, b"\r\n"
    if not keep_alive and not closes:
        parts.append(b"connection: close\r\n")
    parts += b"\r\n", body
    return b"".join(parts), keep_alive and not closes
