"""An account that holds more than training's could is mistaken: lots for units, or another currency."""

import json

import numpy as np
import pytest
from serving import Desk, copy_bundle

from export.serving.answers.inputs import check_gross
from export.serving.models.model_store import GROSS_MARGIN

pytest_plugins = ["server_fixtures"]


def holding(desk, gross, step=-1, equity=1e5):
    """An account with that gross in equal parts."""
    close = desk.golden["close"][desk.golden["row"][step]].tolist()
    parts = dict(zip(desk.symbols, close, strict=True))
    share = gross * equity / len(parts)
    return {"equity": equity, "positions": {s: {"units": share / c, "entry_price": c} for s, c in parts.items()}}


def refusal(desk, instance):
    status, answer = desk.predict(instance)
    assert status == 400, answer
    assert answer["error"]["code"] == "gross"
    return answer["error"]


@pytest.mark.parametrize("gross", [0.3, 1.0, 1.99])
def test_what_prices_may_lead_to_is_answered(mlp, gross):
    assert mlp.one(mlp.asked(account=holding(mlp, gross)))


@pytest.mark.parametrize("gross", [2.01, 10, 100, 999])
def test_gross_beyond_training_is_refused_with_what_to_check(mlp, gross):
    error = refusal(mlp, mlp.asked(account=holding(mlp, gross)))
    assert error["field"] == "instances[0].account.positions"
    for word in (f"{gross:.4g} times the equity", "gross", "allowed: up to 2,", "units", "lots", "currency"):
        assert word in error["message"]


def test_so_are_accounts_of_the_history(lstm):
    history = [holding(lstm, 0.5, -3), holding(lstm, 50, -2)]
    assert refusal(lstm, lstm.asked(history=history))["field"] == "instances[0].history[1].positions"


def test_and_observations(mlp, lstm):
    for desk in (mlp, lstm):
        instance = desk.seen()
        places = [k for k, name in enumerate(desk.store.current.names) if "position" in name]
        assert places == desk.store.current.weight_places.tolist()
        for place in places:
            instance["observation"][place] = 1.5
        assert refusal(desk, instance)["field"] == "instances[0].observation"
        tensor = {"name": "observation", "shape": [1, len(instance["observation"])], "datatype": "FP32"}
        inputs = [tensor | {"data": instance["observation"]}]
        for i, shape in enumerate(desk.model.carry_shapes):
            zeros = np.zeros((1, *shape)).ravel().tolist()
            inputs.append({"name": f"carry_{i}", "shape": [1, *shape], "datatype": "FP32", "data": zeros})
        path = f"/v2/models/{desk.model.name}/infer"
        status, _, answer = desk.ask(path, json.dumps({"inputs": inputs}).encode())
        assert status == 400
        assert b"observation[0]: the positions are worth 3 times the equity" in answer


def test_what_training_may_hold_moves_the_limit(bundles, tmp_path):
    manifest = json.loads((bundles["mlp"] / "manifest.json").read_text())
    sizing = manifest["sizing"] | {"rules": manifest["sizing"]["rules"] | {"max_gross": 3.0}}
    desk = Desk(copy_bundle(bundles["mlp"], tmp_path / "b", sizing=sizing))
    assert desk.store.current.most_gross == 3 * GROSS_MARGIN
    assert desk.one(desk.asked(account=holding(desk, 5.9)))
    assert "allowed: up to 6," in refusal(desk, desk.asked(account=holding(desk, 6.1)))["message"]


def test_a_gross_that_is_no_number_is_refused(mlp):
    with pytest.raises(Exception, match="gross"):
        check_gross(mlp.store.current, float("nan"), "here")
