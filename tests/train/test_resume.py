"""Half a run, a kill and the other half equal the whole run, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worlds import TINY_RUN

from train.artifacts.checkpoint import Checkpoints

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
UPDATES = 60
ONE_BY_ONE = "import train.training.chunks as c; c.CHUNK_SECONDS = 0.0; "  # chunks of one update
RUN = "import sys; from himari_jax.command import run_command; from train.ppo import main; sys.exit(run_command(main))"


def start(code: str, args: list[str], folder: Path) -> subprocess.Popen:
    """A run in a process of its own, four devices in sight."""
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code + RUN, *args, "--run-dir", str(folder)], cwd=folder.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **flags},
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    """Waits for exit code 0."""
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]


def digests(folder: Path) -> dict:
    """Shape, type and SHA-256 of every leaf at the end."""
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        return checkpoints.meta(UPDATES)["leaves"]
    finally:
        checkpoints.close()


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("assets", [1, 3])
@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_a_run_that_was_killed_equals_one_that_was_not(policy, assets, devices, tmp_path):
    symbols = [f"SYN{k + 1}" for k in range(assets)]
    args = [*TINY_RUN, "--policy", policy, "--symbols", *symbols, "--devices", str(devices), "--save-interval", "1"]
    args += ["--total-steps", str(UPDATES * 256)]
    finish(start(ONE_BY_ONE, args, tmp_path / "whole"))
    cut = start("", args, tmp_path / "cut")
    deadline = time.monotonic() + 200
    try:
        while not (tmp_path / "cut" / "checkpoints" / str(UPDATES // 2)).exists() and time.monotonic() < deadline:
            assert cut.poll() is None, cut.stderr.read()
            time.sleep(0.005)
    finally:
        cut.kill()
    assert cut.wait() == -signal.SIGKILL
    newest = max(int(x.name) for x in (tmp_path / "cut" / "checkpoints").iterdir() if x.name.isdigit())
    assert UPDATES // 2 <= newest < UPDATES
    finish(start("", args, tmp_path / "cut"))
    whole, resumed = digests(tmp_path / "whole"), digests(tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    assert [path for path in whole if whole[path] != resumed[path]] == []
