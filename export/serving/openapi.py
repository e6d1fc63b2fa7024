"""`/openapi.json`, made from the types that requests are decoded with, and `/docs`, a page made of assets/."""

from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import msgspec

from export.serving.schemas import Request, Response

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "field", "message"],
            "properties": {name: {"type": "string"} for name in ("code", "field", "message")},
        }
    },
}
SIMPLE = {
    "/health/live": "The process runs.",
    "/health/ready": "A verified model is loaded and the server is not draining; else 503.",
    "/manifest": "Signature of the model and what made it.",
    "/metrics": "Prometheus.",
    "/v2": "Open Inference Protocol: the server.",
    "/v2/health/live": "Open Inference Protocol: the process runs.",
    "/v2/health/ready": "Open Inference Protocol: ready for requests.",
}
REFUSALS = {
    "400": "not allowed",
    "401": "key",
    "408": "too slow",
    "409": "of another model, stream, symbol, bar or feature set",
    "413": "too large",
    "415": "content-encoding",
    "503": "no model",
}


@cache
def openapi(predict_route: str) -> bytes:
    """OpenAPI 3.1 of the server."""
    (ask, tell), parts = msgspec.json.schema_components((Request, Response), ref_template="#/components/schemas/{name}")
    content = {"application/json": {"schema": ask}}
    answers: dict[str, Any] = {
        "200": {"description": "One prediction for each instance.", "content": {"application/json": {"schema": tell}}}
    }
    for status, what in REFUSALS.items():
        schema = {"schema": {"$ref": "#/components/schemas/Error"}}
        answers[status] = {"description": what, "content": {"application/json": schema}}
    paths: dict[str, Any] = {
        path: {"get": {"summary": text, "responses": {"200": {"description": "yes"}, "503": {"description": "no"}}}}
        for path, text in SIMPLE.items()
    }
    body = {"required": True, "content": content}
    paths[predict_route] = {"post": {"summary": "Position multipliers.", "requestBody": body, "responses": answers}}
    scheme = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "HIMARI JAX", "version": "1", "description": "Position multipliers of a trained policy."},
            "paths": paths,
            "components": {"schemas": {**parts, "Error": ERROR}, "securitySchemes": scheme},
            "security": [{}, {"key": []}],
        }
    )


@cache
def docs(predict_route: str) -> bytes:
    """A page on which a person can fill in a request, send it and read the answer; it needs nothing from elsewhere."""
    assets = files("export.serving") / "assets"
    page, style, script = ((assets / f"docs.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return Template(page).substitute(style=style, script=script, route=escape(predict_route)).encode()
