"""Programs beside training: peers, the account alone, policies in the loop, retrainings."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from train.benchmarks import backtest
from train.benchmarks.gpu.programs import Job, Program
from train.benchmarks.peers.himari import flags_of
from train.benchmarks.peers.schedule import values_of
from train.benchmarks.peers.trial import Trial, Values
from train.diagnosis.subject import REWARD_SCALE
from train.reporting.stages import peak_memory_mb

PEER_ENGINES = ("numba loop", "vectorbt")  # they compute on the host


def peer_jobs(sizes: tuple[int, ...]) -> list[Job]:
    """Lists jobs of rejax PPO on the embedded candles with this project's values; none where it is not installed.

    Args:
        sizes: environments.
    """
    if importlib.util.find_spec("rejax") is None:
        return []
    return [Job("rejax", size, "envs", "steps/s", partial(peer_program, size)) for size in sizes]


def peer_program(num_envs: int) -> Program:
    """Builds a program of a few updates of rejax."""
    from train.benchmarks.peers.rejax import RejaxPeer

    blank = Values(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0)
    trial = Trial(
        purpose="speed", contestant="rejax", policy="mlp", market="candles", values="ours", num_envs=num_envs,
        learning_rate=1e-3, seed=0, limit=0, goal=0.9, device="", hyper=blank, twin={},
    )  # fmt: skip
    config = flags_of(trial.as_ours())
    values = values_of(config, config.initial_log_std(config.market.cost > 0), REWARD_SCALE)
    racer = RejaxPeer(replace(trial, hyper=values))
    return Program(racer.advance, racer.steps, racer.compile_seconds)


def backtest_jobs(columns: tuple[int, ...], lanes: int) -> list[Job]:
    """Lists jobs of the account alone, and of policies in the loop beside the bare forward pass of the same batch.

    Args:
        columns: of given weights.
        lanes: side by side, with a policy.
    """
    engines = [name for name in backtest.account_engines() if name not in PEER_ENGINES]
    jobs = [
        Job(f"account, {name}", n, "columns", "bars/s", partial(account_program, name, n))
        for n in columns
        for name in engines
    ]
    for core, assets, width in backtest.POLICIES:
        name = f"{core}, {assets} asset{'s' * (assets > 1)}"
        for place, which in (("loop", 0), ("forward", 1)):
            jobs.append(
                Job(
                    f"{place} {name}",
                    lanes,
                    "lanes",
                    "bars/s",
                    partial(loop_program, core, assets, width, lanes, which),
                )
            )
    return jobs


def account_program(engine: str, columns: int) -> Program:
    """Builds a program that computes the returns of given weights."""
    run = backtest.account_engines()[engine](*backtest.series(columns))
    return started(run, backtest.BARS * columns)


def loop_program(core: str, assets: int, width: int, lanes: int, which: int) -> Program:
    """Builds a program of a policy in the loop (0), or of its forward pass alone (1)."""
    runs = backtest.policy_runs(core, assets, width, lanes)
    return started(runs[which], backtest.STEPS[core] * lanes)


def started(run: Callable[[], Any], work: int) -> Program:
    """Makes a program of a function that compiles in its first call, and times that call."""
    began = time.perf_counter()
    jax.block_until_ready(run())
    return Program(run, work, time.perf_counter() - began)


class OutOfTime(Exception):
    """Raised between two pieces of work once the time is over."""


class Deadline:
    """In the place of signals, which a population asks whether to stop.

    Args:
        end: on `time.monotonic`.
    """

    def __init__(self, end: float):
        self.end = end

    def check(self) -> None:
        """Stops the work where the time is over."""
        if time.monotonic() > self.end:
            raise OutOfTime


def retrain(number: int, steps: int, end: float) -> tuple[float, float, float]:
    """Trains a population of small runs: seconds of all, of compiling, and MB of the process.

    Args:
        number: trainings.
        steps: of each.
        end: on `time.monotonic`, at which it is given up.

    Raises:
        OutOfTime: then.
    """
    from train.benchmarks.population import retraining_members
    from train.training.batches import Totals
    from train.training.population import train_population

    totals, signals = Totals(), Deadline(end)
    members = retraining_members(number, steps)
    began = time.perf_counter()
    untyped: Any = signals
    train_population(members, totals=totals, signals=untyped)
    return time.perf_counter() - began, totals.compile_seconds, peak_memory_mb()
