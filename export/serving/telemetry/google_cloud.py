"""Fields of a log line for Google Cloud: trace, HTTP request, error event.

Sources: Cloud Logging, "Structured logging"; Error Reporting, "Format errors in logs"; W3C, "Trace Context".
"""

import os
import re
import traceback
from collections.abc import Mapping
from typing import Any

CLOUD_TRACE = re.compile(rb"([0-9a-f]{32})(?:/(\d{1,20}))?(?:;o=(\d))?")
TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2}).*")
REPORTED = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"
MOST_STACK = 2800  # characters of a stack trace, so that its line is one write to a pipe


def trace_fields(headers: Mapping[bytes, bytes], project: str) -> dict[str, Any]:
    """Returns the trace of a request; empty where its headers name none."""
    found = CLOUD_TRACE.fullmatch(headers.get(b"x-cloud-trace-context", b""))
    if found:
        trace, span, sampled = found[1], b"%016x" % (int(found[2] or 0) % 2**64), found[3] == b"1"
    elif found := TRACEPARENT.fullmatch(headers.get(b"traceparent", b"")):
        trace, span, sampled = found[1], found[2], bool(int(found[3], 16) & 1)
    else:
        return {}
    return {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace.decode()}",
        "logging.googleapis.com/spanId": span.decode(),
        "logging.googleapis.com/trace_sampled": sampled,
    }


def request_fields(
    project: str, method: str, route: str, headers: Mapping[bytes, bytes], status: int, size: int, seconds: float
) -> dict[str, Any]:
    """Returns trace and httpRequest of a log line; empty outside of Google Cloud.

    Args:
        project: in which the service runs; empty elsewhere.
        method: of the request.
        route: that answered it, instead of the address, which is of the caller's making.
        headers: of the request.
        status: of the answer.
        size: bytes of its body.
        seconds: that it took.
    """
    if not project:
        return {}
    shown = {"requestMethod": method, "requestUrl": route, "status": status, "responseSize": str(size)}
    agent = headers.get(b"user-agent", b"")[:100].decode("ascii", "replace")
    return {
        **trace_fields(headers, project),
        "httpRequest": shown | {"latency": f"{seconds:.6f}s", "protocol": "HTTP/1.1", "userAgent": agent},
    }


def error_event(error: BaseException) -> dict[str, Any]:
    """Returns a fault for Error Reporting: the stack, without the error's text, which could hold a request."""
    frames = traceback.extract_tb(error.__traceback__)
    stack = "".join(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames)
    if len(stack) > MOST_STACK:
        stack = "  ...\n" + stack[-MOST_STACK:].partition("\n")[2]
    service = {"service": os.environ.get("K_SERVICE", "himari-serve"), "version": os.environ.get("K_REVISION", "")}
    return {
        "@type": REPORTED,
        "serviceContext": service,
        "stack_trace": f"Traceback (most recent call last):\n{stack}{type(error).__name__}: its text is withheld",
    }
