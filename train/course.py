"""The course of a run: chunks of updates, scores, checkpoints; what it trains for is an exam's."""

import os
import resource
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.errors import NumericalError, Preempted, StorageError
from train.checkpoint import Checkpoints, host_shape, to_device, to_host
from train.folder import describe, has_checkpoints, write_json
from train.guard import hopeless
from train.hosts import from_all, from_first, is_first, lead
from train.judge import null_if_nan
from train.layout import make_layout
from train.learner import Metrics, Runner
from train.logs import Bar, MetricsLog
from train.remote import NoUploads, Uploads
from train.session import Best, Setup, TrainState, compile_chunk, first_state

COLLAPSED = -3.0  # fall of the log deviation of the exploration: a twentieth is left
CHUNK_SECONDS = 1.0  # a signal waits for the end of a chunk


class Exam(Protocol):
    """What a course is for: says what runs, scores policies on the way, judges at the end."""

    @property
    def setup(self) -> Setup:
        """What learning needs."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the run folder is named after."""

    @property
    def fingerprint(self) -> str:
        """Hash of the market's data."""

    def headline(self) -> list[str]:
        """What is trained on, in lines."""

    def origin(self) -> dict[str, Any]:
        """What made the run, for `config.json` and every checkpoint."""

    def findings(self) -> dict[str, Any]:
        """What `data_report.json` holds."""

    def score(self, variables: dict) -> np.ndarray:
        """A score of each seed's policy, (K,): the larger, the better."""

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Scores as a line of `metrics.jsonl` names them."""

    def text(self, scores: np.ndarray, best: float) -> str:
        """Scores as the progress shows them."""

    def judge(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """Judges a finished run and writes its result."""


class Course:
    """A run under way: its state, clock and files."""

    def __init__(self, exam: Exam, folder: Path, data_seconds: float, uploads: Uploads | NoUploads | None = None):
        self.exam, self.setup, self.config, self.folder = exam, exam.setup, exam.setup.config, folder
        self.data_seconds, self.uploads = data_seconds, uploads or NoUploads()
        self.compile_seconds = self.train_seconds = self.evaluate_seconds = 0.0
        self.signal: int | None = None
        self.told = ""  # the newest evaluation
        self.origin = exam.origin()  # once: it asks git
        self.sums: Metrics | None = None  # since the newest evaluation
        self.summed = 0
        self.healthy, self.warned_of_collapse = True, False
        self.layout = make_layout(self.config.run.devices, self.setup.learner.sizes)
        continued = bool(from_all((is_first() and has_checkpoints(folder),))[0][0])
        if not continued:  # first of all: a folder without it is nobody's
            lead(self.write_headers)
        self.checkpoints: Any = lead(lambda: Checkpoints(folder / "checkpoints", self.config.run.keep))
        make = first_state(self.setup)
        print("compiling ...", flush=True)
        started = time.perf_counter()
        if continued:
            self.done, self.state, self.train_seconds = self.restore(jax.eval_shape(make))
            print(f"continuing at update {self.done}")
            lead(self.write_headers)
        else:
            self.done, self.state = 0, jax.block_until_ready(make())
        self.saved, self.params = self.done, self.setup.params
        self.warned = bool(np.any(jax.device_get(self.state.runner.guard.skipped)))  # in an earlier part of the run
        if self.layout is not None:
            self.params = self.layout.copy(self.params)
            self.state = self.state._replace(runner=self.layout.spread(self.state.runner))
        self.chunk = compile_chunk(self.setup, self.state.runner, self.params, self.layout)
        self.compile_seconds = time.perf_counter() - started
        self.first_log_std = float(np.mean(self.setup.learner.policy.initial_log_std))
        self.log: Any = lead(lambda: MetricsLog(folder, self.done))
        if not continued:
            self.save()  # the last good step of a run that goes wrong at once

    def write_headers(self) -> None:
        """config.json and data_report.json."""
        write_json(self.folder / "config.json", describe(self.config, self.origin))
        write_json(self.folder / "data_report.json", self.exam.findings())

    def restore(self, like: TrainState) -> tuple[int, TrainState, float]:
        """Updates done, state and seconds of training of the newest usable checkpoint, in every process."""
        found: Any = lead(lambda: self.checkpoints.restore(like))
        if jax.process_count() == 1:
            return found[0], found[1], float(found[2]["train_seconds"])
        blank = (np.int32(0), jax.tree.map(host_shape, like), np.float64(0))
        told = (
            blank if found is None else (np.int32(found[0]), to_host(found[1]), np.float64(found[2]["train_seconds"]))
        )
        done, host, seconds = from_first(told)
        return int(done), to_device(host, like), float(seconds)

    def run(self) -> None:
        """Chunks of updates until the end or a signal."""
        total = self.config.total_updates
        every_eval = self.config.interval_updates(self.config.run.eval_interval, 20)
        every_save = self.config.interval_updates(self.config.run.save_interval, 10)
        handlers = {s: signal.signal(s, self.catch) for s in (signal.SIGINT, signal.SIGTERM)}
        size, clock = 1, time.monotonic()
        try:
            with Bar(total, self.done) as bar:
                while self.done < total:
                    stops = (total, *(self.done - self.done % n + n for n in (every_eval, every_save)))
                    seconds = self.advance(min(size, min(stops) - self.done))
                    size = max(1, min(2 * size, int(size * CHUNK_SECONDS / max(seconds, 1e-3)), total))
                    if self.done % every_eval == 0 or self.done == total:
                        self.validate(bar)
                    bar.update(self.done, self.pace())
                    due = time.monotonic() - clock >= self.config.run.save_seconds
                    size, due, stopped = self.agree(size, due)
                    if ((self.done % every_save == 0 or due) and self.healthy) or self.done == total or stopped:
                        self.save()
                        clock = time.monotonic()
                    if stopped and self.done < total:
                        lead(self.uploads.finish)
                        place = self.config.run.address or str(self.folder)
                        raise Preempted(
                            f"stopped at update {self.saved} of {total}, saved in {place}; go on with: "
                            f"python -m train.ppo --resume --run-dir {shlex.quote(place)}"
                        )
            self.state = self.whole()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if is_first():
                self.log.close()
                self.checkpoints.close()

    def agree(self, size: int, due: bool) -> tuple[int, bool, bool]:
        """Size of the next chunk and whether to save, as the first process says; whether any was told to stop."""
        told = from_all((size, due, self.signal is not None))
        return told[0][0], bool(told[0][1]), any(row[2] for row in told)

    def whole(self) -> TrainState:
        """The state as ordinary arrays."""
        state = self.state
        return state if self.layout is None else state._replace(runner=self.layout.fetch(state.runner))

    def catch(self, number: int, frame: Any) -> None:
        """Asks the loop to stop after the chunk; a second signal exits at once."""
        if self.signal is not None:
            os._exit(75)
        self.signal = number
        print("\nstopping after this chunk; once more to exit at once", file=sys.stderr)

    def advance(self, updates: int) -> float:
        """Runs a chunk, checks that its numbers are finite, and returns its seconds."""
        started = time.perf_counter()
        runner, told = self.chunk(self.state.runner, self.params, np.int32(updates))
        told = jax.device_get(told)
        seconds = time.perf_counter() - started
        self.state = self.state._replace(runner=runner)
        self.done += updates
        self.train_seconds += seconds
        self.check_numbers()
        weighted = jax.tree.map(lambda x: x * updates, told)
        self.sums = weighted if self.sums is None else jax.tree.map(np.add, self.sums, weighted)
        self.summed += updates
        return seconds

    def check_numbers(self) -> None:
        """Warns of the first steps that the guard did not take, and gives up where there are too many.

        Raises:
            NumericalError: then; the last good checkpoint is kept.
        """
        guard = jax.device_get(self.state.runner.guard)
        self.healthy = not guard.in_a_row.any()
        if guard.skipped.any() and not self.warned:
            self.warned = True
            seed, update = first_bad(guard.first)
            runner = self.back_at(update)
            where = lead(lambda: dump_rollout(self.setup, runner, seed, self.folder))
            warn(
                f"{guard.skipped.sum()} steps of the optimiser were not taken: their numbers were not finite or "
                f"exploded; the first is of update {update}, whose rollout is in {where}"
            )
        if np.any(hopeless(guard)):
            raise NumericalError(
                f"the numbers went bad before update {self.done} ({guard.skipped.sum()} of {guard.steps.sum()} steps "
                f"of the optimiser could not be taken); {self.folder} keeps its checkpoint of update "
                f"{self.saved}: try --learning-rate 1e-4, a lower --max-grad-norm or "
                "--lstm-num-layers 1, and look for the cause in bad_rollout.npz"
            )

    def back_at(self, update: int) -> Runner:
        """The runner before an update, played again from the newest checkpoint: a course repeats itself exactly."""
        done, state, _ = self.restore(jax.eval_shape(first_state(self.setup)))
        runner = state.runner if self.layout is None else self.layout.spread(state.runner)
        runner, _ = self.chunk(runner, self.params, np.int32(update - done))
        return runner if self.layout is None else self.layout.fetch(runner)

    def warn_of_collapse(self, log_std: float) -> None:
        """Once, where exploration has all but gone although nobody annealed it."""
        fallen = log_std - self.first_log_std
        if fallen < COLLAPSED and self.config.ppo.final_std == 1 and not self.warned_of_collapse:
            self.warned_of_collapse = True
            warn(
                f"the exploration collapsed, its log deviation fell by {-fallen:.1f} to {log_std:.1f}: try "
                "--ent-coef 0.01 or --learning-rate 1e-4"
            )

    def take_means(self) -> Metrics:
        """Means over the updates since the newest evaluation, however they were cut into chunks."""
        means = jax.tree.map(lambda x: x / self.summed, self.sums)
        self.sums, self.summed = None, 0
        return means

    def validate(self, bar: Bar) -> None:
        """Scores the policies and keeps the best parameters of each seed."""
        started, told = time.perf_counter(), self.take_means()
        variables = self.state.runner.variables
        if self.layout is not None:  # every process scores on its own first device
            variables = self.layout.fetch(variables)
        scores = self.exam.score(variables)
        self.state = self.state._replace(best=better(self.state.best, variables, scores, self.done))
        self.evaluate_seconds += time.perf_counter() - started
        episode_return = float(np.mean(told.reward)) * self.config.ppo.episode_steps
        record = {
            "update": self.done,
            "steps": self.done * self.config.steps_per_update,
            "episodes": self.done * self.config.steps_per_update / self.config.ppo.episode_steps,
            "seconds": round(self.train_seconds, 3),
            "steps_per_second": round(self.speed(), 1),
            "episode_return": episode_return,
            **self.exam.record(scores),
            **{name: float(np.mean(x)) for name, x in told._asdict().items() if name != "terms"},
            **{name: float(np.mean(x)) for name, x in told.terms._asdict().items()},
        }
        if is_first():
            self.log.write(null_if_nan(record))
        self.warn_of_collapse(float(np.mean(told.log_std)))
        best = float(np.max(np.asarray(self.state.best.sharpe)))
        text = f"return/episode {episode_return:+.4f}  {self.exam.text(scores, best)}"
        if bar.live:
            self.told = text
        else:
            bar.line(f"update {self.done:>5} of {self.config.total_updates}  {self.pace()}  {text}")

    def pace(self) -> str:
        """Speed and the newest evaluation."""
        return f"{self.speed():,.0f} steps/s  {self.told}"

    def speed(self) -> float:
        """Steps per second of training, compilation and evaluation excluded."""
        played = self.done * self.config.steps_per_update * self.config.run.num_seeds
        return played / max(self.train_seconds, 1e-9)

    def save(self) -> None:
        """Writes a checkpoint."""
        meta = {"fingerprint": self.exam.fingerprint, "train_seconds": self.train_seconds}
        state = self.whole()

        def write() -> None:
            self.uploads.wait()  # old checkpoints go with each save; an upload may be reading them
            self.checkpoints.save(self.done, state, meta | self.origin)
            self.uploads.push()

        lead(write)
        self.saved = self.done

    def timings(self) -> dict[str, Any]:
        """Seconds by part, speed and memory."""
        return {
            "device": jax.devices()[0].device_kind,
            "data_seconds": self.data_seconds,
            "compile_seconds": self.compile_seconds,
            "train_seconds": self.train_seconds,
            "evaluate_seconds": self.evaluate_seconds,
            "updates": self.done,
            "steps": self.done * self.config.steps_per_update,
            "steps_per_second": self.speed() if self.train_seconds else None,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def warn(text: str) -> None:
    """A line on stderr, once however many processes train."""
    if is_first():
        print(f"warning: {text}", file=sys.stderr)


def first_bad(updates: np.ndarray) -> tuple[int, int]:
    """The seed whose step was the first that was not taken, and its update.

    Args:
        updates: (K,) of each seed; -1 where all steps were taken.
    """
    seed = int(np.where(updates < 0, np.iinfo(np.int32).max, updates).argmin())
    return seed, int(updates[seed])


def dump_rollout(setup: Setup, runner: Runner, seed: int, folder: Path) -> Path:
    """Writes the rollout that a seed plays next, and what learning makes of it, as `bad_rollout.npz`.

    Args:
        setup: of the run.
        runner: leaves (K, ...).
        seed: index of the seed.
        folder: of the run.

    Raises:
        StorageError: it could not be written.
    """
    one = jax.tree.map(lambda x: x[seed], runner)
    _, played = jax.jit(setup.learner.play)(setup.params, one.variables, one.players)
    batch = setup.learner.judge(played, one)
    path = folder / "bad_rollout.npz"
    try:
        branches = {f"branch_{name}": value for name, value in played.branches._asdict().items()}
        told = played._replace(branches=None)._asdict() | branches | batch._asdict()
        arrays: dict[str, Any] = {name: np.asarray(x) for name, x in told.items() if x is not None}
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; make room or fix the permission") from error
    return path


def better(best: Best, variables: dict, scores: np.ndarray, update: int) -> Best:
    """Takes over the parameters of the seeds that did better than ever."""
    won = jnp.asarray(scores, jnp.float32) > best.sharpe

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(won.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return Best(
        variables=jax.tree.map(choose, variables, best.variables),
        sharpe=choose(jnp.asarray(scores, jnp.float32), best.sharpe),
        update=choose(jnp.full_like(best.update, update), best.update),
    )
