"""What a route is given and what it gives back."""

from collections.abc import Callable
from typing import Any, NamedTuple

JSON = b"application/json"


class Reply(NamedTuple):
    """What goes back."""

    body: bytes
    kind: bytes = JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Call(NamedTuple):
    """What came in."""

    path: dict[str, str]  # parameters of the path
    headers: dict[bytes, bytes]
    body: bytes
    note: dict[str, Any]  # goes into the log line


Handler = Callable[[Call], Reply]
Row = tuple[str, str, Handler, bool]  # path, method, handler, whether it needs no key
