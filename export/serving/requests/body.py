"""The body of a request, bounded in bytes and in time, compressed or not."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from export.serving.requests.errors import ApiError, invalid, too_large

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
WBITS = {b"gzip": 31, b"deflate": 15}


class ClientDisconnect(Exception):
    """The caller closed the connection before the request was complete."""


def too_long(limit: int) -> ApiError:
    """Makes the error for a body beyond the limit."""
    return too_large("body", f"more than {limit} bytes")


def too_slow(seconds: float) -> ApiError:
    """Makes the error for a body that did not arrive in time."""
    return ApiError(408, "too_slow", "body", f"not here within {seconds:g} s")


async def gather(receive: Receive, limit: int) -> bytes:
    """Joins the parts of a body and counts their bytes as they arrive: a chunked body declares no length."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        parts = [message.get("body", b"")]
        if len(parts[0]) > limit:
            raise too_long(limit)
        return bytes(parts[0])
    parts, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_long(limit)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def inflate(data: bytes, wbits: int, limit: int) -> bytes:
    """Decompresses a body, up to the limit."""
    machine = zlib.decompressobj(wbits)
    try:
        out = machine.decompress(data, limit + 1)
    except zlib.error:
        raise invalid("body", "not compressed as content-encoding says", "malformed") from None
    if len(out) > limit:
        raise too_large("body", f"more than {limit} bytes when decompressed")
    if not machine.eof or machine.unused_data:
        raise invalid("body", "the compressed body is cut off or followed by more", "malformed")
    return out


def coding_of(headers: dict[bytes, bytes]) -> bytes:
    """Returns the content coding of a body by its headers; `identity`: not compressed."""
    return headers.get(b"content-encoding", b"identity").strip().lower()


def check_body(headers: dict[bytes, bytes], limit: int) -> None:
    """Refuses a body whose headers alone forbid it.

    Raises:
        ApiError: 413 where it is longer than `limit` bytes, 415.
    """
    info = headers.get(b"content-length", b"0")
    if info.isdigit() and int(info) > limit:
        raise too_large("body", f"{info.decode()[:20]} bytes; allowed: {limit}")
    if coding_of(headers) not in (*WBITS, b"identity"):
        raise ApiError(415, "encoding", "content-encoding", "allowed: gzip, deflate or none")


def uncompress(data: bytes, headers: dict[bytes, bytes], limit: int) -> bytes:
    """Decompresses a complete body that `check_body` allows.

    Raises:
        ApiError: 413 beyond `limit` bytes, 400.
    """
    coding = coding_of(headers)
    return data if coding == b"identity" else inflate(data, WBITS[coding], limit)


async def read_body(receive: Receive, headers: dict[bytes, bytes], limit: int, seconds: float) -> bytes:
    """Reads the whole body, decompressed.

    Raises:
        ApiError: 413 beyond `limit` bytes before or after decompression, 408 when it is not here in time, 400 or 415.
        ClientDisconnect: the caller left.
    """
    check_body(headers, limit)
    try:
        # Most bodies are here when their request is handled, and uvicorn's cycle knows: they need no timer.
        all_here = not getattr(getattr(receive, "__self__", None), "more_body", True)
        async with nullcontext() if all_here else asyncio.timeout(seconds):
            data = await gather(receive, limit)
    except TimeoutError:
        raise too_slow(seconds) from None
    return uncompress(data, headers, limit)
