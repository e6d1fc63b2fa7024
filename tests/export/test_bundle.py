"""Bundles: a graph that is the policy, golden numbers that are checked, and nothing altered that is served."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from serving import read_golden
from worlds import TINY_RUN

from export.bundle import main
from export.loading import golden_candles, load
from export.runtime import own_base, size
from himari_jax.candles import COLUMNS, Candles
from himari_jax.command import run_command
from himari_jax.errors import HimariError
from himari_jax.features.market import observation_names
from himari_jax.features.observation import Holdings, account_state, features_hash, observe
from train.ppo import main as train_main

pytest.importorskip("jax2onnx")
ROOT = Path(__file__).parents[2]
KINDS = {"mlp": ["--symbols", "SYN1"], "lstm": ["--symbols", "SYN1", "SYN2", "--policy", "lstm", "--num-seeds", "2"]}


@pytest.fixture(scope="module", params=list(KINDS))
def bundle(request, tmp_path_factory):
    """A bundle of a small run, and the run."""
    folder = tmp_path_factory.mktemp(request.param)
    flags = [*TINY_RUN, "--synthetic.num-bars", "6000", "--run-dir", str(folder / "run"), *KINDS[request.param]]
    assert run_command(train_main, flags) == 0
    assert run_command(main, [str(folder / "run"), "--out", str(folder / "bundle")]) == 0
    return folder / "bundle"


@pytest.fixture
def copy(bundle, tmp_path):
    """A bundle that may be altered."""
    shutil.copytree(bundle, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_bundle_says_what_it_is(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {path.name for path in bundle.iterdir()} == {"manifest.json", "policy.onnx", "golden.npz", "card.html"}
    model = load(bundle)
    assert model.name == "run"
    assert model.symbols == tuple(manifest["symbols"])
    assert model.min_candles == 400
    assert manifest["observation"] == list(observation_names(model.symbols))
    assert manifest["action"] == {"low": 0.0, "high": 2.0, "meaning": "multiplier of each asset's base position"}
    assert manifest["data"]["fingerprint"]
    assert manifest["backtest"]["verdict"]["word"] in ("EDGE", "NO EDGE", "INCONCLUSIVE")
    assert manifest["features_hash"] == features_hash(model.symbols, 3_600_000) != features_hash(model.symbols, 60_000)


def test_the_golden_rollout_goes_through_candles_and_memory(bundle):
    golden, model = read_golden(bundle), load(bundle)
    assert len(golden["observation"]) >= 256
    assert (golden["weights"][1:] > 0).any()
    assert golden["multiplier"].min() >= 0
    assert golden["multiplier"].max() <= 2
    assert golden["multiplier"].std(0).min() > 0
    carry = model.initial_carry(1)
    for k, obs in enumerate(golden["observation"]):
        found = model.predict(obs[None], carry)
        np.testing.assert_allclose(found.multiplier[0], golden["multiplier"][k], rtol=0, atol=1e-5)
        carry = found.carry


def test_a_batch_is_its_rows(bundle):
    golden, model = read_golden(bundle), load(bundle)
    rng = np.random.default_rng(0)
    carry = tuple(rng.uniform(-1, 1, (64, *shape)).astype(np.float32) for shape in model.carry_shapes)
    whole = model.predict(golden["observation"][:64], carry)
    for k in (0, 17, 63):
        one = model.predict(golden["observation"][k : k + 1], tuple(leaf[k : k + 1] for leaf in carry))
        np.testing.assert_allclose(one.multiplier[0], whole.multiplier[k], rtol=0, atol=1e-6)
        for ours, theirs in zip(one.carry, whole.carry, strict=True):
            np.testing.assert_allclose(ours[0], theirs[k], rtol=0, atol=1e-6)


def test_the_server_builds_the_observation_of_the_environment_from_400_candles_and_units(bundle):
    golden, model = read_golden(bundle), load(bundle)
    candles = golden_candles(model, golden)
    equity = 100_000.0
    for k, row in enumerate(golden["row"]):
        window = slice(row - model.min_candles + 1, row + 1)
        part = Candles(
            model.symbols,
            model.bar_ms,
            "continuous",
            candles.time[window],
            **{name: getattr(candles, name)[window] for name in COLUMNS},
            tradable=candles.tradable[window],
            segment=candles.segment[window],
        )
        close = part.close[-1]
        account = Holdings(equity, golden["weights"][k] * equity / close, close / golden["entry_ratio"][k])
        found = observe(part, *account_state(account, close))
        np.testing.assert_allclose(found, golden["observation"][k], rtol=1e-6, atol=1e-6)


def test_positions_are_capped_as_in_training(bundle):
    golden, model = read_golden(bundle), load(bundle)
    base = own_base(model, golden_candles(model, golden))
    assert base.shape == (len(model.symbols),)
    full = size(model, np.full(len(base), 2.0), base)
    assert (full.weight <= model.rules.max_position_pct + 1e-12).all()
    assert full.weight.sum() <= model.rules.max_gross + 1e-12
    large = size(model, np.full(len(base), 2.0), base * 3)
    assert large.capped.all()
    none = size(model, np.zeros(len(base)), base)
    assert (none.weight == 0).all()
    assert not none.capped.any()


def rewrite(folder, name, data, corrected=True):
    """Replaces a file and, as a careful forger would, its hash in the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    if corrected:
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flipped(data, at):
    """One bit of another weight."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def refused(folder):
    with pytest.raises(HimariError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("corrected", [True, False])
def test_one_flipped_bit_of_the_graph_is_refused_even_with_its_hash_corrected(copy, share, corrected):
    data = (copy / "policy.onnx").read_bytes()
    rewrite(copy, "policy.onnx", flipped(data, int(len(data) * share)), corrected)
    refused(copy)


def test_golden_numbers_are_reproduced_or_the_bundle_is_refused(copy):
    golden = read_golden(copy)
    golden["multiplier"] = golden["multiplier"] + np.float32(1e-4)
    np.savez_compressed(copy / "golden.npz", **golden)
    rewrite(copy, "golden.npz", (copy / "golden.npz").read_bytes())
    assert "multiplier is not reproduced" in refused(copy)


def test_features_are_built_again_at_every_load(copy):
    golden = read_golden(copy)
    golden["close"][-1] *= 1.001
    np.savez_compressed(copy / "golden.npz", **golden)
    rewrite(copy, "golden.npz", (copy / "golden.npz").read_bytes())
    assert "observation is not reproduced" in refused(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m | {"schema": 99}, "schema 99"),
        (lambda m: {k: v for k, v in m.items() if k != "symbols"}, "symbols is missing"),
        (lambda m: m | {"features_hash": "0" * 64}, "features_hash"),
        (lambda m: m | {"symbols": [*m["symbols"], "MORE"]}, "its tensors are"),
        (lambda m: m | {"carry_shapes": [[3]]}, "its tensors are"),
        (lambda m: m | {"carry_shapes": 3}, "carry_shapes"),
        (lambda m: m | {"symbols": "SYN1"}, "symbols"),
        (lambda m: m | {"bar_ms": "3600000"}, "bar_ms"),
        (lambda m: m | {"min_candles": 0}, "min_candles"),
        (lambda m: m | {"files": []}, "files"),
        (lambda m: m | {"sizing": []}, "sizing"),
        (lambda m: m | {"sizing": m["sizing"] | {"rules": {"max_gross": "1"}}}, "sizing.rules"),
        (lambda m: m | {"sizing": m["sizing"] | {"rules": {"no_such_rule": 1}}}, "no_such_rule"),
        (lambda m: m | {"sizing": m["sizing"] | {"base_sizing": "oracle"}}, "oracle"),
        (lambda m: [m], "damaged"),
    ],
)
def test_a_manifest_of_something_else_is_refused(copy, change, says):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(change(manifest)))
    assert says in refused(copy)


def test_truncated_missing_and_pickled_files_are_refused(copy):
    data = (copy / "policy.onnx").read_bytes()
    rewrite(copy, "policy.onnx", data[: len(data) // 2])
    refused(copy)
    rewrite(copy, "policy.onnx", data)
    whole = (copy / "golden.npz").read_bytes()
    rewrite(copy, "golden.npz", pickle.dumps({"observation": [1]}))
    refused(copy)
    for part in (whole[: len(whole) // 2], whole[:100], b"PK", b""):
        rewrite(copy, "golden.npz", part)
        assert "damaged" in refused(copy)
    np.savez(copy / "golden.npz", observation=np.array([object()], dtype=object))
    rewrite(copy, "golden.npz", (copy / "golden.npz").read_bytes())
    assert "damaged" in refused(copy)
    (copy / "golden.npz").unlink()
    assert "golden.npz" in refused(copy)


def test_loading_and_predicting_needs_no_jax(bundle):
    code = (
        f"import sys; from pathlib import Path; from export.loading import load; m = load(Path({str(bundle)!r})); "
        "import numpy as np; m.predict(np.zeros((1, m.width), np.float32)); print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not set(found.stdout.split()) & {"jax", "jaxlib", "flax", "gymnax", "envs", "orbax", "train"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--seed-index", "9"], "--seed-index 9"),
        (["--checkpoint", "99999"], "--checkpoint 99999"),
        (["--checkpoint", "newest"], "--checkpoint newest: must be best, latest or a step"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(bundle, tmp_path, capfd, args, says):
    run = bundle.parent / "run"
    assert run_command(main, [str(run), "--out", str(tmp_path / "b"), *args]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert says in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_never_overwritten(bundle, capfd):
    before = (bundle / "manifest.json").read_bytes()
    assert run_command(main, [str(bundle.parent / "run"), "--out", str(bundle)]) == 2
    assert "exists already" in capfd.readouterr().err
    assert (bundle / "manifest.json").read_bytes() == before


def test_a_graph_that_is_not_the_policy_is_never_named(bundle, tmp_path, capfd, monkeypatch):
    from export.bundling import exporter

    honest = exporter.export_graph
    monkeypatch.setattr(exporter, "export_graph", lambda agent, v: honest(agent, {**v, "params": bend(v["params"])}))
    assert run_command(main, [str(bundle.parent / "run"), "--out", str(tmp_path / "b")]) == 2
    assert "the graph is not the policy" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def bend(params):
    """Weights that are a little off."""
    actor = params["actor"]
    last = sorted(actor)[-1]
    bias = actor[last]["bias"] + 1e-3
    return {**params, "actor": {**actor, last: {**actor[last], "bias": bias}}}
