"""The course of a run: chunks of updates, evaluations, checkpoints, and the judgement at the end."""

import os
import resource
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax import metrics
from himari_jax.errors import NumericalError, Preempted
from train.checkpoint import Checkpoints
from train.config import Config
from train.evaluate import Limits, make_tape, run_policy, whole_span
from train.final import judge_run
from train.folder import claim, default_folder, describe, has_checkpoints, lock, read_result, write_json
from train.judge import null_if_nan, zero_if_nan
from train.learner import Metrics
from train.logs import Bar, MetricsLog
from train.provenance import bar_name, findings_of, made_by
from train.session import Best, Session, build_session, compile_chunk, first_state
from train.table import print_result

CHUNK_SECONDS = 1.0  # a signal waits for the end of a chunk


def train(config: Config, resumed: Path | None = None) -> int:
    """Trains, judges, prints; 0 when done.

    Args:
        config: flags.
        resumed: the folder that `--resume` found.
    """
    begun = time.perf_counter()
    session = build_session(config)
    folder = resumed or Path(config.run.run_dir or default_folder(config, session.symbols))
    claim(folder, config, session.candles.fingerprint)
    earlier = read_result(folder)
    if earlier is not None and earlier["timings"]["updates"] >= config.total_updates:
        print_result(earlier, config, folder)
        return 0
    with lock(folder):
        announce(session, folder)
        course = Course(session, folder, time.perf_counter() - begun)
        course.run()
        result = judge_run(session, course.state.best, folder, course.timings())
    print_result(result, config, folder)
    return 0


def announce(session: Session, folder: Path) -> None:
    """Says what will run: candles, sizes, rounding, device."""
    config, candles = session.config, session.candles
    days = len(candles.time) * candles.bar_ms / 86_400_000
    kind = "SYNTHETIC " if candles.synthetic else ""
    length = f"{len(candles.time):,} bars of {bar_name(candles.bar_ms)} ({days:,.0f} days)"
    print(f"{kind}{' '.join(session.symbols)}: {length}")
    for entry in session.report.entries:
        print(f"  {entry['symbol']}: {entry['kind']} ({entry['count']}): {entry['detail']}")
    steps = config.total_updates * config.steps_per_update
    rounding = f", rounded up from {config.wanted_steps:,}" if steps != config.wanted_steps else ""
    print(
        f"{config.policy.policy}, {session.learner.env.observation_space(session.params).shape[0]} numbers in, "
        f"{len(session.symbols)} out; {steps:,} steps = {config.total_updates} updates of {config.num_envs} "
        f"environments x {config.ppo.rollout_steps} bars{rounding}; on {jax.devices()[0].device_kind}"
    )
    print(f"run folder: {folder}")


