"""Types of the routes: the call, the reply, and the application's interface to its handlers."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

JSON = b"application/json"
Header = tuple[bytes, bytes]


class Reply(NamedTuple):
    """The response of a handler."""

    body: bytes
    kind: bytes = JSON
    status: int = 200
    headers: tuple[Header, ...] = ()


class Call(NamedTuple):
    """The request that a handler gets."""

    path: dict[str, str]  # parameters of the path
    headers: dict[bytes, bytes]
    body: bytes
    note: dict[str, Any]  # goes into the log line


Handler = Callable[[Call], Reply]
Row = tuple[str, str, Handler, bool]  # path, method, handler, whether it needs no key


class Service(Protocol):
    """The part of the application that its handlers use."""

    settings: Any
    metrics: Any
    log: Any
    cors: Any
    draining: bool

    def is_ready(self) -> bool:
        """Whether requests should be sent here."""

    def served(self) -> Any:
        """The model that answers; refuses the request where there is none."""

    def allow(self, headers: dict[bytes, bytes]) -> None:
        """Refuses a request without the key, where there is one."""
