"""Volumes of two kinds of sources mean different things: a request that says which kind it has is not answered by the
policy of another one, unless it asks for that."""

import json

import pytest
from serving import Desk, copy_bundle

from export.contents.manifest import parse_manifest
from himari_jax.errors import InputError

pytest_plugins = ["server_fixtures"]


def test_candles_of_another_kind_of_source_than_the_policy_was_trained_on_are_refused_unless_told(bundles, tmp_path):
    desk = Desk(copy_bundle(bundles["mlp"], tmp_path / "b", source_kind="exchange"))
    status, answer = desk.predict(desk.asked(source_kind="aggregated"))
    assert (status, answer["error"]["field"]) == (400, "instances[0].source_kind")
    assert "prices aggregated over exchanges; the policy was trained on candles of an exchange" in str(answer["error"])
    for given in ({}, {"source_kind": "exchange"}, {"source_kind": "any"}):
        assert desk.predict(desk.asked(**given))[0] == 200
    assert desk.predict(desk.asked(source_kind="files"))[0] == 400


def test_a_policy_of_candles_whose_kind_nobody_said_answers_all(bundles):
    desk = Desk(bundles["mlp"])
    assert json.loads((bundles["mlp"] / "manifest.json").read_text())["source_kind"] is None
    assert desk.predict(desk.asked(source_kind="aggregated"))[0] == 200


def test_a_manifest_with_a_kind_that_nobody_knows_is_damaged(bundles):
    manifest = json.loads((bundles["mlp"] / "manifest.json").read_text()) | {"source_kind": "rumors"}
    with pytest.raises(InputError, match="source_kind is none of exchange, aggregated"):
        parse_manifest(json.dumps(manifest).encode(), "manifest.json")
