"""Requests of clients of the Open Inference Protocol, with the bodies of KServe's SDK 0.21 and with tritonclient."""

import json

import numpy as np
import pytest
from serving import Desk, running

pytest_plugins = ["server_fixtures"]
triton = pytest.importorskip("tritonclient.http")
INFER = "/v2/models/mlp/infer"


@pytest.fixture(scope="module")
def desk(bundles):
    return Desk(bundles["mlp"])


@pytest.fixture(scope="module")
def locked(bundles):
    return Desk(bundles["mlp"], api_key=b"secret-key")


def kserve_body(desk, **more):
    """`InferRequest.to_rest()` of kserve 0.21.0, JSON mode: data of a row-major list, the name of the model again."""
    rows = desk.golden["observation"][:2]
    data = rows.ravel().tolist()
    tensor = {"name": "observation", "shape": list(rows.shape), "datatype": "FP32", "data": data}
    return {"id": "8f1c6a3e-4d0c-4ae2-9c3b-9d2c3e8f7a10", "model_name": "mlp", "inputs": [tensor]} | more


def kserve_bytes(desk, parameters=None):
    """The same in binary mode: JSON, then the tensor; and the header with the length of the JSON."""
    body = kserve_body(desk)
    raw = np.asarray(body["inputs"][0].pop("data"), "<f4").tobytes()
    body["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    text = json.dumps(body | ({"parameters": parameters} if parameters else {})).encode()
    return text + raw, {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}


def outputs_of(answer, headers=None):
    """Numbers by name of an answer, JSON or binary."""
    length = int((headers or {}).get(b"inference-header-content-length", len(answer)))
    found, blob = {}, answer[length:]
    for tensor in json.loads(answer[:length])["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        values = tensor["data"] if size is None else np.frombuffer(blob[:size], "<f4")
        blob = blob[size or 0 :]
        found[tensor["name"]] = np.asarray(values, np.float32).reshape(tensor["shape"])
    assert not blob
    return found


def test_kserves_bodies_get_the_golden_numbers_json_and_binary_the_same(desk):
    status, _, answer = desk.ask(INFER, json.dumps(kserve_body(desk)).encode())
    assert status == 200, answer
    assert json.loads(answer)["id"] == kserve_body(desk)["id"]
    found = outputs_of(answer)
    np.testing.assert_allclose(found["multiplier"], desk.golden["multiplier"][:2], rtol=0, atol=1e-6)
    for parameters in (None, {"binary_data_output": True}):
        status, headers, answer = desk.ask(INFER, *kserve_bytes(desk, parameters))
        assert status == 200, answer
        for name, values in outputs_of(answer, headers).items():
            np.testing.assert_array_equal(values, found[name])


OPTIONAL = {
    "null members": {"id": None, "parameters": None, "outputs": None, "model_name": None, "model_version": None},
    "objects in parameters": {"parameters": {"headers": {"x": [1, {"y": None}]}, "priority": 1}},
    "null in outputs": {"outputs": [{"name": "multiplier", "parameters": None}, {"name": "value"}]},
    "objects in outputs": {"outputs": [{"name": n, "parameters": {"a": {}}} for n in ("multiplier", "value")]},
}


@pytest.mark.parametrize("more", OPTIONAL.values(), ids=OPTIONAL)
def test_optional_members_may_be_null_and_parameters_hold_anything(desk, more):
    plain = outputs_of(desk.ask(INFER, json.dumps(kserve_body(desk)).encode())[2])
    body = kserve_body(desk) | more
    body["inputs"][0] |= {"parameters": {"content_type": {"of": "np"}}}
    status, _, answer = desk.ask(INFER, json.dumps(body).encode())
    assert status == 200, answer
    for name, values in outputs_of(answer).items():
        np.testing.assert_array_equal(values, plain[name])


def test_a_body_may_name_the_version_and_is_refused_with_the_name_of_another_model(desk):
    body = kserve_body(desk, model_version=desk.model.version)
    assert desk.ask(INFER, json.dumps(body).encode())[0] == 200
    for field in ("model_name", "model_version"):
        status, _, answer = desk.ask(INFER, json.dumps(kserve_body(desk) | {field: "other"}).encode())
        assert status == 400
        assert json.loads(answer)["error"].startswith(f"{field}: 'other'; the path asks for ")
    wrong = kserve_body(desk, parameters={"binary_data_output": "false"})
    assert desk.ask(INFER, json.dumps(wrong).encode())[0] == 400  # text is no boolean, and "false" is not true


REFUSED = {
    "statistics": lambda client: client.get_inference_statistics("mlp"),
    "statistics of all": lambda client: client.get_inference_statistics(),
    "trace": lambda client: client.get_trace_settings(),
    "trace of a model": lambda client: client.update_trace_settings("mlp", {"trace_level": ["OFF"]}),
    "log": lambda client: client.get_log_settings(),
    "log level": lambda client: client.update_log_settings({"log_verbose_level": 1}),
    "load": lambda client: client.load_model("mlp"),
    "unload": lambda client: client.unload_model("mlp"),
    "memory": lambda client: client.get_system_shared_memory_status(),
    "memory of a device": lambda client: client.get_cuda_shared_memory_status("region"),
    "another model": lambda client: client.get_model_metadata("other"),
    "configuration of another": lambda client: client.get_model_config("other"),
    "another version": lambda client: client.get_model_config("mlp", "other"),
}


def test_tritonclient_can_print_every_refusal_and_gets_configuration_and_index(desk):
    with running(desk.app) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for name, ask in REFUSED.items():
            with pytest.raises(triton.InferenceServerException) as refusal:
                ask(client)
            assert refusal.value.message().startswith(("path: not offered; ", "model: ")), name
            assert str(refusal.value).startswith("[404] "), name
        known = {"name": "mlp", "version": desk.model.version}
        assert client.get_model_repository_index() == [known | {"state": "READY", "reason": ""}]
        config = client.get_model_config("mlp", desk.model.version)
        assert config == client.get_model_config("mlp")


def test_the_configuration_says_what_the_metadata_says(lstm):
    """perf_analyzer puts them together: with a largest batch the dimensions leave the batch out."""
    config = json.loads(lstm.ask("/v2/models/lstm/config")[2])
    metadata = json.loads(lstm.ask("/v2/models/lstm")[2])
    assert config["max_batch_size"] == 1024
    for part in ("input", "output"):
        for configured, tensor in zip(config[part], metadata[f"{part}s"], strict=True):
            assert configured["name"] == tensor["name"]
            assert configured["data_type"] == f"TYPE_{tensor['datatype']}"
            assert [-1, *configured.get("reshape", {"shape": configured["dims"]})["shape"]] == tensor["shape"]


@pytest.mark.parametrize("path", ["/v2/", "/v2/models", "/v2/models/", "/v2/models/mlp/nothing", "/v2/x/y", "/v2//"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_every_error_below_v2_is_a_text(desk, path, method):
    status, _, answer = desk.ask(path, b"{}", method=method)
    assert status == 404
    assert isinstance(json.loads(answer)["error"], str)
    status, _, answer = desk.ask("/v2/models/mlp/config", method="DELETE")
    assert status == 405
    assert isinstance(json.loads(answer)["error"], str)


BELOW = [
    "mlp",
    "other",
    "mlp/ready",
    "other/ready",
    "mlp/config",
    "mlp/versions/1",
    "mlp/versions/other/ready",
    "x/stats",
]


@pytest.mark.parametrize("path", [*(f"/v2/models/{name}" for name in BELOW), "/v2/repository/index", "/v2/nothing"])
def test_without_the_key_nothing_below_v2_tells_a_name(locked, path):
    method = "POST" if path.endswith("index") else "GET"
    keyless = locked.ask(path, method=method)
    assert keyless[0] == 401
    assert keyless[2] == locked.ask("/v2/models/made-up/infer", b"{}")[2]  # whatever is asked for
    assert b"mlp" not in keyless[2]
    assert locked.ask(path, method=method, headers={"x-api-key": "secret-key"})[0] in (200, 404)


def test_without_the_key_the_server_says_that_it_lives(locked):
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        status, _, answer = locked.ask(path)
        assert status == 200
        assert b"mlp" not in answer
