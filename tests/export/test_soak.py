"""Twenty minutes of training: memory stays flat and nothing is compiled after the beginning."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("HIMARI_SOAK_SECONDS", "1200"))
FLAGS = (
    "--source synthetic --num-envs 64 --policy lstm --total-steps 1000000000 --save-interval 500 --eval-interval 500 "
    "--device cpu"
).split()
# A line for each compilation, and for each chunk.
WATCHED = """
import sys, jax, train.training.trainer
from himari_jax.command import run_command
from train.ppo import main
log = open(sys.argv.pop(1), "a", buffering=1)
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: log.write("compiled\\n") if name.endswith("backend_compile_duration") else None
)
advance = train.training.trainer.Trainer.advance
def logged_advance(self, updates):
    seconds = advance(self, updates)
    log.write(f"chunk {self.done}\\n")
    return seconds
train.training.trainer.Trainer.advance = logged_advance
sys.exit(run_command(main))
"""


def resident(process: int) -> float:
    """Megabytes of the process's own; pages of files come and go with the machine's needs."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "VmSwap"))) / 1000


def test_memory_is_flat_and_nothing_is_compiled_again(tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(log), *FLAGS, "--run-dir", str(tmp_path / "run")], cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    begun, seen = time.monotonic(), []
    while time.monotonic() - begun < SECONDS:
        assert process.poll() is None, process.stderr.read()
        seen.append((time.monotonic() - begun, resident(process.pid)))
        time.sleep(2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    seconds, megabytes = np.array(seen).T
    tenths = [megabytes[(seconds >= k * SECONDS / 10) & (seconds < (k + 1) * SECONDS / 10)].mean() for k in range(10)]
    lines = log.read_text().split("\n")
    chunks = [i for i, line in enumerate(lines) if line.startswith("chunk")]
    late = [i for i, line in enumerate(lines) if line == "compiled" and i > chunks[len(chunks) // 10]]
    print(f"{len(chunks)} chunks in {SECONDS:.0f} s; compiled late: {len(late)}; MB: {np.round(tenths, 1).tolist()}")
    assert len(chunks) >= min(300, 0.25 * SECONDS)
    # What compiling took may be given back at any time; from nowhere on does it grow.
    assert tenths[-1] < 1.02 * min(tenths[1:])
    assert late == []
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) <= 4
