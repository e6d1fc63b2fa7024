import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from serving import KEY, ROOT, Desk, multipliers

from export.runtime import Model

pytest_plugins = ["server_fixtures"]


@pytest.mark.parametrize("step", [0, 1, 100, 254, 255])
def test_candles_give_the_golden_answer(mlp, step):
    mlp.at(step)
    found = mlp.one(mlp.asked(step))
    np.testing.assert_allclose(multipliers(found), mlp.golden["multiplier"][step], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["value"], mlp.golden["value"][step], rtol=1e-5, atol=1e-6)


def test_an_observation_gives_the_golden_answer_and_a_batch_the_same(mlp):
    steps = range(0, 256, 5)
    status, answer = mlp.predict(*[mlp.seen(k) for k in steps])
    assert status == 200
    found = np.array([multipliers(x) for x in answer["predictions"]])
    np.testing.assert_allclose(found, mlp.golden["multiplier"][list(steps)], rtol=0, atol=1e-6)
    assert len(answer["predictions"]) == len(steps)


def test_positions_are_the_base_times_the_multiplier_within_the_caps(mlp):
    # SYN1: 10,000 x m lies below half of 100,000. SYN2: 90,000 x m does not, where m > 50/90.
    found = mlp.one(mlp.asked(base_position={"SYN1": 10_000, "SYN2": 90_000}))["symbols"]
    one, two = found["SYN1"], found["SYN2"]
    assert one["position"] == pytest.approx(10_000 * one["multiplier"])
    assert one["weight"] == pytest.approx(0.1 * one["multiplier"])
    assert not one["capped"]
    assert two["position"] == pytest.approx(50_000)
    assert two["capped"]


def test_the_own_base_of_constant_sizing_is_a_quarter_of_equity(mlp):
    # min(max_position_pct / 2, max_gross / N) = min(.25, .5)
    for instance in (mlp.asked(), mlp.seen(account={"equity": 1e5, "positions": {}})):
        for asset in mlp.one(instance)["symbols"].values():
            assert asset["position"] == pytest.approx(25_000 * asset["multiplier"], rel=1e-6)


def test_without_an_equity_there_is_no_money(mlp):
    found = mlp.one(mlp.seen())["symbols"]["SYN1"]
    assert found["position"] is None
    assert found["weight"] == pytest.approx(0.25 * found["multiplier"], rel=1e-6)


def test_an_unfinished_candle_changes_nothing(mlp):
    mlp.at(-2)
    assert mlp.one({"candles": mlp.candles(-1), "account": mlp.account(-2)}) == mlp.one(mlp.asked(-2))


def test_the_order_of_symbols_in_a_request_changes_nothing(mlp):
    turned = dict(reversed(mlp.candles().items()))
    assert mlp.one(mlp.asked() | {"candles": turned}) == mlp.one(mlp.asked())


def test_every_answer_names_its_model(mlp):
    info = mlp.one(mlp.seen())["model"]
    assert info == {"name": "mlp", "version": mlp.model.version, "hash": mlp.model.digest}


def test_routes_that_need_no_inference(mlp):
    assert mlp.ask("/health/live")[0] == 200
    assert mlp.ask("/health/ready")[0] == 200
    assert json.loads(mlp.ask("/manifest")[2])["features_hash"] == mlp.model.features_hash
    assert json.loads(mlp.ask("/openapi.json")[2])["paths"]["/predict"]["post"]["requestBody"]
    page = mlp.ask("/docs")[2].decode()
    assert "POST /predict" in page
    assert "//" not in page.replace("</", "")  # nothing is fetched from elsewhere
    assert mlp.ask("/nowhere")[0] == 404


def test_metrics_count_answers_and_refusals(mlp):
    mlp.one(mlp.seen())
    mlp.predict({})
    text = mlp.ask("/metrics")[2].decode()
    assert 'himari_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'himari_requests_total{route="/predict",status="400"} 1.0' in text
    assert 'himari_refusals_total{code="invalid"} 1.0' in text
    assert "himari_ready 1.0" in text
    assert f'hash="{mlp.model.digest}"' in text


def test_without_a_model_the_process_lives_and_predicts_nothing(tmp_path):
    empty = Desk(tmp_path)
    assert empty.ask("/health/live")[0] == 200
    assert empty.ask("/v2/health/live")[0] == 200
    for path in ("/health/ready", "/v2/health/ready", "/manifest", "/v2/models/mlp", "/v2/models/mlp/ready"):
        assert empty.ask(path)[0] == 503
    for path in ("/predict", "/v2/models/mlp/infer"):
        assert empty.ask(path, b"{}")[0] == 503


def test_draining_is_not_ready_but_answers(mlp):
    mlp.app.drain()
    assert mlp.ask("/health/ready")[0] == 503
    assert mlp.ask("/v2/health/ready")[0] == 503
    status, headers, _ = mlp.ask("/predict", json.dumps({"instances": [mlp.seen()]}).encode())
    assert (status, headers[b"connection"]) == (200, b"close")


def test_vertex_chooses_the_routes(bundles):
    desk = Desk(bundles["mlp"], predict_route="/v1/models/7:predict", health_route="/v1/models/7")
    assert desk.ask("/v1/models/7")[0] == 200
    body = json.dumps({"instances": [desk.seen()], "parameters": {}}).encode()
    assert desk.ask("/v1/models/7:predict", body)[0] == 200
    assert desk.ask("/predict", body)[0] == 200


OPEN = ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/v2", "/v2/health/ready")


