"""A program that is timed, and how one of training is built: compiled ahead, its state on the device."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from himari_jax.policies import lstm
from train.config.ppo import Config
from train.diagnosis.subject import default_config, first_runners, program_memory
from train.learning.setup import Setup, compile_chunk
from train.training.session import build_session


@dataclass(frozen=True)
class Program:
    """Compiled, and ready to be run again and again.

    Args:
        run: does the work once; what it returns can be waited for.
        work: steps or bars of a run.
        compile_seconds: with its tracing.
        program_mb: memory that it needs while it runs; None where that is not known.
    """

    run: Callable[[], Any]
    work: int
    compile_seconds: float
    program_mb: float | None = None


@dataclass(frozen=True)
class Job:
    """A row of the table before it is measured.

    Args:
        name: of the row; jobs of one name differ in size alone.
        size: environments, columns or lanes.
        of: what they are.
        unit: of the work.
        build: makes the program; called in a thread.
    """

    name: str
    size: int
    of: str
    unit: str
    build: Callable[[], Program]

    @property
    def title(self) -> str:
        """Name and size, in words."""
        return f"{self.name}, {self.size:,} {self.of}"


# Name, policy, assets and fields of PPOConfig.
TRAINING: dict[str, tuple[str, int, dict[str, Any]]] = {
    "mlp": ("mlp", 1, {}),
    "mlp --baseline value": ("mlp", 1, {"baseline": "value"}),
    "lstm": ("lstm", 1, {}),
    "multi, 3 assets": ("mlp", 3, {}),
    "pathwise mlp": ("mlp", 1, {"algorithm": "pathwise"}),
    "pathwise lstm": ("lstm", 1, {"algorithm": "pathwise"}),
}


def recurrences() -> tuple[str, ...]:
    """Forms of the LSTM's recurrence."""
    return tuple(lstm.FORMS)


def training_jobs(sizes: tuple[int, ...]) -> list[Job]:
    """Jobs of every kind of training, the small sizes first.

    Args:
        sizes: environments; 0 is the default of the policy.
    """
    jobs = []
    for size in sizes:
        for name, (policy, assets, fields) in TRAINING.items():
            for form in recurrences() if name == "lstm" else ("",):
                config = default_config(policy, assets, num_envs=size or None, **fields)
                title = f"{name}, {form}" if form else name
                jobs.append(Job(title, config.num_envs, "envs", "steps/s", partial(training_program, config, form)))
    return jobs


def training_program(config: Config, form: str = "") -> Program:
    """Builds a program of one update of a run.

    Args:
        config: flags.
        form: of the LSTM's recurrence; empty: the default.
    """
    setup: Setup = build_session(config)
    if form:
        setup = with_form(setup, form)
    runner = jax.tree.map(lambda x: x[:1], first_runners(setup))
    began = time.perf_counter()
    chunk = compile_chunk(setup, runner, setup.params)
    seconds = time.perf_counter() - began

    def run() -> Any:
        nonlocal runner
        runner, info = chunk(runner, setup.params, np.int32(1))
        return info

    return Program(run, config.steps_per_update, seconds, program_memory(chunk))


def with_form(setup: Setup, form: str) -> Setup:
    """Returns the same training with another form of the recurrence."""
    policy = setup.learner.policy
    core: Any = policy.core
    return replace(setup, learner=replace(setup.learner, policy=policy.clone(core=core.clone(form=form))))
