"""What a route is given, what it gives back, and what it may ask of the application."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

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


class Service(Protocol):
    """What the application answers to its routes."""

    settings: Any
    metrics: Any

    def is_ready(self) -> bool:
        """Whether requests should be sent here."""

    def served(self) -> Any:
        """The model that answers; refuses the request where there is none."""