def test_a_key_guards_what_a_model_says(bundles):
    desk = Desk(bundles["mlp"], api_key=b"correct horse")
    body = json.dumps({"instances": [desk.seen()]}).encode()
    for path, sent in (("/predict", body), ("/v2/models/mlp/infer", body), ("/manifest", None)):
        for wrong in (
            {},
            {"x-api-key": "wrong"},
            {"authorization": "Bearer wrong"},
            {"authorization": "correct horse"},
        ):
            assert desk.ask(path, sent, wrong)[0] == 401
    for right in ({"x-api-key": "correct horse"}, {"authorization": "Bearer correct horse"}):
        assert desk.ask("/predict", body, right)[0] == 200
    for path in OPEN:
        assert desk.ask(path)[0] == 200


def test_compressed_requests_are_answered_alike_and_bombs_are_refused(mlp):
    body = json.dumps({"instances": [mlp.asked()]}).encode()
    packed = {"content-encoding": "gzip"}
    assert mlp.ask("/predict", gzip.compress(body), packed)[2] == mlp.ask("/predict", body)[2]
    bomb = gzip.compress(b" " * 2**26)
    assert len(bomb) < 2**20
    assert mlp.ask("/predict", bomb, packed)[0] == 413
    assert mlp.ask("/predict", gzip.compress(body)[:-9], packed)[0] == 400
    assert mlp.ask("/predict", gzip.compress(body) + b"more", packed)[0] == 400
    assert mlp.ask("/predict", body, packed)[0] == 400
    assert mlp.ask("/predict", body, {"content-encoding": "br"})[0] == 415


def test_a_body_is_bounded_with_and_without_its_length(mlp):
    big = b" " * (2**20 + 1)
    assert mlp.ask("/predict", big, {"content-length": str(len(big))})[0] == 413
    assert mlp.ask("/predict", big)[0] == 413
    assert mlp.ask("/predict", b"", method="POST", parts=[b" " * 2**18] * 5)[0] == 413
    status, headers, _ = mlp.ask("/predict", b"", {"content-length": "9" * 30})
    assert (status, headers[b"connection"]) == (413, b"close")


def test_a_body_that_never_ends_is_given_up(bundles):
    desk = Desk(bundles["mlp"], read_seconds=0.1)
    status, *_ = desk.ask("/predict", method="POST", parts=[b"{", b""])
    assert status == 400  # whole, but no JSON

    async def drip():
        return await desk.call("/predict", None, {}, "POST", [])

    import asyncio

    assert asyncio.run(drip())[0] == 408


def test_rows_are_bounded(mlp):
    status, answer = mlp.predict(*[mlp.seen()] * 1025)
    assert (status, answer["error"]["field"]) == (413, "instances")


def test_an_output_that_is_no_number_is_a_500_and_a_count(mlp, monkeypatch):
    def broken(self, observation, carry=None):
        return predict(self, observation, carry)._replace(multiplier=np.full((len(observation), 2), np.nan))

    predict = Model.predict
    monkeypatch.setattr(Model, "predict", broken)
    status, answer = mlp.predict(mlp.seen())
    assert (status, answer["error"]["code"]) == (500, "nonfinite_output")
    assert "predictions" not in answer
    assert "himari_nonfinite_outputs_total 1.0" in mlp.ask("/metrics")[2].decode()


def test_a_fault_tells_nothing_to_the_caller_and_its_place_to_the_log(mlp, monkeypatch):
    def broken(self, observation, carry=None):
        raise RuntimeError("secret")

    monkeypatch.setattr(Model, "predict", broken)
    status, answer = mlp.predict(mlp.seen())
    assert status == 500
    assert "secret" not in json.dumps(answer) + mlp.lines.getvalue()
    assert "RuntimeError" in mlp.lines.getvalue()


def test_log_lines_are_json_with_id_model_and_latency_and_no_secrets(bundles):
    desk = Desk(bundles["lstm"], api_key=b"correct horse")
    body = json.dumps({"instances": [desk.asked(-2)]}).encode()
    token = json.loads(desk.ask("/predict", body, {"x-api-key": "correct horse"})[2])["predictions"][0]["carry"]
    body = json.dumps({"instances": [desk.asked(carry=token)]}).encode()
    desk.ask("/predict", body, {"x-api-key": "correct horse", "x-request-id": "abc-1"})
    desk.ask("/predict", body, {"x-api-key": "correct house", "x-request-id": "bad id\n"})
    lines = [json.loads(line) for line in desk.lines.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 401]
    assert lines[1]["request_id"] == "abc-1"
    assert lines[1]["model"] == desk.model.digest[:12]
    assert lines[1]["ms"] > 0
    assert lines[2]["request_id"] != "bad id\n"
    text = desk.lines.getvalue()
    close = repr(desk.candles()["SYN1"]["close"][-1])
    for secret in (token, token[:40], "correct horse", "correct house", close, KEY.decode()):
        assert secret not in text


def test_serving_imports_neither_jax_nor_what_trains(bundles):
    code = (
        "import sys; from pathlib import Path; import export.server; "
        "import export.serving.app, export.serving.processes.uvicorn_server, export.serving.processes.workers; "
        "from export.serving.models.model_store import ModelStore; "
        f"store = ModelStore(Path({str(bundles['lstm'])!r}), print, print); "
        "assert store.refresh(); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert not loaded & {"jax", "jaxlib", "flax", "gymnax", "envs", "train", "orbax", "optax", "scipy"}


def test_help_is_printed_before_the_server_is_imported():
    code = "import sys\nfrom export.server import main\n"
    code += "try:\n    main(['--help'])\nexcept SystemExit:\n    print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not set(run.stdout.split()) & {"onnxruntime", "uvicorn", "starlette", "talib", "jax"}
