"""`/openapi.json`, made from the types that requests are decoded with, and `/docs`, a page made of assets/."""

from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import msgspec

from export.serving.answers.open_inference import Infer
from export.serving.requests.schemas import Request, Response

PARTS = "#/components/schemas/{name}"
BYTES, TEXT, PAGE = "application/octet-stream", "text/plain", "text/html"
OPEN: list[dict[str, list[str]]] = []  # needs no key
KEY: list[dict[str, list[str]]] = [{}, {"key": []}, {"bearer": []}]  # needs one where the operator asks for it
NO_MODEL, NO_KEY = {"503": "no verified model, or draining"}, {"401": "the key is missing or wrong"}
NOT_SERVED = {"404": "another model or version than the served one"}
REFUSALS = {
    "400": "a value that is not allowed",
    **NO_KEY,
    "408": "the body came too slowly",
    "409": "of another model, stream, symbol, bar or feature set",
    "413": "too large",
    "415": "content-encoding",
    **NO_MODEL,
}
ALWAYS = {"405": "another method than the path has", "500": "a fault of the server, or an output that is not finite"}
ERROR = {
    "type": "object",
    "description": "Why a request got no answer.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "field", "message"],
            "properties": {
                "code": {"type": "string", "description": "Kind of the refusal.", "examples": ["stale"]},
                "field": {"type": "string", "description": "Where.", "examples": ["instances[0].candles"]},
                "message": {
                    "type": "string",
                    "description": "What is wrong and what is allowed.",
                    "examples": ["the newest candle ended 30.0 bars ago, at 2026-01-05T08:00Z; allowed: 2 bars"],
                },
            },
        }
    },
}
PLAIN_ERROR = {
    "type": "object",
    "description": "The same below /v2, as the protocol has it: one text.",
    "required": ["error"],
    "properties": {"error": {"type": "string", "examples": ["observation: missing"]}},
}
TENSOR_OUT = {
    "type": "object",
    "description": "One output of the model.",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "examples": ["multiplier"]},
        "datatype": {"const": "FP32"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "examples": [[1, 1]]},
        "parameters": {"type": "object", "description": "binary_data_size, where the numbers follow as bytes."},
        "data": {"type": "array", "items": {"type": "number"}, "description": "Row by row.", "examples": [[1.31]]},
    },
}
INFER_OUT = {
    "type": "object",
    "description": "Answer of the Open Inference Protocol.",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string", "description": "As it was given."},
        "outputs": {"type": "array", "minItems": 1, "items": {"$ref": PARTS.format(name="TensorOut")}},
    },
}
ACCOUNT = {"equity": 100000.0, "positions": {"BTC-USD": {"units": 3.2, "entry_price": 8069.6}}}
HASH = "hash of /manifest"
TENSOR = {"name": "observation", "shape": [1, 4], "datatype": "FP32", "data": [0.1, -0.2, 0.0, 0.0]}
HEADER = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Length of the JSON, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}
VERSIONED = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


@cache
def openapi(predict_route: str) -> bytes:
    """Makes the OpenAPI 3.1 document of the server."""
    parts = schemas()
    columns = {name: part["examples"][0] for name, part in parts["Columns"]["properties"].items()}
    asked = {
        "candles": {"instances": [{"candles": {"BTC-USD": columns}, "account": ACCOUNT}]},
        "observation": {"instances": [{"observation": TENSOR["data"], "features_hash": HASH}]},
    }
    predict = answers({"200": "one prediction for each instance"}, REFUSALS, ref("Response"))
    paths: dict[str, Any] = {predict_route: post("Position multipliers.", predict, body("Request", asked))}
    paths |= plain_paths() | protocol_paths()
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "HIMARI JAX",
            "version": "1",
            "description": "Position multipliers of a trained policy. What is refused names the field; there is never "
            "a substitute answer.",
        },
        "paths": paths,
        "components": {
            "schemas": parts,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": KEY,
    }
    return msgspec.json.encode(described)


def schemas() -> dict[str, Any]:
    """Returns schemas by name: of the types of /predict and of the protocol, and of errors."""
    _, parts = msgspec.json.schema_components((Request, Response, Infer), ref_template=PARTS)
    either = (("candles", "account"), ("observation", "features_hash"))
    parts["Instance"]["oneOf"] = [
        {"required": list(given), "not": {"required": [other[0]]}} for given, other in (either, either[::-1])
    ]
    parts["Instance"]["not"] = {"required": ["carry", "history"]}
    return parts | {"Error": ERROR, "PlainError": PLAIN_ERROR, "InferOut": INFER_OUT, "TensorOut": TENSOR_OUT}


def ref(name: str) -> dict[str, Any]:
    """Refers to a schema of the components."""
    return {"$ref": PARTS.format(name=name)}


