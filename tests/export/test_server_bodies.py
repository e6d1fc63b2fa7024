"""Bodies that are no JSON, or JSON as tables and Python write it."""

import json

import numpy as np
import pytest
from serving import Desk

pytest_plugins = ["server_fixtures"]


@pytest.fixture(scope="module")
def desk(bundles):
    return Desk(bundles["mlp"])


def refusal(desk, body, path="/predict"):
    """Field and message of a body that is refused."""
    status, _, answer = desk.ask(path, body)
    assert status == 400, answer
    error = json.loads(answer)["error"]
    return tuple(error.split(": ", 1)) if isinstance(error, str) else (error["field"], error["message"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_nan_is_named_with_its_field(desk, value):
    instance = desk.asked()
    instance["candles"]["SYN1"]["volume"][3] = value
    instance["account"]["equity"] = value  # a second one changes nothing
    field, message = refusal(desk, json.dumps({"instances": [desk.seen(), instance]}).encode())
    assert field == "instances[1].candles.SYN1.volume[3]"
    assert message == f"{json.dumps(value)} is no JSON number"
    tensor = {"name": "observation", "shape": [1, 2], "datatype": "FP32", "data": [[0.0, value]]}
    field, _ = refusal(desk, json.dumps({"inputs": [tensor]}).encode(), "/v2/models/mlp/infer")
    assert field == "inputs[0].data[0][1]"


def test_words_in_texts_are_no_constants(desk):
    assert refusal(desk, b'{"instances": [{"stream": "NaN", "x": 1}]}') == ("instances[0].x", "unknown field")
    assert refusal(desk, b'{"instances": [{"stream": "NaN",}]}')[1].startswith("no JSON: JSON is malformed")
    assert refusal(desk, b"NaN") == ("body", "NaN is no JSON number")
    assert refusal(desk, b"[" * 100_000 + b"NaN")[0] == "body"


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_named(desk, coding):
    body = json.dumps({"instances": [desk.seen()]}).encode(coding)
    assert "byte order mark (BOM)" in refusal(desk, body)[1]
    assert "byte order mark (BOM)" in refusal(desk, body, "/v2/models/mlp/infer")[1]


@pytest.mark.parametrize("name", [b"request.json", b"./out/my-request.json\n", b"~/request.json"])
def test_the_name_of_a_file_is_told_from_what_is_in_it(desk, name):
    for path in ("/predict", "/v2/models/mlp/infer"):
        assert "-d @request.json" in refusal(desk, name, path)[1]
    assert "@" not in refusal(desk, b"{" + name)[1]


def test_whole_numbers_written_as_floats_are_times(desk):
    instance = desk.asked()
    found = desk.one(instance)
    for columns in instance["candles"].values():
        columns["time"] = np.array(columns["time"], np.float64).tolist()
    assert b".0" in json.dumps(instance["candles"]["SYN1"]["time"]).encode()
    assert desk.one(instance) == found
    instance["candles"]["SYN2"]["time"][5] += 0.5
    field, message = refusal(desk, json.dumps({"instances": [instance]}).encode())
    assert field == "instances[0].candles.SYN2.time[5]"
    assert message.endswith(".5; allowed: whole milliseconds since 1970")
