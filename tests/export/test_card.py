"""The policy card: its surfaces are the policy's own answers, and it says what a user must know."""

import re

import numpy as np
import pytest
from serving import golden_of

from export.bundling.surfaces import POINTS, surfaces
from export.loading import load

pytest_plugins = ("server_fixtures",)
pytest.importorskip("jax2onnx")


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_a_surface_is_the_mean_of_the_policys_answers(bundles, name):
    model, seen = load(bundles[name]), golden_of(bundles[name])["observation"]
    found = surfaces(model, seen)
    assert [one.swing for one in found] == sorted((one.swing for one in found), reverse=True)
    one, k = found[0], POINTS // 2
    rows = seen[np.linspace(0, len(seen) - 1, min(256, len(seen))).astype(int)].copy()
    rows[:, model.names.index(one.name)] = one.inputs[k]
    multiplier = model.predict(rows).multiplier
    np.testing.assert_allclose(one.mean[k], multiplier.mean(0), atol=1e-6)
    assert np.all(one.low[k] <= one.mean[k] + 1e-6)
    assert np.all(one.mean[k] <= one.high[k] + 1e-6)
    assert len({other.name for other in found}) == len(found) <= model.width


def test_the_card_says_what_it_is_what_it_was_worth_and_where_not_to_use_it(bundles):
    page = (bundles["mlp"] / "card.html").read_text()
    model = load(bundles["mlp"])
    for needed in (
        model.digest,
        model.version,
        "SYN1, SYN2",
        "Sharpe",
        "made by chance",
        model.manifest["expires"][:10],
    ):
        assert needed in page
    assert re.search(r"(NO EDGE|EDGE|INCONCLUSIVE)</strong>", page)
    assert page.count("<svg") >= 4
    assert not re.search(r"https?://|<script|src=", page)  # it needs nothing from elsewhere


def test_a_bundle_without_its_card_or_with_another_is_served_all_the_same(bundles, tmp_path):
    import shutil

    shutil.copytree(bundles["mlp"], tmp_path / "copy")
    (tmp_path / "copy" / "card.html").unlink()
    assert load(tmp_path / "copy").digest == load(bundles["mlp"]).digest
