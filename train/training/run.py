"""A run from its flags to its last line: on candles, or on a market with a known optimum."""

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import jax

from himari_jax.errors import InputError
from himari_jax.stopping import exit_at_signals
from train.artifacts.downloads import refuse_mirror
from train.artifacts.feature_files import refuse_other_files
from train.artifacts.run_folder import claim, default_folder, lock, read_result, refuse_walk_forward
from train.artifacts.uploads import NoUploads, Uploads, finish_upload, uploads
from train.config.ppo import Config
from train.config.run import RunConfig
from train.distributed.processes import all_gather, broadcast_text, is_first, on_first_process
from train.distributed.vertex import output_folders
from train.evaluation.ledger import open_ledger
from train.learning.sharding import device_count
from train.oracles.console import print_oracle
from train.oracles.task import OracleTask, build_setup
from train.reporting.console import console, print_lines, print_result
from train.reporting.programs import Programs, counting_programs, print_programs
from train.training.candles_task import CandlesTask
from train.training.failures import marking_failure
from train.training.nulls import is_tested, refuse_positions
from train.training.session import build_session
from train.training.signals import go_on
from train.training.task import Task
from train.training.trainer import Trainer


def train(config: Config, resumed: Path | None = None, import_seconds: float | None = None) -> int:
    """Trains, evaluates and prints the result; 0 when done.

    Args:
        config: flags.
        resumed: the folder that `--resume` found, or the mirror of a run in a bucket.
        import_seconds: of the imports before, for the timings.
    """
    with counting_programs() as programs:
        code = train_counted(config, resumed, programs, import_seconds)
    if config.run.debug and is_first():
        print_programs(console(), programs, import_seconds)
    return code


def train_counted(config: Config, resumed: Path | None, programs: Programs, import_seconds: float | None) -> int:
    """Trains and evaluates, as `train`, with compiled programs counted."""
    begun = time.perf_counter()
    task = make_task(config, resumed if config.run.resume else None)
    check_processes_agree(task)
    folder = Path(
        broadcast_text(str(resumed or config.run.run_dir or default_folder(config.policy.policy, task.names)))
    )
    earlier = on_first_process(lambda: open_folder(folder, task))
    print_end = print_result if config.data.env is None else print_oracle
    if all_gather((earlier is not None,))[0][0]:
        if earlier is not None:
            print_end(earlier, config, folder)
            finish_upload(config.run.address, folder, config.run.keep, output_folders(os.environ).logs)
        return 0
    with contextlib.ExitStack() as held:
        sending = on_first_process(lambda: hold(held, folder, config.run)) or NoUploads()
        place = config.run.address or folder
        exit_at_signals(f"stopped; what was saved is kept in {place}; {go_on(place)}")
        announce(task, folder)
        with marking_failure(folder):
            trainer = Trainer(task, folder, time.perf_counter() - begun, sending)
            trainer.run()
        if is_first():
            timings = trainer.timings() | programs.timings() | {"import_seconds": import_seconds}
            result = task.evaluate(trainer.state, folder, timings)
            print_end(result, config, folder)
    return 0


def make_task(config: Config, resumed: Path | None) -> Task:
    """Makes the task that the flags ask for: candles, or a market with a known optimum.

    Args:
        config: flags.
        resumed: the folder that `--resume` found, with copies of the user's own files.
    """
    refuse_positions(config.market, config.run.permutations)
    return OracleTask(build_setup(config)) if config.data.env else CandlesTask(build_session(config, resumed))


def open_folder(folder: Path, task: Task) -> dict[str, Any] | None:
    """Claims the run folder; returns the result of a finished run there, else None."""
    config = task.setup.config
    refuse_mirror(folder, config.run.address)
    refuse_walk_forward(folder)
    refuse_other_files(folder, task.setup.files)
    claim(folder, config, task.fingerprint, task.base_sha256)
    if config.run.ledger is not None:
        open_ledger(config.run.ledger).check()  # before hours are spent
    earlier = read_result(folder)
    # The report is written last: without it the test span is evaluated again.
    reported = earlier is not None and (folder / "report.html").exists()
    whole = earlier is not None and reported and earlier["timings"]["updates"] >= config.total_updates
    return earlier if earlier is not None and whole and is_tested(earlier.get("permutations"), config.run) else None


def hold(held: contextlib.ExitStack, folder: Path, run: RunConfig) -> Uploads | NoUploads:
    """Locks the run folder and takes over the one in a bucket, until `held` closes."""
    held.enter_context(lock(folder))
    sending = uploads(run.address, folder, run.keep, output_folders(os.environ).logs)
    held.enter_context(sending)
    return sending


def check_processes_agree(task: Task) -> None:
    """Checks that all processes have the same flags and data.

    Raises:
        InputError: another process has other flags or data.
    """
    config = task.setup.config
    run = config.run
    loop = (run.seed, run.num_seeds, run.eval_interval, run.save_interval, run.devices, run.deterministic)
    texts = (task.setup.config_hash, hashlib.sha256(repr(loop).encode()).hexdigest(), task.fingerprint)
    marks = all_gather((*(int(text[:7], 16) for text in texts), config.total_updates))
    names = ("flags", "--seed, --num-seeds, intervals, --devices or --deterministic", "data", "--total-steps")
    for k, marked in enumerate(marks):
        for what, mine, other in zip(names, marks[0], marked, strict=True):
            if mine != other:
                raise InputError(f"process {k} has other {what} than process 0; give all of them the same")


def announce(task: Task, folder: Path) -> None:
    """Prints what will run: market, sizes, rounding, device."""
    setup, config = task.setup, task.setup.config
    out = console()
    print_lines(out, task.headline())
    steps = config.total_updates * config.steps_per_update
    rounding = f", rounded up from {config.wanted_steps:,}" if steps != config.wanted_steps else ""
    count = device_count(config.run.devices)
    where = f"{count} x {jax.devices()[0].device_kind}" if count > 1 else jax.devices()[0].device_kind
    together = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    line = (
        f"{config.policy.policy}, {setup.width} numbers in, {setup.learner.env.num_assets} out; {steps:,} steps = "
        f"{config.total_updates} updates of {config.num_envs} environments x {config.ppo.rollout_steps} bars"
        f"{rounding}; on {where}{together}"
    )
    print_lines(out, [line])
    place = config.run.address
    print(f"run folder: {folder}" if place is None else f"run folder: {place} (mirror: {folder})")
