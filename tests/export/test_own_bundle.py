"""A user's own features from training to the server, bit for bit; their code runs where it is allowed."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own import GOOD
from serving import Desk, multipliers, read_golden
from worlds import TINY_RUN

from export.bundle import main as export
from export.loading import golden_candles, load
from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.features.market import observation_names, rows_of
from himari_jax.features.observation import features_hash, observe
from train.data.loading import checked, load_raw
from train.data.market import market_from
from train.ppo import main as train
from train.simulation.trained import load_agent

pytest.importorskip("jax2onnx")
ROOT = Path(__file__).parents[2]
TEXT = GOOD.replace(
    "    close = np.log",
    "    if candles.close.max() > 1e6:\n        raise ValueError('no such price')\n    close = np.log",
)
OWN = (12, 13, 30, 31)  # of the observation of two assets with base and two own features


@pytest.fixture(scope="module", params=["mlp", "lstm"])
def made(request, tmp_path_factory):
    """A folder with a run that has own features, and its bundle; the user's file is gone."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "my.py").write_text(TEXT)
    flags = [*TINY_RUN, "--synthetic.num-bars", "6000", "--policy", request.param, "--symbols", "SYN1", "SYN2"]
    flags += ["--run-dir", str(folder / "run"), "--features", "base", str(folder / "my.py")]
    assert run_command(train, flags) == 0
    (folder / "my.py").unlink()
    assert run_command(export, [str(folder / "run"), "--out", str(folder / "bundle")]) == 0
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A bundle that may be altered."""
    shutil.copytree(made / "bundle", tmp_path / "copy")
    return tmp_path / "copy"


def test_a_bundle_carries_the_file_and_its_hash(made):
    bundle = made / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (bundle / "my.py").read_text() == TEXT
    assert manifest["files"]["my.py"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert manifest["features"]["market"][12:] == ["far", "range"]
    model = load(bundle, allow_code=True)
    assert manifest["observation"] == list(observation_names(model.symbols, model.features))
    assert model.features_hash == features_hash(model.symbols, model.bar_ms, model.features)
    assert model.features_hash != features_hash(model.symbols, model.bar_ms)
    assert model.min_candles == 400


def test_own_features_are_the_same_bits_in_backtest_environment_and_server(made):
    agent, model = load_agent(made / "run"), load(made / "bundle", allow_code=True)
    golden = read_golden(made / "bundle")
    candles, _ = checked(load_raw(agent.config.data, agent.config.source_options), agent.config.data)
    backtest = market_from(candles, agent.config.market, features=agent.features)
    shown = golden_candles(model, golden)
    rows = np.searchsorted(candles.time, golden["time"][golden["row"]])
    for k in range(0, len(rows), 17):
        seen = golden["observation"][k][list(OWN)]
        np.testing.assert_array_equal(seen, backtest.features[rows[k], :, 12:].reshape(-1))
        part = rows_of(shown, golden["row"][k] + 1 - model.min_candles, golden["row"][k] + 1)
        served = observe(part, golden["weights"][k], golden["entry_ratio"][k], model.features)
        np.testing.assert_array_equal(served[list(OWN)], seen)
        np.testing.assert_allclose(served, golden["observation"][k], rtol=1e-6, atol=1e-6)


def test_the_server_answers_as_the_policy_does(made):
    desk = Desk(made / "bundle", allow_code=True)
    desk.at(0)  # where the memory of lstm is empty
    found = multipliers(desk.one(desk.asked(step=0)))
    np.testing.assert_allclose(found, desk.golden["multiplier"][0], rtol=0, atol=1e-5)


def test_without_the_flag_the_code_does_not_run(made, copy):
    marker = copy.parent / "ran"
    text = f"open({str(marker)!r}, 'w').close()\n" + TEXT
    (copy / "my.py").write_text(text)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["my.py"] = hashlib.sha256(text.encode()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"carries code for its features \(my.py\); --allow-features-code runs it"):
        load(copy)
    desk = Desk(copy)
    assert desk.store.current is None
    assert len(desk.refused) == 1
    assert "--allow-features-code" in desk.refused[0]
    assert not marker.exists()


def test_another_code_is_another_hash_of_features_even_with_its_own_hash_corrected(copy):
    text = TEXT.replace("candles.high / candles.low", "candles.low / candles.high")
    (copy / "my.py").write_text(text)
    with pytest.raises(InputError, match=r"my.py: its SHA-256 is not the one in manifest.json"):
        load(copy, allow_code=True)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["my.py"] = hashlib.sha256(text.encode()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="features_hash is of other features"):
        load(copy, allow_code=True)


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ({"../my.py": ["far", "range"]}, "damaged"),
        ({"/etc/my.py": ["far", "range"]}, "damaged"),
        ({"my.py": "far"}, "damaged"),
        (["base"], "damaged"),
        ({"waves": ["far", "range"]}, "must be one of base, trend"),
        ({"base": ["far", "range"]}, "the features of base were far"),
        ({"theirs.py": ["far", "range"]}, "theirs.py"),
    ],
)
def test_a_manifest_of_other_sets_is_refused(copy, sets, says):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["features"]["sets"] = sets
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError) as caught:
        load(copy, allow_code=True)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("flags", "code"), [([], 2), (["--allow-features-code"], 0)])
def test_check_runs_the_code_where_it_is_allowed(made, flags, code):
    command = [sys.executable, "-m", "export.check", str(made / "bundle"), *flags]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == code
    assert code == 0 or "--allow-features-code" in found.stderr


def test_candles_that_the_code_refuses_are_one_line_of_the_server(made):
    desk = Desk(made / "bundle", allow_code=True)
    asked = desk.asked()
    for columns in asked["candles"].values():
        for name in ("open", "high", "low", "close"):
            columns[name] = [1e6 * x for x in columns[name]]
    status, answer = desk.predict(asked)
    assert status == 400
    assert answer["error"]["field"] == "instances[0].candles"
    assert answer["error"]["message"] == "my.py: features() failed: ValueError: no such price"
    assert desk.predict(desk.asked())[0] == 200
