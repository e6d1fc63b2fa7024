"""`python -m train.ppo` in this process and in one of its own."""

import json
import subprocess
import sys
from pathlib import Path

from himari_jax.command import run_command
from train.ppo import main

ROOT = Path(__file__).parents[2]
SIZES = (
    "--num-envs 16 --rollout-steps 16 --num-minibatches 2 --update-epochs 2 --episode-steps 50 --hidden-dim 16 "
    "--lstm-hidden-dim 8 --total-steps 2048 --device cpu"
).split()
TINY = [*"--source synthetic --synthetic.num-bars 3000".split(), *SIZES]


def command(folder, *args):
    """Runs the command in this process: the exit code."""
    return run_command(main, [*TINY, "--run-dir", str(folder), *args])


def start(folder, *args):
    """The command as a process of its own."""
    words = [sys.executable, "-u", "-m", "train.ppo", *TINY, "--run-dir", str(folder), *args]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(folder):
    """Every file below a folder with its bytes."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def states(folder):
    """Leaves of the newest checkpoint, by their digests."""
    steps = sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    meta = json.loads((folder / "checkpoints" / str(steps[-1]) / "meta" / "metadata").read_text())
    return steps[-1], meta["leaves"]
