"""Writes the rollout of the first update with numbers that are not finite."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax.atomic import replacing
from train.artifacts.files import storage_errors
from train.learning.setup import Setup
from train.learning.state import LearnerState


def first_bad(updates: np.ndarray) -> tuple[int, int]:
    """Returns the seed whose step was the first to be skipped, and its update.

    Args:
        updates: (K,) of the first skipped step; -1 where none was.
    """
    seed = int(np.where(updates < 0, np.iinfo(np.int32).max, updates).argmin())
    return seed, int(updates[seed])


def dump_rollout(setup: Setup, runner: LearnerState, seed: int, folder: Path) -> Path:
    """Writes the next rollout of a seed, with its advantages, as `bad_rollout.npz`.

    Args:
        setup: of the run.
        runner: leaves (K, ...).
        seed: index of the seed.
        folder: of the run.

    Raises:
        StorageError: it could not be written.
    """
    one = jax.tree.map(lambda x: x[seed], runner)
    _, played = jax.jit(setup.learner.collect_rollout)(setup.params, one.variables, one.players)
    batch = setup.learner.compute_advantages(played, one)
    path = folder / "bad_rollout.npz"
    branches = {f"branch_{name}": value for name, value in played.branches._asdict().items()}
    fields = played._replace(branches=None)._asdict() | branches | batch._asdict()
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in fields.items() if x is not None}
    with storage_errors(path), replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path
