"""Fixtures of the tests of the server; a plugin, so that a session makes its bundles once."""

import hashlib
import shutil
from pathlib import Path

import pytest
from cache import CACHE
from serving import ROOT, Desk, copy_bundle, point
from worlds import TINY_RUN

from export.loading import load

SYMBOLS = ("SYN1", "SYN2")


def code_hash() -> str:
    """SHA-256 of everything that a bundle is made by."""
    paths = [path for part in ("himari_jax", "envs", "train") for path in sorted((ROOT / part).rglob("*.py"))]
    paths += [*sorted((ROOT / "export").rglob("*.py")), Path(__file__), ROOT / "tests" / "support" / "worlds.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Folders of two verified bundles of two symbols, `mlp` and `lstm`; only to be read.

    Trained and exported once for each state of the code, and kept beside the compilation cache.
    """
    kept = CACHE / "bundles" / code_hash()[:16]
    for name in ("mlp", "lstm"):
        if not (kept / name).exists():
            kept.mkdir(parents=True, exist_ok=True)
            make_bundle(name, tmp_path_factory.mktemp("runs"), kept)
        load(kept / name)
    return {name: kept / name for name in ("mlp", "lstm")}


@pytest.fixture
def versions(bundles, tmp_path):
    """A folder of the versions `one` and `two`; CURRENT names `one`."""
    for name in ("one", "two"):
        copy_bundle(bundles["mlp"], tmp_path / name, version=name)
    point(tmp_path, "one")
    return tmp_path


def make_bundle(name, folder, kept):
    """Trains a tiny run, exports it and moves it where it is kept; another process may have been faster."""
    pytest.importorskip("jax2onnx", reason="a bundle is made by the extra export")
    from export.bundle import main as export
    from himari_jax.command import run_command
    from train.ppo import main as train

    args = ["6000" if x == "3000" else x for x in TINY_RUN]
    args += ["--run-dir", str(folder / name), "--symbols", *SYMBOLS, "--policy", name]
    assert run_command(train, args) == 0
    made = kept / f"{name}-{folder.name}-{id(folder)}"
    assert run_command(export, [str(folder / name), "--out", str(made)]) == 0
    try:
        made.rename(kept / name)
    except OSError:
        shutil.rmtree(made)


@pytest.fixture
def mlp(bundles):
    return Desk(bundles["mlp"])


@pytest.fixture
def lstm(bundles):
    return Desk(bundles["lstm"])
