"""The run folder of the chosen configuration, as `train.ppo` would have left it, and its one look at the test span."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.artifacts.checkpoint import Checkpoints
from train.artifacts.files import null_if_nan, write_bytes, write_json, write_text
from train.artifacts.metrics_file import NAME
from train.artifacts.run_folder import describe, has_checkpoints
from train.config.ppo import Config
from train.learning.setup import Best, TrainState, first_state
from train.reporting.stages import peak_memory_mb
from train.studies.sweep.store import Finished, Variables
from train.training.candles_task import CandlesTask
from train.training.session import Session


def config_of_chosen(config: Config, ledger: Path | str) -> Config:
    """Flags of the chosen configuration as a run of its own has them: its trials are counted where the sweep's are."""
    return replace(config, run=replace(config.run, ledger=str(ledger), run_dir=None, resume=False, fresh=False))


def evaluate_chosen(session: Session, chosen: Finished, variables: Variables, folder: Path) -> dict[str, Any]:
    """Writes the run folder of the chosen configuration and evaluates it on the test span; returns result.json.

    Args:
        session: of the configuration.
        chosen: its trial.
        variables: its best parameters on validation, leaves (K, ...).
        folder: of the run.
    """
    task = CandlesTask(session)
    folder.mkdir(exist_ok=True)
    origin = task.origin() | {"sweep": {"trial": chosen.trial, "point": chosen.point}}
    write_json(folder / "config.json", describe(session.config, origin))
    write_json(folder / "data_report.json", task.findings())
    for name, content in session.files.items():
        write_bytes(folder / name, content)
    write_text(folder / NAME, "".join(lines_of(session, chosen)))
    state = state_of(session, chosen, variables)
    if not has_checkpoints(folder):
        save(folder, state, chosen, {"fingerprint": task.fingerprint, "train_seconds": chosen.seconds, **origin})
    return task.evaluate(state, folder, timings(session, chosen))


def lines_of(session: Session, chosen: Finished) -> Iterator[str]:
    """Yields lines of metrics.jsonl: the validation scores during training."""

    config = session.config
    by_update: dict[int, list[float]] = {}
    for curve in chosen.curves:
        for update, score in curve:
            by_update.setdefault(update, []).append(score)
    for update, scores in by_update.items():
        steps = update * config.steps_per_update
        record = {
            "update": update,
            "steps": steps,
            "episodes": steps / config.ppo.episode_steps,
            "validation_sharpe": float(np.mean(scores)),
            "validation_sharpe_by_seed": scores,
        }
        yield json.dumps(null_if_nan(record)) + "\n"


def state_of(session: Session, chosen: Finished, variables: Variables) -> TrainState:
    """Builds the checkpoint: the best parameters, also in the place of the newest ones; the optimizer begins anew.

    The last parameters of a population are not kept: nothing is evaluated with them.
    """
    first = first_state(session)()
    found = jax.tree.map(lambda like, leaf: jnp.asarray(leaf, like.dtype), first.best.variables, variables)
    seeds = len(chosen.scores)
    runner = first.runner._replace(
        variables=jax.tree.map(jnp.array, found), update=jnp.full(seeds, chosen.updates, first.runner.update.dtype)
    )
    return TrainState(
        runner, Best(found, jnp.asarray(chosen.scores, jnp.float32), jnp.asarray(chosen.taken, jnp.int32))
    )


def save(folder: Path, state: TrainState, chosen: Finished, meta: dict[str, Any]) -> None:
    """Writes the checkpoint."""
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        checkpoints.save(chosen.updates, state, meta)
    finally:
        checkpoints.close()


def timings(session: Session, chosen: Finished) -> dict[str, Any]:
    """Seconds of the batch that the configuration was trained in, which it shared; those of its parts are not known."""
    steps = chosen.updates * session.config.steps_per_update
    return {
        "device": jax.devices()[0].device_kind,
        "data_seconds": 0.0,
        "compile_seconds": 0.0,
        "train_seconds": chosen.seconds,
        "evaluate_seconds": 0.0,
        "updates": chosen.updates,
        "steps": steps,
        "steps_per_second": None,
        "peak_memory_mb": peak_memory_mb(),
    }
