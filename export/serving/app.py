"""The ASGI application: routes and who may ask them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.routing import Route, Router

from export.serving.answers import open_inference, triton
from export.serving.answers.openapi import docs, openapi
from export.serving.answers.predict import PredictSettings, answer, count_rows
from export.serving.endpoint import Endpoint, Scope, Send
from export.serving.models.model_store import ModelStore, ServedModel
from export.serving.requests.body import Receive
from export.serving.requests.cors import Cors
from export.serving.requests.errors import ApiError, not_ready
from export.serving.requests.http import Call, Reply, Row
from export.serving.requests.keys import Keys
from export.serving.requests.schemas import RESPONSES, decode_request
from export.serving.telemetry.telemetry import Log, Metrics
from himari_jax.errors import InputError
from himari_jax.live.clock import now_ms

PROBES = ("/health/live", "/health/ready")
OWN = ("/predict", *PROBES, "/metrics", "/manifest", "/openapi.json", "/docs", "/v2")


@dataclass(frozen=True)
class Settings:
    """The settings of the operator."""

    predict_settings: PredictSettings
    api_keys: Keys | None = None  # None: no key is asked for
    predict_route: str = "/predict"
    health_route: str = "/health/ready"
    max_body: int = 2**20
    read_seconds: float = 10.0
    max_connections: int = 1024
    project: str = ""  # of Google Cloud, for traces in the log; empty: elsewhere
    log_requests: bool = True
    cors_origins: tuple[str, ...] = ()  # of pages that browsers may let ask
    clock: Callable[[], int] = now_ms


class Application:
    """The ASGI application; `store` holds the model, `draining` is set when the process is to end."""

    def __init__(self, store: ModelStore, settings: Settings, metrics: Metrics, log: Log):
        self.store, self.settings, self.metrics, self.log = store, settings, metrics, log
        self.draining = False
        self.cors = Cors(settings.cors_origins) if settings.cors_origins else None
        routes = self.routes()
        self.router = Router(routes, redirect_slashes=False, default=Endpoint(self, "other", "*", nowhere))
        # A plain path needs no search through patterns.
        self.plain: dict[str, Any] = {route.path: route.endpoint for route in routes if not route.param_convertors}
        # What the protocol may answer without ASGI, by the bytes of its path.
        self.direct: dict[bytes, Endpoint] = {
            path.encode(): self.plain[path] for path in ("/predict", settings.predict_route)
        }
        self.probes = frozenset(path.encode() for path in (*PROBES, settings.health_route))

    def routes(self) -> list[Route]:
        """Lists every route; `open` ones need no key."""
        settings = self.settings
        table: list[Row] = [
            ("/predict", "POST", self.predict, False),
            ("/health/live", "GET", lambda call: Reply(b'{"status":"live"}'), True),
            ("/health/ready", "GET", self.ready, True),
            ("/metrics", "GET", lambda call: Reply(self.metrics.page(), b"text/plain; version=0.0.4"), True),
            ("/manifest", "GET", self.manifest, False),
            ("/openapi.json", "GET", lambda call: Reply(openapi(settings.predict_route)), True),
            ("/docs", "GET", lambda call: Reply(docs(settings.predict_route), b"text/html; charset=utf-8"), True),
            *open_inference.routes(self),
            *triton.routes(self),
        ]
        known = {path for path, *_ in table}
        extra = ((settings.predict_route, table[0]), (settings.health_route, table[2]))
        table += [(path, *rest) for path, (_, *rest) in extra if path not in known]  # type: ignore[misc]
        table.append(("/v2/{rest:path}", "*", nowhere_below_v2, False))
        return [Route(path, Endpoint(self, path, method, run, is_open)) for path, method, run, is_open in table]

    def served(self) -> ServedModel:
        """Returns the served model; a request takes it once, so that one model answers all of it."""
        if (served := self.store.current) is None:
            raise not_ready()
        return served

    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.store.current is not None and not self.draining

    def predict(self, call: Call) -> Reply:
        """`POST /predict`."""
        served = self.served()
        call.note["model"] = served.info.hash[:12]
        request = decode_request(call.body)
        response = answer(served, request, self.settings.predict_settings, self.settings.clock())
        call.note["rows"] = count_rows(request)
        self.metrics.predictions.inc(len(response.predictions))
        for prediction in response.predictions:
            for symbol, asset in prediction.symbols.items():
                self.metrics.answered(symbol, asset.multiplier)
        return Reply(RESPONSES.encode(response))

    def ready(self, call: Call) -> Reply:
        """`GET /health/ready`."""
        if self.is_ready():
            return Reply(b'{"status":"ready"}')
        return Reply(b'{"status":"%s"}' % (b"draining" if self.draining else b"no model"), status=503)

    def manifest(self, call: Call) -> Reply:
        """`GET /manifest`: the manifest of the model, and its hash."""
        served = self.served()
        return Reply(
            msgspec.json.encode(served.model.manifest), headers=((b"x-model-hash", served.info.hash.encode()),)
        )

    def drain(self) -> None:
        """Ends readiness; requests that still arrive are answered, with a header that closes the connection."""
        self.draining = True
        self.metrics.ready.set(0)

    def refusing(self, error: ApiError) -> Endpoint:
        """Makes the endpoint for a request that its headers alone forbid; the connection is closed."""

        def refuse(call: Call) -> Reply:
            raise error

        return Endpoint(self, "refused", "*", refuse)

    def allow(self, headers: dict[bytes, bytes]) -> None:
        """Refuses a request without the key, where there is one; takes the same time for every wrong one."""
        if self.settings.api_keys is None:
            return
        bearer = headers.get(b"authorization", b"")
        given = headers.get(b"x-api-key") or (bearer[7:].strip() if bearer[:7].lower() == b"bearer " else b"")
        if not self.settings.api_keys.accept(given):
            raise ApiError(401, "unauthorized", "x-api-key", "missing or wrong; X-API-Key or Authorization: Bearer")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request by ASGI."""
        await self.plain.get(scope.get("path", ""), self.router)(scope, receive, send)


def check_routes(predict: str, health: str) -> None:
    """Refuses routes of Vertex AI's environment that are already used.

    Raises:
        InputError: names the variable, the path and what is there.
    """
    for name, path, meant in (("AIP_PREDICT_ROUTE", predict, ("/predict",)), ("AIP_HEALTH_ROUTE", health, PROBES)):
        taken = path in OWN or path.startswith("/v2/")
        if taken and path not in meant:
            raise InputError(f"${name} {path}: is another route of this server; must be a path of its own")
    if predict == health:
        raise InputError(f"$AIP_HEALTH_ROUTE {health}: must be another path than $AIP_PREDICT_ROUTE")


def nowhere(call: Call) -> Reply:
    """Answers unknown paths with 404."""
    raise ApiError(404, "not_found", "path", "no such route; /docs lists them")


def nowhere_below_v2(call: Call) -> Reply:
    """Answers unknown paths of the protocol with 404 and, where there is one, the alternative."""
    raise triton.not_offered(f"/v2/{call.path['rest']}")
