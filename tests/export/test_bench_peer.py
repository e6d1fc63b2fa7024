"""The server that the benchmark compares ours with gives the same answers."""

import numpy as np
import pytest
from serving import Desk

pytest_plugins = ["server_fixtures"]
pytest.importorskip("fastapi")


@pytest.mark.parametrize("way", ["candles", "observation"])
def test_the_minimal_app_answers_as_the_server_does(bundles, monkeypatch, way):
    from export.benchmarks import fastapi_app

    desk = Desk(bundles["mlp"])
    monkeypatch.setattr(fastapi_app.time, "time_ns", lambda: desk.clock() * 1_000_000)
    money = {"SYN1": 10_000.0, "SYN2": 90_000.0}
    flat = {"account": {"equity": 1e5, "positions": {}}, "base_position": money}
    instance = desk.asked(base_position=money) if way == "candles" else desk.seen(**flat)
    ours = desk.one(instance)
    theirs = fastapi_app.answer(desk.model, fastapi_app.Instance(**instance)).model_dump()
    assert theirs["symbols"] == ours["symbols"]
    assert np.float32(theirs["value"]) == np.float32(ours["value"])
