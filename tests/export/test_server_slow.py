import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import ask as post
from processes import ready, started
from serving import ROOT, Desk, multipliers, wait_for

from export.bench import write_bodies
from export.benchmarks.processes import resident
from export.loadgen import ask

pytest_plugins = ["server_fixtures"]
pytestmark = pytest.mark.slow

SOAK = float(os.environ.get("HIMARI_SOAK_SECONDS", "60"))
TRAINING = {
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "chex",
    "gymnax",
    "orbax-checkpoint",
    "polars",
    "pandas",
    "scipy",
    "plotly",
}


def test_the_two_commands_of_the_docs_make_an_environment_that_serves_without_jax_polars_or_pandas(bundles, tmp_path):
    source, venv = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    for name in ("himari_jax", "envs", "train", "export"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    commands = re.search(
        r"`(pip install --no-deps \. && pip install -r \S+)`", (ROOT / "docs" / "serving.md").read_text()
    )[1]
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    activated = clean | {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(commands, shell=True, cwd=source, env=activated, check=True, capture_output=True)
    listed = json.loads(
        subprocess.check_output([venv / "bin" / "python", "-m", "pip", "list", "--format", "json"], env=clean)
    )
    names = {x["name"].lower().replace("_", "-") for x in listed}
    assert {"himari-jax", "onnxruntime", "uvicorn"} <= names
    assert not names & TRAINING
    checked = [venv / "bin" / "python", "-m", "export.check", bundles["lstm"]]
    assert b"verified" in subprocess.check_output(checked, cwd=tmp_path, env=clean)
    desk = Desk(bundles["mlp"])
    flags = ("--port", 0, "--max-age-bars", 0)
    with started(bundles["mlp"], *flags, python=venv / "bin" / "python", cwd=tmp_path) as (_, port, _lines):
        wait_for(lambda: ready(port))
        status, answer = post(port, "POST", "/predict", json.dumps({"instances": [desk.asked()]}))
        assert status == 200
        found = multipliers(json.loads(answer)["predictions"][0])
        assert found == pytest.approx(desk.golden["multiplier"][-1], abs=1e-5)


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_memory_is_flat_under_load(bundles, tmp_path, name):
    observation, candles = tmp_path / "observation.json", tmp_path / "candles.json"
    write_bodies(Desk(bundles[name]).model, observation, candles)
    refused = candles.read_text().replace("1", "x", 1)
    with started(bundles[name], "--port", 0, "--max-age-bars", 0, "--quiet") as (process, port, _):
        wait_for(lambda: ready(port))
        seen, end = [], time.monotonic() + SOAK
        while time.monotonic() < end:
            ask(port, observation, 16, 1.0)
            ask(port, candles, 16, 1.0)
            assert post(port, "POST", "/predict", refused)[0] == 400
            seen.append(resident(process.pid))
    # The first quarter warms up: allocators and the collector fill what they keep.
    after = seen[len(seen) // 4 :]
    print(f"{name}: {len(seen)} rounds in {SOAK:g} s, {seen[0]:.1f} MB at first, {after[0]:.1f} to {after[-1]:.1f} MB")
    assert len(after) >= 10
    assert np.mean(after[-3:]) < 1.05 * np.mean(after[:3])