def body(name: str, examples: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Describes a request body of JSON, and of the content types in `more`."""
    shown = {key: {"value": value} for key, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": ref(name), "examples": shown}} | more}


def answers(good: dict[str, str], refusals: dict[str, str], schema: Any, error: str = "Error") -> dict[str, Any]:
    """Describes responses by status: good ones by `schema`, refusals as JSON errors."""
    found: dict[str, Any] = {
        status: {"description": what, "content": {"application/json": {"schema": schema}}}
        for status, what in good.items()
    }
    for status, what in (refusals | ALWAYS).items():
        found.setdefault(status, {"description": what, "content": {"application/json": {"schema": ref(error)}}})
    return found


def get(summary: str, responses: dict[str, Any], security: list[dict[str, list[str]]] = KEY) -> dict[str, Any]:
    """Describes a GET operation."""
    return {"get": {"summary": summary, "responses": responses, "security": security}}


def post(summary: str, responses: dict[str, Any], content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describes a POST operation."""
    return {
        "post": {"summary": summary, "responses": responses} | ({} if content is None else {"requestBody": content})
    }


def plain_paths() -> dict[str, Any]:
    """Describes the paths of the server itself."""
    status = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
    yes, no = {"200": "yes"}, {"503": "no"}
    good = {"200": "as said"}
    metrics, page = answers(good, {}, {}), answers(good, {}, {})
    metrics["200"]["content"] = {TEXT: {"schema": {"type": "string"}}}
    page["200"]["content"] = {PAGE: {"schema": {"type": "string"}}}
    ready = "A verified model is loaded and the server is not draining."
    return {
        "/health/live": get("The process runs.", answers(yes, {}, status), OPEN),
        "/health/ready": get(ready, answers(yes | no, {}, status), OPEN),
        "/manifest": get(
            "Signature of the model and what made it.", answers(good, NO_KEY | NO_MODEL, {"type": "object"})
        ),
        "/metrics": get("Prometheus.", metrics, OPEN),
        "/openapi.json": get("This description.", answers(good, {}, {"type": "object"}), OPEN),
        "/docs": get("A page to try requests on.", page, OPEN),
    }


def protocol_paths() -> dict[str, Any]:
    """Describes the paths of the Open Inference Protocol, and of Triton's extensions that have an answer."""
    good, anything = {"200": "as the protocol has it"}, {"type": "object"}

    def plain(refusals: dict[str, str], schema: Any = anything, more: dict[str, str] | None = None) -> dict[str, Any]:
        return answers(good | (more or {}), refusals, schema, "PlainError")

    named, is_ready = NO_KEY | NOT_SERVED | NO_MODEL, {"503": "no"}
    limits = {status: REFUSALS[status] for status in ("400", "408", "413", "415")}
    listed = plain(NO_KEY | NO_MODEL | limits, {"type": "array", "items": anything})
    paths = {
        "/v2": get("Open Inference Protocol: the server.", plain({}), OPEN),
        "/v2/health/live": get("Open Inference Protocol: the process runs.", plain({}), OPEN),
        "/v2/health/ready": get("Open Inference Protocol: ready for requests.", plain({}, more=is_ready), OPEN),
        "/v2/repository/index": post(
            "Triton: the served model.", listed | {"400": listed["405"], "413": listed["405"]}
        ),
    }
    infer = plain(NOT_SERVED | REFUSALS, ref("InferOut"))
    infer["200"]["content"][BYTES] = {"schema": {"description": "JSON, then the tensors, as FP32."}}
    tensors = body("Infer", {"tensor": {"inputs": [TENSOR]}}, **{BYTES: {"schema": {}}})
    for base in VERSIONED:
        paths[base] = get("Open Inference Protocol: names and shapes of the tensors.", plain(named))
        paths[f"{base}/ready"] = get("Open Inference Protocol: the model is ready.", plain(named))
        paths[f"{base}/config"] = get("Triton: configuration of the model.", plain(named))
        paths[f"{base}/infer"] = post("Open Inference Protocol: tensors in, tensors out.", infer, tensors)
        paths[f"{base}/infer"]["post"]["parameters"] = [HEADER]
    for path, operations in paths.items():
        if "{name}" in path:
            operations["parameters"] = [
                {"name": part, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for part in ("name", "version")
                if f"{{{part}}}" in path
            ]
    return paths


@cache
def docs(predict_route: str) -> bytes:
    """Makes the page on which a person can fill in a request, send it and read the answer; self-contained."""
    assets = files("export.serving") / "assets"
    page, style, script = ((assets / f"docs.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return Template(page).substitute(style=style, script=script, route=escape(predict_route)).encode()
