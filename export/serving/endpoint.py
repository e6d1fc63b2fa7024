"""A route: key, method, body, handler, answer, metrics and log line, for ASGI and direct requests alike."""

import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from export.serving.answers.predict import NonFinite
from export.serving.requests.body import (
    ClientDisconnect,
    Receive,
    check_body,
    read_body,
    too_long,
    too_slow,
    uncompress,
)
from export.serving.requests.errors import ApiError
from export.serving.requests.http import Call, Handler, Header, Reply, Service
from export.serving.telemetry.google_cloud import error_event, request_fields

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestHead:
    """Method, headers and id of a request, and fields for its log line.

    Args:
        method: of the request.
        headers: by name, in lower case; of several of a name the last.
    """

    __slots__ = ("headers", "method", "note", "request_id", "start")

    def __init__(self, method: str, headers: dict[bytes, bytes]):
        self.start, self.method, self.headers = time.perf_counter(), method, headers
        given = headers.get(b"x-request-id")
        known = given is not None and REQUEST_ID.fullmatch(given)
        self.request_id = given if given and known else b"%016x" % random.getrandbits(64)
        self.note: dict[str, Any] = {}  # goes into the log line


class Endpoint:
    """A route of an application; the only place where errors become answers.

    Args:
        app: whose settings, metrics and log are used.
        route: its path, as it is counted and logged.
        method: that it allows; `*`: any.
        handler: that answers.
        is_open: whether it needs no key.
    """

    def __init__(self, app: Service, route: str, method: str, handler: Handler, is_open: bool = True):
        self.app, self.route, self.method, self.handler, self.is_open = app, route, method, handler, is_open
        self.plain_errors = route.startswith("/v2")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request by ASGI."""
        if scope["type"] != "http":
            return
        head = RequestHead(scope["method"], dict(scope["headers"]))
        try:
            reply = self.admit(head) or await self.read_and_run(head, scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:
            reply = self.error_reply(error, head)
        headers = self.headers_of(head, reply)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        self.record(head, reply)

    async def read_and_run(self, head: RequestHead, scope: Scope, receive: Receive) -> Reply:
        """Reads the body and runs the handler."""
        body = b""
        if self.method == "POST":
            body = await read_body(receive, head.headers, self.app.settings.max_body, self.app.settings.read_seconds)
        return self.handler(Call(scope.get("path_params", {}), head.headers, body, head.note))

    def can_answer(self, head: RequestHead) -> bool:
        """Whether `answer` can answer once the body is here; else ASGI answers at once."""
        try:
            if self.admit(head) is not None:
                return False
            check_body(head.headers, self.app.settings.max_body)
        except ApiError:
            return False
        return True

    def answer(self, head: RequestHead, body: bytes | ApiError) -> Reply:
        """Answers a request for which `can_answer` holds.

        Args:
            head: of the request.
            body: whole, as it came; or why there is none.
        """
        try:
            if isinstance(body, ApiError):
                raise body
            data = uncompress(body, head.headers, self.app.settings.max_body)
            return self.handler(Call({}, head.headers, data, head.note))
        except Exception as error:
            return self.error_reply(error, head)

    def too_long(self) -> ApiError:
        """Makes the error for a body beyond the limit."""
        return too_long(self.app.settings.max_body)

    def too_slow(self) -> ApiError:
        """Makes the error for a body that did not arrive in time."""
        return too_slow(self.app.settings.read_seconds)

    def admit(self, head: RequestHead) -> Reply | None:
        """Checks key and method; returns the answer to a preflight, else None.

        Raises:
            ApiError: it may not.
        """
        method, cors = head.method, self.app.cors
        if cors is not None and (preflight := cors.preflight(method, head.headers, self.method)):
            return preflight
        if not self.is_open:
            self.app.allow(head.headers)
        if self.method not in (method, "*") and not (method == "HEAD" and self.method == "GET"):
            raise ApiError(405, "method", "method", f"{method[:16]}; allowed: {self.method}")
        return None

    def error_reply(self, error: Exception, head: RequestHead) -> Reply:
        """Turns an error into an answer: a refusal with its reason, a fault of the server without details."""
        return (
            self.refusal_reply(error, head.note) if isinstance(error, ApiError) else self.fault_reply(error, head.note)
        )

    def refusal_reply(self, refusal: ApiError, note: dict[str, Any]) -> Reply:
        """Turns a refusal into an answer; closes connections whose body was not read to its end."""
        self.app.metrics.refusals.labels(refusal.code).inc()
        if isinstance(refusal, NonFinite):
            self.app.metrics.nonfinite.inc()
        # The field may hold text of the caller, so the log has the code alone.
        note["code"] = refusal.code
        headers: tuple[Header, ...] = ()
        if refusal.status == 405:
            headers = ((b"allow", self.method.encode()),)
        if refusal.status in (401, 405, 408, 413, 415) or self.route == "refused":
            headers += ((b"connection", b"close"),)
        body = refusal.encode_plain() if self.plain_errors else refusal.encode()
        return Reply(body, status=refusal.status, headers=headers)

    def fault_reply(self, error: Exception, note: dict[str, Any]) -> Reply:
        """Turns a fault of the server into an answer; it is counted and logged, not disclosed to the caller."""
        self.app.metrics.errors.inc()
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        note.update(code="internal", exception=type(error).__name__, where=where, **error_event(error))
        refusal = ApiError(500, "internal", "server", "an unexpected fault; the log has the request id")
        return Reply(refusal.encode_plain() if self.plain_errors else refusal.encode(), status=500)

    def headers_of(self, head: RequestHead, reply: Reply) -> list[Header]:
        """Returns the headers of an answer."""
        headers = [
            (b"content-type", reply.kind),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", head.request_id),
            *reply.headers,
        ]
        if self.app.cors is not None:
            headers += self.app.cors.headers(head.headers)
        if self.app.draining and not any(name == b"connection" for name, _ in reply.headers):
            headers.append((b"connection", b"close"))
        return headers

    def record(self, head: RequestHead, reply: Reply) -> None:
        """Counts and logs an answered request; probes are not logged, as not to be ready is no fault."""
        seconds = time.perf_counter() - head.start
        self.app.metrics.request(self.route, reply.status, seconds)
        status, method, settings = reply.status, head.method, self.app.settings
        if not settings.log_requests:
            return
        quiet = self.is_open and (status < 500 or status == 503) and self.route != "refused"
        if not quiet:
            level = "WARNING" if 400 <= status < 500 or status == 503 else "ERROR" if status >= 500 else "INFO"
            info = {"request_id": head.request_id.decode(), "method": method, "route": self.route, "status": status}
            cloud = request_fields(settings.project, method, self.route, head.headers, status, len(reply.body), seconds)
            self.app.log(level, "request", **info, ms=round(seconds * 1e3, 3), **cloud, **head.note)
