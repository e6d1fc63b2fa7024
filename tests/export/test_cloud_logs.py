"""Log lines as Google Cloud reads them: trace, request, errors; against the official message types."""

import json

import pytest
from google_messages import check, messages
from serving import Desk

from export.runtime import Model
from export.serving.telemetry.google_cloud import MOST_STACK, REPORTED, error_event, trace_fields

pytest_plugins = ["server_fixtures"]

TRACE = "105445aa7843bc8bf206b12000100000"
FIELD = "logging.googleapis.com"


def lines(desk):
    return [json.loads(line) for line in desk.lines.getvalue().splitlines()]


@pytest.fixture
def desk(bundles):
    return Desk(bundles["mlp"], project="desk-7")


@pytest.mark.parametrize(
    ("headers", "span", "sampled"),
    [
        ({"x-cloud-trace-context": f"{TRACE}/1;o=1"}, "0000000000000001", True),
        ({"x-cloud-trace-context": f"{TRACE}/18446744073709551615;o=0"}, "f" * 16, False),
        ({"x-cloud-trace-context": TRACE}, "0" * 16, False),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, "00f067aa0ba902b7", True),
    ],
)
def test_a_line_names_the_trace_of_its_request(desk, headers, span, sampled):
    desk.ask("/predict", json.dumps({"instances": [desk.seen()]}).encode(), headers)
    (line,) = lines(desk)
    assert line[f"{FIELD}/trace"] == f"projects/desk-7/traces/{TRACE}"
    assert line[f"{FIELD}/spanId"] == span
    assert line[f"{FIELD}/trace_sampled"] is sampled


@pytest.mark.parametrize("value", [b"", b"x", TRACE[:-1].encode(), TRACE.upper().encode(), f"{TRACE}/x".encode()])
def test_what_is_no_trace_is_left_out(value):
    assert trace_fields({b"x-cloud-trace-context": value, b"traceparent": value}, "desk-7") == {}


def test_a_line_holds_its_request_as_cloud_logging_shows_it_and_no_more_elsewhere(desk, mlp):
    body = json.dumps({"instances": [desk.seen()]}).encode()
    status, _, answer = desk.ask("/predict", body, {"user-agent": "desk/1 \xff"})
    request = lines(desk)[0]["httpRequest"]
    types = messages("logging.v2")
    check(request, types["HttpRequest"], types)
    assert request["status"] == status == 200
    assert request["responseSize"] == str(len(answer))
    assert float(request["latency"].removesuffix("s")) > 0
    mlp.ask("/predict", body, {"x-cloud-trace-context": TRACE})
    assert not any(key.startswith(("http", "logging")) for key in lines(mlp)[0])


def test_a_fault_is_an_error_event_without_the_text_of_the_error(desk, monkeypatch):
    def broken(self, observation, carry=None):
        raise RuntimeError("1234.5 of a request")

    monkeypatch.setattr(Model, "predict", broken)
    assert desk.ask("/predict", json.dumps({"instances": [desk.seen()]}).encode())[0] == 500
    (line,) = lines(desk)
    types = messages("clouderrorreporting.v1beta1")
    check(line["serviceContext"], types["ServiceContext"], types)
    assert (line["severity"], line["@type"]) == ("ERROR", REPORTED)
    first, *frames, last = line["stack_trace"].splitlines()
    assert first == "Traceback (most recent call last):"
    assert all(frame.startswith('  File "') for frame in frames)
    assert frames[-1].endswith("in broken")
    assert last.startswith("RuntimeError: ")
    assert "1234.5" not in desk.lines.getvalue()


def test_a_long_stack_keeps_its_inner_end():
    def deep(k):
        return deep(k - 1) if k else 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        deep(200)
    stack = error_event(caught.value)["stack_trace"]
    assert len(stack) < MOST_STACK + 100
    assert stack.splitlines()[1] == "  ..."
    assert stack.splitlines()[-2].endswith("in deep")
