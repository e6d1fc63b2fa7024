"""Open Inference Protocol, version 2, over HTTP: JSON and binary tensors, as tritonclient speaks it.

Source: KServe, "Open Inference Protocol (V2)"; Triton, "Binary tensor data extension".
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

from export.serving.answers.inputs import MOST, beyond, check_gross
from export.serving.answers.predict import run
from export.serving.models.model_store import ServedModel
from export.serving.requests.errors import ApiError, invalid, too_large
from export.serving.requests.http import Call, Reply, Row, Service
from export.serving.requests.malformed import no_json
from export.serving.requests.schemas import explain

HEADER = b"inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "model_configuration")
MOST_CARRY = 1e6
Size = Annotated[int, Meta(ge=0, le=2**31)]
Parameters = dict[str, Any] | None  # free for clients; unknown ones are ignored


class Tensor(Struct, forbid_unknown_fields=True):
    """One input."""

    name: str
    shape: Annotated[list[Size], Meta(extra_json_schema={"minItems": 1})]
    datatype: str
    parameters: Parameters = None
    data: list[Any] | None = None


class Wanted(Struct, forbid_unknown_fields=True):
    """One output that is asked for."""

    name: str
    parameters: Parameters = None


class Infer(Struct, forbid_unknown_fields=True):
    """The JSON part of an inference request."""

    inputs: Annotated[list[Tensor], Meta(extra_json_schema={"minItems": 1})]
    id: Annotated[str, Meta(max_length=256)] | None = None
    model_name: str | None = None  # KServe's SDK repeats the names of the path
    model_version: str | None = None
    parameters: Parameters = None
    outputs: list[Wanted] | None = None


INFER = msgspec.json.Decoder(Infer)


def routes(service: Service) -> list[Row]:
    """Lists the paths of the protocol; those that name no model need no key."""

    def ready(call: Call) -> Reply:
        return Reply(b'{"ready":true}') if service.is_ready() else Reply(b'{"ready":false}', status=503)

    def model_ready(call: Call) -> Reply:
        named(service, call)
        return ready(call)

    def infer(call: Call) -> Reply:
        served = named(service, call)
        call.note["model"] = served.info.hash[:12]
        body, head, rows = answer(served, call.body, call.headers, service.settings.predict_settings.max_rows)
        call.note["rows"] = rows
        service.metrics.predictions.inc(rows)
        if head is None:
            return Reply(body)
        return Reply(body, b"application/octet-stream", headers=((HEADER, b"%d" % head),))

    table: list[Row] = [
        ("/v2", "GET", lambda call: Reply(msgspec.json.encode(server_metadata())), True),
        ("/v2/health/live", "GET", lambda call: Reply(b'{"live":true}'), True),
        ("/v2/health/ready", "GET", ready, True),
    ]
    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        table += [
            (base, "GET", lambda call: Reply(msgspec.json.encode(model_metadata(named(service, call)))), False),
            (f"{base}/ready", "GET", model_ready, False),
            (f"{base}/infer", "POST", infer, False),
        ]
    return table


def named(service: Service, call: Call) -> ServedModel:
    """Returns the model that a path names.

    Raises:
        ApiError: 404, it is not the served model.
    """
    served = service.served()
    version = call.path.get("version", served.info.version)
    if (call.path["name"], version) != (served.info.name, served.info.version):
        what = f"{call.path['name'][:64]} {version[:64]} is not served; {served.info.name} {served.info.version} is"
        raise ApiError(404, "model", "model", what)
    return served


def server_metadata() -> dict[str, Any]:
    """`GET /v2`."""
    from himari_jax import __version__

    return {"name": "himari-jax", "version": __version__, "extensions": EXTENSIONS}


def model_metadata(served: ServedModel) -> dict[str, Any]:
    """`GET /v2/models/NAME`."""
    return {
        "name": served.info.name,
        "versions": [served.info.version],
        "platform": "onnxruntime_onnx",
        "inputs": tensors_metadata(served.model.inputs),
        "outputs": tensors_metadata(served.model.outputs),
    }


def tensors_metadata(shapes: Mapping[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    """Describes tensors as the protocol does; -1 is the batch."""
    return [{"name": name, "datatype": "FP32", "shape": (-1, *shape)} for name, shape in shapes.items()]


def answer(
    served: ServedModel, body: bytes, headers: dict[bytes, bytes], max_rows: int
) -> tuple[bytes, int | None, int]:
    """Returns the body of the answer, the length of its JSON where binary tensors follow, and its rows.

    Raises:
        ApiError: names the tensor.
    """
    request, blob = split(body, headers)
    check_name(served, request)
    tensors = read_tensors(served, request.inputs, blob, max_rows)
    observation = tensors.pop("observation")
    carry = tuple(tensors[name] for name in served.model.memory)
    wanted = choose(served, request)
    found = run(served, observation, carry)
    served.answered.append(observation)
    named = dict(zip(served.model.outputs, (found.multiplier, found.value, *found.carry), strict=True))
    text, head = encode(served, request.id or "", {name: (named[name], binary) for name, binary in wanted.items()})
    return text, head, len(observation)


def check_name(served: ServedModel, request: Infer) -> None:
    """Refuses a body that names another model than the path, where it names one."""
    for field, given, allowed in (
        ("model_name", request.model_name, served.info.name),
        ("model_version", request.model_version, served.info.version),
    ):
        if given and given != allowed:
            raise invalid(field, f"{given[:64]!r}; the path asks for {allowed!r}")


def split(body: bytes, headers: dict[bytes, bytes]) -> tuple[Infer, bytes]:
    """Splits a body into its JSON and the binary tensors."""
    info = headers.get(HEADER, b"%d" % len(body))
    if not info.isdigit() or len(info) > 12 or int(info) > len(body):
        raise invalid("Inference-Header-Content-Length", f"allowed: 0 to the {len(body)} bytes of the body")
    text = body[: int(info)]
    try:
        return INFER.decode(text), body[int(info) :]
    except msgspec.ValidationError as error:
        raise explain(str(error), text) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise no_json(text, error) from None


def read_tensors(served: ServedModel, inputs: list[Tensor], blob: bytes, max_rows: int) -> dict[str, np.ndarray]:
    """Reads all inputs of the model: each once, of one batch, within its limits, without bytes left over."""
    shapes = served.model.inputs
    found: dict[str, np.ndarray] = {}
    for tensor in inputs:
        if tensor.name not in shapes or tensor.name in found:
            raise invalid(tensor.name[:64] or "name", f"given twice or unknown; allowed: {', '.join(shapes)}")
        if tensor.datatype != "FP32":
            raise invalid(tensor.name, f"datatype {tensor.datatype[:16]}; allowed: FP32")
        shape = tuple(tensor.shape)
        if shape[1:] != shapes[tensor.name] or not shape or not shape[0]:
            raise invalid(tensor.name, f"shape {shape}; allowed: (B, {', '.join(map(str, shapes[tensor.name]))})")
        if shape[0] > max_rows:
            raise too_large(tensor.name, f"{shape[0]} rows; allowed: {max_rows}")
        values, blob = read_values(tensor, shape, blob)
        found[tensor.name] = within(served, tensor.name, values)
    if missing := [name for name in shapes if name not in found]:
        raise invalid(missing[0], "missing")
    if blob:
        raise invalid("body", f"{len(blob)} bytes more than the tensors need")
    if len({len(x) for x in found.values()}) > 1:
        raise invalid("carry_0", "another number of rows than observation")
    return found


def read_values(tensor: Tensor, shape: tuple[int, ...], blob: bytes) -> tuple[np.ndarray, bytes]:
    """Reads a tensor, float64, out of JSON or the binary part; returns it and the rest of the binary part."""
    size, count = (tensor.parameters or {}).get("binary_data_size"), int(np.prod(shape))
    if (size is None) == (tensor.data is None):
        raise invalid(tensor.name, "give either data or the parameter binary_data_size")
    if size is not None:
        if size != 4 * count or isinstance(size, bool) or len(blob) < size:
            raise invalid(tensor.name, f"{size} bytes, {len(blob)} given; allowed: {4 * count}")
        return np.frombuffer(blob[: 4 * count], "<f4").astype(np.float64).reshape(shape), blob[4 * count :]
    try:
        flat = np.array(msgspec.convert(flatten(tensor.data), list[float]), np.float64)
    except (msgspec.ValidationError, OverflowError):
        raise invalid(tensor.name, "data is not of numbers alone") from None
    if flat.size != count:
        raise invalid(tensor.name, f"{flat.size} numbers; the shape {shape} has {count}")
    return flat.reshape(shape), blob


def flatten(data: Any) -> list[Any]:
    """Flattens nested lists of numbers, row by row; a tensor here has three levels at the most."""
    for _ in range(3):
        if not any(isinstance(x, list) for x in data):
            return list(data)
        data = [y for x in data for y in (x if isinstance(x, list) else [x])]
    return list(data)


def within(served: ServedModel, name: str, values: np.ndarray) -> np.ndarray:
    """Checks the numbers of a tensor against the limits of the policy; returns float32."""
    limits = served.limits if name == "observation" else np.full(1, min(MOST_CARRY, MOST))
    good = np.abs(values) <= limits
    if not good.all():
        row, *place = (int(x) for x in np.argwhere(~good)[0])
        what = f"{values[(row, *place)]:g}; allowed: -{limits[0]:g} to {limits[0]:g}"
        if name == "observation":
            what = beyond(served, values[row], place[0])
        raise invalid(f"{name}[{row}]", what)
    if name == "observation":
        gross = values[:, served.weight_places].sum(1)
        row = int(np.argmax(gross))
        check_gross(served, float(gross[row]), f"{name}[{row}]")
    return values.astype(np.float32)


def choose(served: ServedModel, request: Infer) -> dict[str, bool]:
    """Returns the requested outputs by name, and whether each is wanted as bytes."""
    names = served.model.outputs
    every = asks_bytes(request.parameters, "binary_data_output", False, "parameters")
    if not request.outputs:
        return dict.fromkeys(names, every)
    for wanted in request.outputs:
        if wanted.name not in names:
            raise invalid(f"outputs.{wanted.name[:64]}", f"unknown; allowed: {', '.join(names)}")
        if "classification" in (wanted.parameters or {}):
            raise invalid(f"outputs.{wanted.name}", "classification is not offered")
    return {
        wanted.name: asks_bytes(wanted.parameters, "binary_data", every, f"outputs.{wanted.name}.parameters")
        for wanted in request.outputs
    }


def asks_bytes(parameters: Parameters, name: str, default: bool, field: str) -> bool:
    """Whether an output is wanted as bytes; null and absence leave the default."""
    value = (parameters or {}).get(name)
    if not isinstance(value, bool | None):
        raise invalid(f"{field}.{name}", "no boolean; allowed: true or false")
    return default if value is None else value


def encode(
    served: ServedModel, request_id: str, outputs: dict[str, tuple[np.ndarray, bool]]
) -> tuple[bytes, int | None]:
    """Encodes the answer: JSON, then the binary tensors; returns it and the length of the JSON where there are any."""
    info, blobs = [], []
    for name, (values, binary) in outputs.items():
        values = np.ascontiguousarray(values, "<f4")
        entry: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
        if binary:
            blobs.append(values.tobytes())
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = values.ravel().tolist()
        info.append(entry)
    answer = {"model_name": served.info.name, "model_version": served.info.version, "outputs": info}
    text = msgspec.json.encode(answer | ({"id": request_id} if request_id else {}))
    return text + b"".join(blobs), len(text) if blobs else None