class Course:
    """A run under way: its state, clock and files."""

    def __init__(self, session: Session, folder: Path, data_seconds: float):
        self.session, self.config, self.folder = session, session.config, folder
        self.data_seconds = data_seconds
        self.compile_seconds = self.train_seconds = self.evaluate_seconds = 0.0
        self.signal: int | None = None
        self.told = ""  # the newest evaluation
        self.origin = made_by(session)  # once: it asks git
        self.tape = make_tape(session.params.market, session.split.val)
        self.sums: Metrics | None = None  # since the newest evaluation
        self.summed = 0
        continued = has_checkpoints(folder)
        if not continued:  # first of all: a folder without it is nobody's
            self.write_headers()
        self.checkpoints = Checkpoints(folder / "checkpoints", self.config.run.keep)
        make = first_state(session)
        print("compiling ...", flush=True)
        started = time.perf_counter()
        if continued:
            like = jax.eval_shape(make)
            self.done, self.state, meta = self.checkpoints.restore(like)
            self.train_seconds = float(meta["train_seconds"])
            print(f"continuing at update {self.done}")
            self.write_headers()
        else:
            self.done, self.state = 0, jax.block_until_ready(make())
        self.chunk = compile_chunk(session, self.state.runner)
        self.compile_seconds = time.perf_counter() - started
        self.log = MetricsLog(folder, self.done)

    def write_headers(self) -> None:
        """config.json and data_report.json."""
        write_json(self.folder / "config.json", describe(self.config, self.origin))
        write_json(self.folder / "data_report.json", findings_of(self.session.candles, self.session.report))

    def run(self) -> None:
        """Chunks of updates until the end or a signal."""
        total = self.config.total_updates
        every_eval = self.config.interval_updates(self.config.run.eval_interval, 20)
        every_save = self.config.interval_updates(self.config.run.save_interval, 10)
        handlers = {s: signal.signal(s, self.catch) for s in (signal.SIGINT, signal.SIGTERM)}
        size, saved = 1, self.done
        try:
            with Bar(total, self.done) as bar:
                while self.done < total:
                    stops = (total, *(self.done - self.done % n + n for n in (every_eval, every_save)))
                    seconds = self.advance(min(size, min(stops) - self.done))
                    size = max(1, min(2 * size, int(size * CHUNK_SECONDS / max(seconds, 1e-3))))
                    if self.done % every_eval == 0 or self.done == total:
                        self.validate(bar)
                    bar.update(self.done, self.pace())
                    if self.done % every_save == 0 or self.done == total or self.signal:
                        self.save()
                        saved = self.done
                    if self.signal and self.done < total:
                        raise Preempted(
                            f"stopped at update {saved} of {total}, saved in {self.folder}; go on with: "
                            f"python -m train.ppo --resume --run-dir {shlex.quote(str(self.folder))}"
                        )
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self.log.close()
            self.checkpoints.close()

    def catch(self, number: int, frame: Any) -> None:
        """Asks the loop to stop after the chunk; a second signal exits at once."""
        if self.signal is not None:
            os._exit(75)
        self.signal = number
        print("\nstopping after this chunk; once more to exit at once", file=sys.stderr)

    def advance(self, updates: int) -> float:
        """Runs a chunk, checks that its numbers are finite, and returns its seconds."""
        started = time.perf_counter()
        runner, told = self.chunk(self.state.runner, self.session.params, np.int32(updates))
        told = jax.device_get(told)
        seconds = time.perf_counter() - started
        self.state = self.state._replace(runner=runner)
        self.done += updates
        self.train_seconds += seconds
        if not np.all(np.isfinite(told.terms.loss) & np.isfinite(told.grad_norm)):
            kept = f"{self.folder} keeps its last good checkpoint" if self.checkpoints.steps() else "nothing was saved"
            raise NumericalError(
                f"the loss left the finite numbers before update {self.done}; {kept}: "
                "try a lower --learning-rate (1e-4) or --max-grad-norm"
            )
        weighted = jax.tree.map(lambda x: x * updates, told)
        self.sums = weighted if self.sums is None else jax.tree.map(np.add, self.sums, weighted)
        self.summed += updates
        return seconds

    def take_means(self) -> Metrics:
        """Means over the updates since the newest evaluation, however they were cut into chunks."""
        means = jax.tree.map(lambda x: x / self.summed, self.sums)
        self.sums, self.summed = None, 0
        return means

    def validate(self, bar: Bar) -> None:
        """Evaluates on the validation span and keeps the best parameters of each seed."""
        started, told = time.perf_counter(), self.take_means()
        runner = self.state.runner
        sharpes = self.validation_sharpes(runner.variables)
        self.state = self.state._replace(best=better(self.state.best, runner.variables, sharpes, self.done))
        self.evaluate_seconds += time.perf_counter() - started
        episode_return = float(np.mean(told.reward)) * self.config.ppo.episode_steps
        record = {
            "update": self.done,
            "steps": self.done * self.config.steps_per_update,
            "episodes": self.done * self.config.steps_per_update / self.config.ppo.episode_steps,
            "seconds": round(self.train_seconds, 3),
            "steps_per_second": round(self.speed(), 1),
            "episode_return": episode_return,
            "validation_sharpe": float(sharpes.mean()),
            "validation_sharpe_by_seed": sharpes.tolist(),
            **{name: float(np.mean(x)) for name, x in told._asdict().items() if name != "terms"},
            **{name: float(np.mean(x)) for name, x in told.terms._asdict().items()},
        }
        self.log.write(null_if_nan(record))
        best = float(np.max(np.asarray(self.state.best.sharpe)))
        text = f"return/episode {episode_return:+.4f}  validation Sharpe {sharpes.mean():+.2f}  best {best:+.2f}"
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

    def validation_sharpes(self, variables: dict) -> np.ndarray:
        """Annual Sharpe of each seed on the validation span, (K,)."""
        params, year = self.session.params, self.session.candles.bars_per_year
        limits = Limits(params.max_position_pct, params.max_gross, params.min_trade)
        steps, lanes = whole_span(self.tape, params.costs.rate)
        path = run_policy(self.session.learner.policy, steps, variables, self.tape, lanes, limits)
        return np.array([zero_if_nan(metrics.sharpe(r, year)) for r in np.asarray(path.returns)[..., 0]])

    def save(self) -> None:
        """Writes a checkpoint."""
        meta = {"fingerprint": self.session.candles.fingerprint, "train_seconds": self.train_seconds}
        self.checkpoints.save(self.done, self.state, meta | self.origin)

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


def better(best: Best, variables: dict, sharpes: np.ndarray, update: int) -> Best:
    """Takes over the parameters of the seeds that did better than ever."""
    won = jnp.asarray(sharpes, jnp.float32) > best.sharpe

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(won.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return Best(
        variables=jax.tree.map(choose, variables, best.variables),
        sharpe=choose(jnp.asarray(sharpes, jnp.float32), best.sharpe),
        update=choose(jnp.full_like(best.update, update), best.update),
    )
