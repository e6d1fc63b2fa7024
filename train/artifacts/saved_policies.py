"""Reads the policies in a run's checkpoints, for backtests and exports; moves, locks and writes nothing."""

import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from himari_jax.cli import invocation
from himari_jax.errors import CheckpointError, InputError, first_line
from train.artifacts.checkpoint import describe, digest_of, leaves, names
from train.artifacts.run_folder import STEPS, local_steps

ATTEMPTS = 4


class Saved(NamedTuple):
    """The policies in a checkpoint."""

    step: int  # updates done
    variables: dict  # leaves (K, ...)
    sharpe: np.ndarray  # (K,) best on validation
    update: np.ndarray  # (K,) at which the parameters were taken


def read_saved(folder: Path, which: str = "best") -> Saved:
    """Reads the policies of a run and checks their digests.

    Args:
        folder: of the run.
        which: `best` (of each seed on the validation span), `latest`, or a step.

    Raises:
        InputError: no checkpoint, none with that step, or nothing evaluated yet.
        CheckpointError: it is damaged.
    """
    for attempt in range(ATTEMPTS):
        try:
            return read_once(folder, which)
        except CheckpointError:  # a run that is under way drops its oldest steps while we read
            if attempt + 1 == ATTEMPTS or not (folder / ".lock").exists():
                raise
            time.sleep(1)
    raise AssertionError("unreachable")


def read_once(folder: Path, which: str) -> Saved:
    """Reads the policies of a run, as `read_saved`, without a retry."""
    place = folder / STEPS
    steps = local_steps(folder)
    if not steps:
        raise InputError(
            f"{folder}: no checkpoint is there; train it first: {invocation('train.ppo')} --run-dir {folder}"
        )
    if not (which in ("best", "latest") or (which.isdigit() and int(which) in steps)):
        raise InputError(f"--checkpoint {which}: {folder} has best, latest, {', '.join(map(str, steps))}")
    step = int(which) if which.isdigit() else steps[-1]
    try:
        state = read_state(place, step, "best" if which == "best" else "runner")
    except Exception as error:  # Orbax raises many kinds for damaged files
        others = ", ".join(str(s) for s in steps if s != step) or "none"
        raise CheckpointError(
            f"{place}/{step}: damaged ({first_line(error)}); others with --checkpoint: {others}; "
            f"{invocation('train.ppo')} --resume sets a damaged step aside"
        ) from error
    best = state["best"]
    if which == "best" and not np.isfinite(best["sharpe"]).any():
        raise InputError(f"{folder}: nothing was evaluated yet; wait for it or use --checkpoint latest")
    variables = best["variables"] if which == "best" else state["runner"]["variables"]
    update = np.asarray(best["update"]) if which == "best" else np.full(len(best["sharpe"]), step)
    return Saved(step, jax.tree.map(np.asarray, variables), np.asarray(best["sharpe"], np.float64), update)


def read_state(place: Path, step: int, part: str) -> dict[str, Any]:
    """Reads the state of a step as nested dictionaries.

    Raises:
        ValueError: meta data or variables of `part` are not as they were saved; Orbax raises other kinds.
    """
    level = logging.getLogger("absl").level
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax warns that the manager is read-only
    try:
        with ocp.CheckpointManager(place.absolute(), options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
            meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
            if meta.pop("sha256") != digest_of(meta) or meta["step"] != step:
                raise ValueError("wrong digest of the meta data")
            state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))["state"]
    finally:
        logging.getLogger("absl").setLevel(level)
    stored = {names(path): leaf for path, leaf in meta["leaves"].items()}
    checked = {"best": state["best"], part: {"variables": state[part]["variables"]}}
    if part == "best":
        checked = {"best": state["best"]}
    for path, leaf in leaves(checked).items():
        if describe(np.asarray(leaf)) != stored[names(path)]:
            raise ValueError(f"wrong digest of {path}")
    return state
