"""Every answer to candles says which candle it is for and when its position is meant to be filled."""

import json
from dataclasses import replace

import pytest
from serving import Desk, copy_bundle

from export.loading import load
from export.serving.answers.predict import times_of
from export.serving.models.model_store import ServedModel
from himari_jax.errors import InputError
from himari_jax.times import HOUR_MS, iso_second, parse_iso

pytest_plugins = ["server_fixtures"]


@pytest.mark.parametrize("step", [0, 100, -1])
def test_an_answer_is_for_the_newest_finished_candle_and_filled_when_the_next_one_opens(mlp, step):
    mlp.at(step)
    time = int(mlp.golden["time"][mlp.golden["row"][step]])
    found = mlp.one({"candles": mlp.candles(), "account": mlp.account(step)} if step == -1 else mlp.asked(step))
    assert found["candle"] == {"open_time": iso_second(time), "close_time": iso_second(time + HOUR_MS)}
    assert found["fill"] == {"at": "next-open", "time": iso_second(time + HOUR_MS)}


def test_an_unfinished_candle_is_not_the_one_that_an_answer_is_for(mlp):
    mlp.at(-2)
    found = mlp.one({"candles": mlp.candles(-1), "account": mlp.account(-2)})
    assert parse_iso(found["candle"]["close_time"]) <= mlp.now


def test_an_observation_has_no_times(mlp):
    assert not {"candle", "fill"} & set(mlp.one(mlp.seen()))


def test_a_fill_is_said_as_training_had_it_and_only_a_time_that_is_known(bundles):
    time, later = 1_571_310_000_000, "2019-10-17T12:00:00Z"
    cases = {
        ("next-open", "continuous"): ("next-open", later),
        ("same-close", "continuous"): ("same-close", later),
        ("same-close", "sessions"): ("same-close", later),
        ("next-open", "sessions"): ("next-open", None),  # the next bar may open after a weekend
    }
    model = load(bundles["mlp"])
    for (fill, calendar), (at, known) in cases.items():
        served = ServedModel(replace(model, manifest=model.manifest | {"fill": fill, "calendar": calendar}))
        candle, found = times_of(served, time)
        assert (candle.open_time, candle.close_time) == (iso_second(time), later)
        assert (found.at, found.time or None) == (at, known)


def test_a_bundle_of_before_says_the_candle_alone_and_an_unknown_fill_is_refused(bundles, tmp_path):
    old = copy_bundle(bundles["mlp"], tmp_path / "old")
    manifest = json.loads((old / "manifest.json").read_text())
    fill = manifest.pop("fill")
    assert fill == manifest["config"]["market"]["fill"]
    (old / "manifest.json").write_text(json.dumps(manifest))
    desk = Desk(old)
    found = desk.one(desk.asked())
    assert "candle" in found
    assert "fill" not in found
    (old / "manifest.json").write_text(json.dumps(manifest | {"fill": "tomorrow"}))
    with pytest.raises(InputError, match="fill is none of next-open, same-close"):
        load(old)


def test_the_schema_of_answers_has_the_times(mlp):
    parts = json.loads(mlp.ask("/openapi.json")[2])["components"]["schemas"]
    assert {"candle", "fill"} <= set(parts["Answer"]["properties"])
    assert set(parts["CandleOut"]["properties"]) == {"open_time", "close_time"}
