import json

import numpy as np
import pytest
from serving import Desk, running

pytest_plugins = ["server_fixtures"]
triton = pytest.importorskip("tritonclient.http")


def tensors(arrays, binary):
    """Inputs of tritonclient."""
    made = []
    for name, values in arrays.items():
        tensor = triton.InferInput(name, list(values.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(values, np.float32), binary_data=binary)
        made.append(tensor)
    return made


def wanted(names, binary):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


@pytest.fixture(params=[False, True], ids=["json", "binary"])
def binary(request):
    return request.param


def test_tritonclient_gets_the_golden_answers(mlp, binary):
    with running(mlp.app) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("mlp")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_configuration"]
        metadata = client.get_model_metadata("mlp", mlp.model.version)
        assert metadata["inputs"] == [{"name": "observation", "datatype": "FP32", "shape": [-1, mlp.model.width]}]
        inputs = tensors({"observation": mlp.golden["observation"]}, binary)
        for outputs in (None, wanted(("value", "multiplier"), binary)):
            for packing in (None, "gzip", "deflate"):
                answer = client.infer(
                    "mlp", inputs, outputs=outputs, request_id="7", request_compression_algorithm=packing
                )
                np.testing.assert_allclose(answer.as_numpy("multiplier"), mlp.golden["multiplier"], rtol=0, atol=1e-6)
                np.testing.assert_allclose(answer.as_numpy("value"), mlp.golden["value"], rtol=1e-5, atol=1e-6)
                assert answer.get_response()["id"] == "7"


def test_json_and_binary_give_the_same_numbers_and_a_mix_too(lstm):
    rng = np.random.default_rng(0)
    arrays = {"observation": lstm.golden["observation"][:5]}
    arrays |= {f"carry_{i}": rng.uniform(-1, 1, (5, *s)) for i, s in enumerate(lstm.model.carry_shapes)}
    names = ("multiplier", "value", *(name for name in arrays if name != "observation"))
    found = []
    with running(lstm.app) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for mode in (False, True):
            answer = client.infer("lstm", tensors(arrays, mode), outputs=wanted(names, mode))
            found.append([answer.as_numpy(name) for name in names])
        mixed = [*tensors({"observation": arrays["observation"]}, True)]
        mixed += tensors({name: x for name, x in arrays.items() if name != "observation"}, False)
        outputs = wanted(names[:1], True) + wanted(names[1:], False)
        answer = client.infer("lstm", mixed, outputs=outputs)
        found.append([answer.as_numpy(name) for name in names])
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_carry_travels_through_the_golden_rollout(lstm, binary):
    carry = {f"carry_{i}": np.zeros((1, *shape), np.float32) for i, shape in enumerate(lstm.model.carry_shapes)}
    with running(lstm.app) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for k in range(50):
            rows = {"observation": lstm.golden["observation"][k : k + 1], **carry}
            answer = client.infer("lstm", tensors(rows, binary))
            np.testing.assert_allclose(
                answer.as_numpy("multiplier")[0], lstm.golden["multiplier"][k], rtol=0, atol=1e-6
            )
            carry = {name: answer.as_numpy(name) for name in carry}


def test_tritonclient_raises_with_the_servers_words(mlp):
    with running(mlp.app) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        rows = np.full((1, mlp.model.width), np.nan)
        with pytest.raises(triton.InferenceServerException, match=r"observation\[0\].*price = nan"):
            client.infer("mlp", tensors({"observation": rows}, True))
        assert not client.is_model_ready("other")


def good(desk):
    rows = desk.golden["observation"][:2]
    return {
        "inputs": [{"name": "observation", "shape": list(rows.shape), "datatype": "FP32", "data": rows.tolist()}],
    }


def tensor(**changes):
    """Changes the only input."""
    return lambda request: request["inputs"][0].update(changes)


BAD = {
    "another name": (tensor(name="x"), "x"),
    "twice": (lambda r: r["inputs"].append(r["inputs"][0]), "observation"),
    "none": (lambda r: r.update(inputs=[]), "observation"),
    "no inputs": (lambda r: r.pop("inputs"), "inputs"),
    "another type": (tensor(datatype="FP64"), "observation"),
    "another width": (tensor(shape=[2, 33]), "observation"),
    "another batch": (tensor(shape=[3, 34]), "observation"),
    "no batch": (tensor(shape=[34]), "observation"),
    "no rows": (tensor(shape=[0, 34], data=[]), "observation"),
    "no shape": (tensor(shape=[]), "observation"),
    "negative shape": (tensor(shape=[-1, 34]), "inputs[0].shape[0]"),
    "endless shape": (tensor(shape=[2**60, 34]), "inputs[0].shape[0]"),
    "null": (tensor(data=[None] * 68), "observation"),
    "text": (tensor(data=["1"] * 68), "observation"),
    "1e39": (tensor(data=[1e39] * 68), "observation[0]"),
    "many digits": (tensor(data=[10**400] * 68), "observation"),
    "beyond": (tensor(data=[0.0] * 34 + [0.0] * 33 + [1001.0]), "observation[1]"),
    "deep": (tensor(data=[[[[[0.0]]]]]), "observation"),
    "no data": (lambda r: r["inputs"][0].pop("data"), "observation"),
    "bytes that are not there": (tensor(data=None, parameters={"binary_data_size": 272}), "observation"),
    "bytes of another size": (tensor(data=None, parameters={"binary_data_size": 4}), "observation"),
    "negative bytes": (tensor(data=None, parameters={"binary_data_size": -4}), "observation"),
    "bytes as text": (tensor(data=None, parameters={"binary_data_size": "272"}), "observation"),
    "bytes as true": (tensor(data=None, parameters={"binary_data_size": True}), "observation"),
    "data and bytes": (tensor(parameters={"binary_data_size": 272}), "observation"),
    "unknown output": (lambda r: r.update(outputs=[{"name": "action"}]), "outputs.action"),
    "unknown key": (lambda r: r.update(signature=1), "signature"),
}


@pytest.fixture(scope="module")
def desk(bundles):
    return Desk(bundles["mlp"])


@pytest.mark.parametrize("name", BAD)
def test_bad_tensors_are_refused_by_name(desk, name):
    change, field = BAD[name]
    request = good(desk)
    assert desk.ask("/v2/models/mlp/infer", json.dumps(request).encode())[0] == 200
    change(request)
    status, _, answer = desk.ask("/v2/models/mlp/infer", json.dumps(request).encode())
    assert status == 400
    assert json.loads(answer)["error"].startswith(f"{field}: "), answer


@pytest.mark.parametrize("length", ["", "-1", "x", "99999999", "9" * 5000, "3", "0"])
def test_a_header_length_that_is_wrong_is_refused(desk, length):
    body = json.dumps(good(desk)).encode()
    headers = {"inference-header-content-length": length}
    assert desk.ask("/v2/models/mlp/infer", body, headers)[0] == 400
    headers = {"inference-header-content-length": str(len(body))}
    assert desk.ask("/v2/models/mlp/infer", body, headers)[0] == 200
    assert desk.ask("/v2/models/mlp/infer", body + b"1234", headers)[0] == 400


def test_limits_and_names(desk):
    rows = np.zeros((1025, 34))
    request = {"inputs": [{"name": "observation", "shape": [1025, 34], "datatype": "FP32", "data": rows.tolist()}]}
    assert desk.ask("/v2/models/mlp/infer", json.dumps(request).encode())[0] == 413
    assert desk.ask("/v2/models/other/infer", b"{}")[0] == 404
    assert desk.ask("/v2/models/mlp/versions/0/infer", b"{}")[0] == 404
    path = f"/v2/models/mlp/versions/{desk.model.version}/infer"
    assert desk.ask(path, json.dumps(good(desk)).encode())[0] == 200


def test_a_recurrent_model_needs_its_carry(lstm):
    status, _, answer = lstm.ask("/v2/models/lstm/infer", json.dumps(good(lstm)).encode())
    assert status == 400
    assert json.loads(answer)["error"] == "carry_0: missing"
