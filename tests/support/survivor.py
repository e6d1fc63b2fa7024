"""A warm process that starts training runs by fork: everything is imported once, so that runs can be killed often.

Reads one JSON object a line, {"args": [...], "log": path, "out": path}; prints the process id of the run, and its wait
status when it has ended. The log of a run has a line for each restored state and for each save, begun and finished.
"""

# ruff: noqa: F401 (what a run imports; gymnax and what needs it start threads of jax and stay out)
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import flax.linen
import gymnasium
import jax
import matplotlib.pyplot
import optax
import polars
import rich
import scipy.optimize
import scipy.stats
import seaborn
import talib
import tensorboardX

from himari_jax.command import run_command
from train.artifacts.checkpoint import Checkpoints, describe, leaves, to_host
from train.ppo import main


def digest(state: Any) -> str:
    """SHA-256 of every leaf of a state."""
    described = {path: describe(leaf) for path, leaf in leaves(to_host(state)).items()}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def watch(log: str) -> None:
    """Writes down what is saved and restored; each line reaches the file at once or not at all."""
    place = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    save, restore = Checkpoints.save, Checkpoints.restore

    def tell(**record: Any) -> None:
        os.write(place, (json.dumps(record) + "\n").encode())

    def watched_save(self: Checkpoints, step: int, state: Any, meta: dict) -> None:
        tell(begun=step, digest=digest(state))
        save(self, step, state, meta)
        tell(finished=step)

    def watched_restore(self: Checkpoints, like: Any, step: int | None = None) -> tuple[int, Any, dict]:
        found = restore(self, like, step)
        tell(restored=found[0], digest=digest(found[1]), files=names_of(self.folder.parent))
        return found

    Checkpoints.save, Checkpoints.restore = watched_save, watched_restore  # type: ignore[method-assign]


def names_of(folder: Path) -> list[str]:
    """Names of the files in a run folder and of its checkpoints."""
    return [path.name for place in (folder, folder / "checkpoints") for path in place.iterdir()]


def serve() -> None:
    """One run after the other."""
    from jax._src import xla_bridge

    assert not xla_bridge._backends, "jax has threads already: a fork would not survive"
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(out, stream)
            cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
            jax.config.update("jax_compilation_cache_dir", cache)
            watch(order["log"])
            code = 1
            try:
                code = run_command(main, order["args"])
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
