"""A run from its flags to its last line: on candles, or on a market with a known optimum."""

import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax import metrics
from himari_jax.errors import InputError
from train.config import Config, RunConfig
from train.course import Course, Exam
from train.evaluate import Limits, make_tape, run_policy, whole_span
from train.final import judge_run
from train.folder import claim, default_folder, lock, read_result
from train.hosts import from_all, is_first, lead, text_of_first
from train.judge import zero_if_nan
from train.layout import device_count
from train.mirror import refuse_mirror
from train.oracle_run import OracleExam, build_setup
from train.oracle_table import print_oracle
from train.provenance import bar_name, findings_of, made_by
from train.remote import NoUploads, Uploads, finish_upload, uploads
from train.session import Session, Setup, build_session
from train.stored import config_hash
from train.table import print_result


def train(config: Config, resumed: Path | None = None) -> int:
    """Trains, judges, prints; 0 when done.

    Args:
        config: flags.
        resumed: the folder that `--resume` found, or the mirror of a run in a bucket.
    """
    begun = time.perf_counter()
    exam = CandleExam(build_session(config)) if config.data.env is None else OracleExam(build_setup(config))
    compare_notes(exam)
    folder = Path(text_of_first(str(resumed or config.run.run_dir or default_folder(config, exam.names))))
    earlier = lead(lambda: open_folder(folder, config, exam.fingerprint))
    tell = print_result if config.data.env is None else print_oracle
    if from_all((earlier is not None,))[0][0]:
        if earlier is not None:
            tell(earlier, config, folder)
            finish_upload(config.run.address, folder, config.run.keep)
        return 0
    with contextlib.ExitStack() as held:
        sending = lead(lambda: hold(held, folder, config.run)) or NoUploads()
        announce(exam, folder)
        course = Course(exam, folder, time.perf_counter() - begun, sending)
        course.run()
        if is_first():
            result = exam.judge(course.state, folder, course.timings())
            tell(result, config, folder)
    return 0


def open_folder(folder: Path, config: Config, fingerprint: str) -> dict[str, Any] | None:
    """Claims the run folder; the result of a run there that is finished."""
    refuse_mirror(folder, config.run.address)
    claim(folder, config, fingerprint)
    earlier = read_result(folder)
    return earlier if earlier is not None and earlier["timings"]["updates"] >= config.total_updates else None


def hold(held: contextlib.ExitStack, folder: Path, run: RunConfig) -> Uploads | NoUploads:
    """Locks the run folder and takes over the one in a bucket, until `held` closes."""
    held.enter_context(lock(folder))
    sending = uploads(run.address, folder, run.keep)
    held.enter_context(sending)
    return sending


def compare_notes(exam: Exam) -> None:
    """Makes sure that all processes were given the same.

    Raises:
        InputError: another process has other flags or data.
    """
    config = exam.setup.config
    run = config.run
    loop = (run.seed, run.num_seeds, run.eval_interval, run.save_interval, run.devices, run.deterministic)
    texts = (config_hash(config), hashlib.sha256(repr(loop).encode()).hexdigest(), exam.fingerprint)
    marks = from_all((*(int(text[:7], 16) for text in texts), config.total_updates))
    names = ("flags", "--seed, --num-seeds, intervals, --devices or --deterministic", "data", "--total-steps")
    for k, marked in enumerate(marks):
        for what, mine, other in zip(names, marks[0], marked, strict=True):
            if mine != other:
                raise InputError(f"process {k} has other {what} than process 0; give all of them the same")


def announce(exam: Exam, folder: Path) -> None:
    """Says what will run: market, sizes, rounding, device."""
    setup, config = exam.setup, exam.setup.config
    for line in exam.headline():
        print(line)
    steps = config.total_updates * config.steps_per_update
    rounding = f", rounded up from {config.wanted_steps:,}" if steps != config.wanted_steps else ""
    count = device_count(config.run.devices)
    where = f"{count} x {jax.devices()[0].device_kind}" if count > 1 else jax.devices()[0].device_kind
    together = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(
        f"{config.policy.policy}, {setup.width} numbers in, {setup.learner.env.num_assets} out; {steps:,} steps = "
        f"{config.total_updates} updates of {config.num_envs} environments x {config.ppo.rollout_steps} bars"
        f"{rounding}; on {where}{together}"
    )
    place = config.run.address
    print(f"run folder: {folder}" if place is None else f"run folder: {place} (mirror: {folder})")


class CandleExam:
    """Sharpe ratio on the validation span on the way; the test span, costs and a verdict at the end."""

    def __init__(self, session: Session):
        self.session = session
        self.tape = make_tape(session.params.market, session.split.val)

    @property
    def setup(self) -> Setup:
        """What learning needs."""
        return self.session

    @property
    def names(self) -> tuple[str, ...]:
        """What the run folder is named after."""
        return self.session.symbols

    @property
    def fingerprint(self) -> str:
        """Hash of the candles."""
        return self.session.candles.fingerprint

    def headline(self) -> list[str]:
        """Candles, and what was found in them."""
        candles = self.session.candles
        days = len(candles.time) * candles.bar_ms / 86_400_000
        kind = "SYNTHETIC " if candles.synthetic else ""
        length = f"{len(candles.time):,} bars of {bar_name(candles.bar_ms)} ({days:,.0f} days)"
        found = [f"  {x['symbol']}: {x['kind']} ({x['count']}): {x['detail']}" for x in self.session.report.entries]
        return [f"{kind}{' '.join(self.session.symbols)}: {length}", *found]

    def origin(self) -> dict[str, Any]:
        """Versions, device, commit and data."""
        return made_by(self.session)

    def findings(self) -> dict[str, Any]:
        """What was found in the candles."""
        return findings_of(self.session.candles, self.session.report)

    def score(self, variables: dict) -> np.ndarray:
        """Annual Sharpe ratio of each seed on the validation span, (K,)."""
        params, year = self.session.params, self.session.candles.bars_per_year
        limits = Limits.of(params)
        steps, lanes = whole_span(self.tape, params.costs.rate)
        path = run_policy(self.session.learner.policy, steps, variables, self.tape, lanes, limits)
        return np.array([zero_if_nan(metrics.sharpe(r, year)) for r in np.asarray(path.returns)[..., 0]])

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Mean and each."""
        return {"validation_sharpe": float(scores.mean()), "validation_sharpe_by_seed": scores.tolist()}

    def text(self, scores: np.ndarray, best: float) -> str:
        """Mean and best so far."""
        return f"validation Sharpe {scores.mean():+.2f}  best {best:+.2f}"

    def judge(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """The best of each seed on the test span."""
        return judge_run(self.session, state.best, folder, timings)
