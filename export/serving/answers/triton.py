"""Paths below /v2 of Triton's extensions: those that have an answer, and a named refusal for the others.

Sources: Triton, "Model configuration", "Model repository", "Statistics", "Trace", "Logging" and "Shared memory"
extensions. perf_analyzer asks for the metadata of the server and of the model, then for the configuration.
"""

import re
from typing import Any

import msgspec

from export.serving.answers.open_inference import model_metadata, named
from export.serving.models.model_store import ServedModel
from export.serving.requests.errors import ApiError
from export.serving.requests.http import Call, Reply, Row, Service

MODEL = "/v2/models/{name}"
# Extensions that are not offered, by path, each with the alternative.
NOT_OFFERED = {
    r"/v2/models(/.*)?/stats": "statistics are in /metrics, for Prometheus",
    r"/v2/(models/.*/)?trace/setting": "there are no traces; the log has a line for each request",
    r"/v2/logging": "the log has no settings here; --quiet turns the lines for requests off",
    r"/v2/repository/.*": "models are exchanged by the folder that is served: its file CURRENT, or a newer version",
    r"/v2/(system|cuda)sharedmemory(/.*)?": "there is no shared memory; send tensors as JSON or binary",
    r"/v2/models/.*/(explain|generate|generate_stream|load|unload)": "the model can be asked for infer alone",
}


def routes(service: Service) -> list[Row]:
    """Lists the paths of Triton's extensions that have an answer."""

    def config(call: Call) -> Reply:
        served = named(service, call)
        return Reply(msgspec.json.encode(model_config(served, service.settings.predict_settings.max_rows)))

    def index(call: Call) -> Reply:
        served = service.served()
        state = {"state": "READY" if service.is_ready() else "UNAVAILABLE", "reason": ""}
        return Reply(msgspec.json.encode([{"name": served.info.name, "version": served.info.version, **state}]))

    return [
        (f"{MODEL}/config", "GET", config, False),
        (MODEL + "/versions/{version}/config", "GET", config, False),
        ("/v2/repository/index", "POST", index, False),
    ]


def model_config(served: ServedModel, max_rows: int) -> dict[str, Any]:
    """Makes Triton's configuration of the model; its dimensions leave the batch out."""
    about = model_metadata(served)
    tensors = {
        part: [
            # A scalar of each row has no dimension of its own: Triton writes [1] and reshapes it to [].
            {"name": tensor["name"], "data_type": "TYPE_FP32", "dims": list(tensor["shape"][1:]) or [1]}
            | ({} if tensor["shape"][1:] else {"reshape": {"shape": []}})
            for tensor in about[f"{part}s"]
        ]
        for part in ("input", "output")
    }
    backend = {"platform": about["platform"], "backend": "onnxruntime"}
    return {"name": about["name"], **backend, "max_batch_size": max_rows, **tensors}


def not_offered(path: str) -> ApiError:
    """Makes the error for a path below /v2 that is no route."""
    for pattern, way in NOT_OFFERED.items():
        if re.fullmatch(pattern, path):
            return ApiError(404, "not_offered", "path", f"not offered; {way}")
    return ApiError(404, "not_found", "path", "no such route below /v2; /docs lists them")
