"""The training loop: chunks of updates, evaluations, checkpoints. The task says what is evaluated."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax.errors import NumericalError, Preempted
from train.artifacts.checkpoint import Checkpoints, host_shape, to_device, to_host
from train.artifacts.files import null_if_nan, write_bytes, write_json
from train.artifacts.run_folder import FAILED, describe, has_checkpoints
from train.artifacts.uploads import NoUploads, Uploads
from train.distributed.processes import all_gather, broadcast, is_first, on_first_process
from train.learning.guard import should_abort
from train.learning.setup import TrainState, better, compile_chunk, first_state
from train.learning.sharding import make_sharding
from train.learning.state import LearnerState, Metrics
from train.reporting.stages import Stages, peak_memory_mb
from train.training.bad_rollout import BadRollout, dump_rollout, first_bad, remedy
from train.training.chunks import next_size
from train.training.longer import longer_line
from train.training.progress import MetricsLog, ProgressBar, warn
from train.training.signals import go_on
from train.training.task import Task

COLLAPSED = -3.0  # fall of the log deviation of the exploration: a twentieth is left


class Trainer:
    """A run under way: its state, clock and files."""

    def __init__(self, task: Task, folder: Path, data_seconds: float, uploads: Uploads | NoUploads | None = None):
        self.task, self.setup, self.config, self.folder = task, task.setup, task.setup.config, folder
        self.data_seconds, self.uploads = data_seconds, uploads or NoUploads()
        self.compile_seconds = self.train_seconds = self.evaluate_seconds = 0.0
        self.signal: int | None = None
        self.evaluated = "", ""  # words of the newest evaluation: scores, mean return of an episode
        self.origin = task.origin()  # once: it asks git
        self.sums: Metrics | None = None  # since the newest evaluation
        self.summed = 0
        self.healthy, self.warned_of_collapse = True, False
        self.bad: BadRollout | None = None  # the first one of this process
        self.sharding = make_sharding(self.config.run.devices, self.setup.learner.sizes)
        continued = bool(all_gather((is_first() and has_checkpoints(folder),))[0][0])
        if not continued:  # first of all: a folder without config.json is no run
            on_first_process(self.write_headers)
        self.checkpoints: Any = on_first_process(lambda: Checkpoints(folder / "checkpoints", self.config.run.keep))
        self.begin(continued)
        self.first_log_std = float(np.mean(self.setup.learner.policy.initial_log_std))
        self.log: Any = on_first_process(lambda: MetricsLog(folder, self.done))
        if not continued:
            self.save()  # the last good step of a run that goes wrong at once

    def begin(self, continued: bool) -> None:
        """Compiles, and makes the first state or restores the newest checkpoint."""
        print("compiling ...", flush=True)
        started = time.perf_counter()
        make = first_state(self.setup)
        like = jax.eval_shape(make)
        # Beside the programs of the first state: one by one the compiler would leave a core idle half of the time.
        compiler = ThreadPoolExecutor(1)
        chunk = compiler.submit(compile_chunk, self.setup, like.runner, self.setup.params, self.sharding)
        if continued:
            self.done, self.state, self.train_seconds = self.restore(like)
            print(f"continuing at update {self.done}")
            if (line := longer_line(self.state.runner.hyper, self.done, self.config.total_updates)) is not None:
                print(line)
            on_first_process(self.write_headers)
        else:
            self.done, self.state = 0, jax.block_until_ready(make())
        self.saved, self.params = self.done, self.setup.params
        self.warned = bool(np.any(jax.device_get(self.state.runner.guard.skipped)))  # in an earlier part of the run
        if self.sharding is not None:
            self.params = self.sharding.replicate(self.params)
            self.state = self.state._replace(runner=self.sharding.shard(self.state.runner))
        with Stages("compiling").stage("once for each shape of a run, then kept"):
            self.chunk = chunk.result()
        compiler.shutdown()
        self.compile_seconds = time.perf_counter() - started

    def write_headers(self) -> None:
        """Writes config.json, data_report.json and the user's own files."""
        (self.folder / FAILED).unlink(missing_ok=True)
        write_json(self.folder / "config.json", describe(self.config, self.origin))
        write_json(self.folder / "data_report.json", self.task.findings())
        for name, content in self.setup.files.items():
            write_bytes(self.folder / name, content)

    def restore(self, like: TrainState) -> tuple[int, TrainState, float]:
        """Restores the newest usable checkpoint in every process: updates done, state, seconds of training."""
        found: Any = on_first_process(lambda: self.checkpoints.restore(like))
        if jax.process_count() == 1:
            return found[0], found[1], float(found[2]["train_seconds"])
        blank = (np.int32(0), jax.tree.map(host_shape, like), np.float64(0))
        host_state = (
            blank if found is None else (np.int32(found[0]), to_host(found[1]), np.float64(found[2]["train_seconds"]))
        )
        done, host, seconds = broadcast(host_state)
        return int(done), to_device(host, like), float(seconds)

    def run(self) -> None:
        """Trains in chunks of updates until the end or a signal."""
        total = self.config.total_updates
        every_eval = self.config.interval_updates(self.config.run.eval_interval, 20)
        every_save = self.config.interval_updates(self.config.run.save_interval, 10)
        handlers = {s: signal.signal(s, self.catch) for s in (signal.SIGINT, signal.SIGTERM)}
        size, clock = 1, time.monotonic()
        try:
            with ProgressBar(self.steps(total), self.steps(self.done), "steps") as bar:
                while self.done < total:
                    stops = (total, *(self.done - self.done % n + n for n in (every_eval, every_save)))
                    seconds = self.advance(min(size, min(stops) - self.done))
                    size = min(next_size(size, size, seconds), total)
                    if self.done % every_eval == 0 or self.done == total:
                        self.validate(bar)
                    bar.update(self.steps(self.done), self.status())
                    due = time.monotonic() - clock >= self.config.run.save_seconds
                    size, due, stopped = self.agree(size, due)
                    if ((self.done % every_save == 0 or due) and self.healthy) or self.done == total or stopped:
                        self.save()
                        clock = time.monotonic()
                    if stopped:
                        self.stop()
            if self.agree(size, False)[2]:  # a signal during the last save: the policy is not yet evaluated
                self.stop()
            self.state = self.whole()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if is_first():
                self.log.close()
                self.checkpoints.close()

    def stop(self) -> None:
        """Raises `Preempted` with the command that goes on with a run that is saved."""
        on_first_process(self.uploads.finish)
        total, place = self.config.total_updates, self.config.run.address or str(self.folder)
        raise Preempted(f"stopped at update {self.saved} of {total}, saved in {place}; {go_on(place)}")

    def agree(self, size: int, due: bool) -> tuple[int, bool, bool]:
        """Agrees on size of the next chunk and whether to save, by the first process, and whether any was signaled."""
        rows = all_gather((size, due, self.signal is not None))
        return rows[0][0], bool(rows[0][1]), any(row[2] for row in rows)

    def whole(self) -> TrainState:
        """Returns the state as ordinary arrays."""
        state = self.state
        return state if self.sharding is None else state._replace(runner=self.sharding.fetch(state.runner))

    def catch(self, number: int, frame: Any) -> None:
        """Handles a signal: the loop stops after the chunk; a second signal exits at once."""
        if self.signal is not None:
            os._exit(75)
        self.signal = number
        print("\nstopping after this chunk; once more to exit at once", file=sys.stderr)

    def advance(self, updates: int) -> float:
        """Runs a chunk, checks that its numbers are finite, and returns its seconds."""
        started = time.perf_counter()
        runner, metrics = self.chunk(self.state.runner, self.params, np.int32(updates))
        metrics = jax.device_get(metrics)
        seconds = time.perf_counter() - started
        self.state = self.state._replace(runner=runner)
        self.done += updates
        self.train_seconds += seconds
        self.check_numbers()
        weighted = jax.tree.map(lambda x: x * updates, metrics)
        self.sums = weighted if self.sums is None else jax.tree.map(np.add, self.sums, weighted)
        self.summed += updates
        return seconds

    def check_numbers(self) -> None:
        """Warns of the first skipped steps, and aborts where there are too many.

        Raises:
            NumericalError: too many steps were skipped; the last good checkpoint is kept.
        """
        guard = jax.device_get(self.state.runner.guard)
        self.healthy = not guard.in_a_row.any()
        if guard.skipped.any() and not self.warned:
            self.warned = True
            seed, update = first_bad(guard.first)
            runner = self.back_at(update)
            self.bad = on_first_process(lambda: dump_rollout(self.setup, runner, seed, self.folder))
            warn(
                f"{guard.skipped.sum()} steps of the optimizer were skipped: their numbers were not finite; "
                f"the first is of update {update}, whose rollout is in {self.bad}"
            )
        if np.any(should_abort(guard)):
            on_first_process(lambda: write_json(self.folder / FAILED, {"update": self.done}))
            raise NumericalError(
                f"the numbers went bad before update {self.done} ({guard.skipped.sum()} of {guard.steps.sum()} steps "
                f"of the optimizer could not be taken); {self.folder} keeps its checkpoint of update "
                f"{self.saved}: {remedy(self.config.policy, self.bad)}"
            )

    def back_at(self, update: int) -> LearnerState:
        """Recomputes the runner before an update from the newest checkpoint: training is deterministic."""
        done, state, _ = self.restore(jax.eval_shape(first_state(self.setup)))
        runner = state.runner if self.sharding is None else self.sharding.shard(state.runner)
        runner, _ = self.chunk(runner, self.params, np.int32(update - done))
        return runner if self.sharding is None else self.sharding.fetch(runner)

    def warn_of_collapse(self, log_std: float) -> None:
        """Warns once where exploration has collapsed without annealing."""
        fallen = log_std - self.first_log_std
        if fallen < COLLAPSED and self.config.ppo.final_std == 1 and not self.warned_of_collapse:
            self.warned_of_collapse = True
            warn(
                f"the exploration collapsed, its log deviation fell by {-fallen:.1f} to {log_std:.1f}: try "
                "--ent-coef 0.01 or --learning-rate 1e-4"
            )

    def take_means(self) -> Metrics:
        """Returns the means over the updates since the newest evaluation, whatever the chunks."""
        means = jax.tree.map(lambda x: x / self.summed, self.sums)
        self.sums, self.summed = None, 0
        return means

    def validate(self, bar: ProgressBar) -> None:
        """Scores the policies and keeps the best parameters of each seed."""
        started, means = time.perf_counter(), self.take_means()
        variables = self.state.runner.variables
        if self.sharding is not None:  # every process scores on its own first device
            variables = self.sharding.fetch(variables)
        scores = self.task.score(variables)
        self.state = self.state._replace(
            best=better(self.state.best, variables, scores.astype(np.float32), np.int32(self.done))
        )
        self.evaluate_seconds += time.perf_counter() - started
        episode_return = float(np.mean(means.reward)) * self.config.ppo.episode_steps
        record = {
            "update": self.done,
            "steps": self.steps(self.done),
            "episodes": self.steps(self.done) / self.config.ppo.episode_steps,
            "seconds": round(self.train_seconds, 3),
            "steps_per_second": round(self.speed(), 1),
            "episode_return": episode_return,
            **self.task.record(scores),
            **{name: float(np.mean(x)) for name, x in means._asdict().items() if name != "terms"},
            **{name: float(np.mean(x)) for name, x in means.terms._asdict().items()},
        }
        if is_first():
            self.log.write(null_if_nan(record))
        self.warn_of_collapse(float(np.mean(means.log_std)))
        best = float(np.max(np.asarray(self.state.best.sharpe)))
        self.evaluated = self.task.text(scores, best), f"return/episode {episode_return:+.4f}"
        if not bar.live:
            bar.line(self.steps(self.done), self.status())

    def status(self) -> str:
        """Words scores of the newest evaluation, speed and mean return, the most important first."""
        scores, mean = self.evaluated
        return f"{scores}  {self.speed():,.0f} steps/s  {mean}"

    def steps(self, updates: int) -> int:
        """Converts updates to steps of one seed."""
        return updates * self.config.steps_per_update

    def speed(self) -> float:
        """Computes steps per second of training, without compilation and evaluation."""
        return self.steps(self.done) * self.config.run.num_seeds / max(self.train_seconds, 1e-9)

    def save(self) -> None:
        """Writes a checkpoint."""
        meta = {"fingerprint": self.task.fingerprint, "train_seconds": self.train_seconds}
        state = self.whole()

        def write() -> None:
            self.uploads.wait()  # old checkpoints go with each save; an upload may be reading them
            self.checkpoints.save(self.done, state, meta | self.origin)
            self.uploads.push()

        on_first_process(write)
        self.saved = self.done

    def timings(self) -> dict[str, Any]:
        """Collects seconds by part, speed and memory, for result.json."""
        return {
            "device": jax.devices()[0].device_kind,
            "data_seconds": self.data_seconds,
            "compile_seconds": self.compile_seconds,
            "train_seconds": self.train_seconds,
            "evaluate_seconds": self.evaluate_seconds,
            "updates": self.done,
            "steps": self.steps(self.done),
            "steps_per_second": self.speed() if self.train_seconds else None,
            "schedule_updates": int(np.asarray(self.state.runner.hyper.total_updates).flat[0]),
            "peak_memory_mb": peak_memory_mb(),
        }
