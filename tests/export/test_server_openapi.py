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
def spec(desk):
    return json.loads(desk.ask("/openapi.json")[2])


def fits(spec, value, schema):
    """Refuses a value that a schema of the description does not allow."""
    jsonschema.Draft202012Validator(schema | {"components": spec["components"]}).validate(value)


def operations(spec):
    """(path, method, operation)."""
    return [
        (path, method, item[method])
        for path, item in spec["paths"].items()
        for method in ("get", "post")
        if method in item
    ]


def test_the_description_is_valid(spec):
    validator.validate(spec)


def test_the_description_has_every_route_and_no_other(desk, spec):
    routes = {route.path: route.endpoint.method.lower() for route in desk.app.routes() if route.endpoint.method != "*"}
    assert {path: method for path, method, _ in operations(spec)} == routes


def test_every_operation_says_its_errors_and_whether_it_needs_a_key(desk, spec):
    needs_key = {route.path: not route.endpoint.is_open for route in desk.app.routes()}
    for path, _, operation in operations(spec):
        assert {"200", "405", "500"} <= operation["responses"].keys()
        security = operation.get("security", spec["security"])
        assert bool(security) == needs_key[path] == ("401" in operation["responses"]), path
    assert spec["components"]["securitySchemes"].keys() == {"key", "bearer"}


def test_every_field_is_explained_and_examples_are_allowed(spec):
    parts = spec["components"]["schemas"]
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
                fits(spec, example, schema)
    for path, _, operation in operations(spec):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert content is None or content["examples"], path
        for example in (content or {}).get("examples", {}).values():
            fits(spec, example["value"], content["schema"])


@pytest.mark.parametrize(
    ("path", "field"), [("/predict", "instances"), ("/v2/models/{name}/infer", "inputs"), ("/health/live", None)]
)
def test_requests_and_answers_are_as_described(desk, spec, path, field):
    rows = desk.golden["observation"][:1]
    tensor = {"name": "observation", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}
    bodies = {"instances": [[desk.asked()], [desk.seen()], [], [desk.seen(candles={})]], "inputs": [[tensor], []]}
    operation = spec["paths"][path]["post" if field else "get"]
    for value in bodies.get(field, [None]):
        body = None if value is None else json.dumps({field: value}).encode()
        status, _, answer = desk.ask(path.replace("{name}", "mlp"), body)
        fits(spec, json.loads(answer), operation["responses"][str(status)]["content"]["application/json"]["schema"])
        if body is not None and status == 200:
            fits(spec, json.loads(body), operation["requestBody"]["content"]["application/json"]["schema"])
        elif field == "instances":
            with pytest.raises(jsonschema.ValidationError):
                fits(spec, json.loads(body), operation["requestBody"]["content"]["application/json"]["schema"])


def test_no_method_but_the_described_ones_is_answered(desk, spec):
    for path, method, operation in operations(spec):
        other = {"get": "POST", "post": "GET"}[method]
        status, headers, answer = desk.ask(path.replace("{name}", "mlp").replace("{version}", "1"), b"", method=other)
        assert (status, headers[b"allow"]) == (405, method.upper().encode())
        fits(spec, json.loads(answer), operation["responses"]["405"]["content"]["application/json"]["schema"])
