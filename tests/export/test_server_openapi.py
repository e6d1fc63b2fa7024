"""/openapi.json is valid, and what it says is what the server does."""

import json

import pytest
from serving import Desk

pytest_plugins = ["server_fixtures"]
validator = pytest.importorskip("openapi_spec_validator")
jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def desk(bundles):
    return Desk(bundles["mlp"])


@pytest.fixture(scope="module")
def told(desk):
    return json.loads(desk.ask("/openapi.json")[2])


def fits(told, value, schema):
    """Refuses a value that a schema of the description does not allow."""
    jsonschema.Draft202012Validator(schema | {"components": told["components"]}).validate(value)


def operations(told):
    """(path, method, operation)."""
    return [
        (path, method, item[method])
        for path, item in told["paths"].items()
        for method in ("get", "post")
        if method in item
    ]


def test_the_description_is_valid(told):
    validator.validate(told)


def test_the_description_has_every_route_and_no_other(desk, told):
    routes = {route.path: route.endpoint.method.lower() for route in desk.app.routes() if route.endpoint.method != "*"}
    assert {path: method for path, method, _ in operations(told)} == routes


def test_every_operation_says_its_errors_and_whether_it_needs_a_key(desk, told):
    needs_key = {route.path: not route.endpoint.is_open for route in desk.app.routes()}
    for path, _, operation in operations(told):
        assert {"200", "405", "500"} <= operation["responses"].keys()
        security = operation.get("security", told["security"])
        assert bool(security) == needs_key[path] == ("401" in operation["responses"]), path
    assert told["components"]["securitySchemes"].keys() == {"key", "bearer"}


def test_every_field_is_explained_and_examples_are_allowed(told):
    parts = told["components"]["schemas"]
    for name in (
        "Columns",
        "Holding",
        "AccountIn",
        "Instance",
        "AssetOut",
        "ModelOut",
        "CandleOut",
        "FillOut",
        "Answer",
    ):
        for field, schema in parts[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"
            for example in schema.get("examples", []):
                fits(told, example, schema)
    for path, _, operation in operations(told):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert content is None or content["examples"], path
        for example in (content or {}).get("examples", {}).values():
            fits(told, example["value"], content["schema"])


@pytest.mark.parametrize(
    ("path", "field"), [("/predict", "instances"), ("/v2/models/{name}/infer", "inputs"), ("/health/live", None)]
)
def test_requests_and_answers_are_as_described(desk, told, path, field):
    rows = desk.golden["observation"][:1]
    tensor = {"name": "observation", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}
    bodies = {"instances": [[desk.asked()], [desk.seen()], [], [desk.seen(candles={})]], "inputs": [[tensor], []]}
    operation = told["paths"][path]["post" if field else "get"]
    for value in bodies.get(field, [None]):
        body = None if value is None else json.dumps({field: value}).encode()
        status, _, answer = desk.ask(path.replace("{name}", "mlp"), body)
        fits(told, json.loads(answer), operation["responses"][str(status)]["content"]["application/json"]["schema"])
        if body is not None and status == 200:
            fits(told, json.loads(body), operation["requestBody"]["content"]["application/json"]["schema"])
        elif field == "instances":
            with pytest.raises(jsonschema.ValidationError):
                fits(told, json.loads(body), operation["requestBody"]["content"]["application/json"]["schema"])


def test_no_method_but_the_described_ones_is_answered(desk, told):
    for path, method, operation in operations(told):
        other = {"get": "POST", "post": "GET"}[method]
        status, headers, answer = desk.ask(path.replace("{name}", "mlp").replace("{version}", "1"), b"", method=other)
        assert (status, headers[b"allow"]) == (405, method.upper().encode())
        fits(told, json.loads(answer), operation["responses"]["405"]["content"]["application/json"]["schema"])
