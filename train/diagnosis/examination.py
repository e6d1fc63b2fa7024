"""The examination: every law on the programs that training uses, then their speed; programs compile side by side."""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from himari_jax.command import code_of
from train.diagnosis import laws
from train.diagnosis.laws import Deviation, Skipped
from train.diagnosis.subject import MODELS, Subject, make_subject

SECONDS = 0.5  # of training over which speed is measured, about
THREADS = 4  # that compile


@dataclass(frozen=True)
class Verdict:
    """Outcome of checking a law on the device."""

    law: str
    error: float | None  # None: it was not looked at, or failed on the way
    most: float | None
    note: str = ""
    state: str = "ok"  # or WRONG, or skipped

    def record(self) -> dict[str, Any]:
        """Returns the outcome as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Speed:
    """Training speed of a model at its defaults."""

    model: str
    num_envs: int
    steps_per_second: float
    compile_seconds: float
    program_mb: float | None


def check_law(law: str, measure: Callable[[], Deviation]) -> Verdict:
    """Measures one law; whatever it raises is a law that does not hold."""
    try:
        found = measure()
    except Skipped as reason:
        return Verdict(law, None, None, str(reason), "skipped")
    except Exception as error:
        return Verdict(law, None, None, code_of(error)[1], "WRONG")
    state = "ok" if found.error <= found.most else "WRONG"  # nan is wrong
    return Verdict(law, found.error, found.most, found.note, state)


def examine_laws(subjects: dict[str, "Future[Subject]"]) -> Iterator[Verdict]:
    """Yields the verdicts one after the other; those without a model come first, while the models compile."""
    yield check_law("float32 account beside units and cash in float64", laws.account)
    yield check_law("float32 statistics beside the same in float64", laws.statistics)
    precision = check_law("float32 products beside float64", laws.products)
    yield precision
    rough = precision.error is None or precision.error > laws.ROUGH

    def of(model: str, law: Callable[[Subject], Deviation]) -> Callable[[], Deviation]:
        return lambda: law(subjects[model].result())

    for model in subjects:
        yield check_law(f"{model}: the first ratio of an update is 1", of(model, partial(laws.ratio, rough=rough)))
    first, last = next(iter(subjects)), list(subjects)[-1]
    memory = "lstm" if "lstm" in subjects else first
    yield check_law(f"{last}: replayed actions are the environment's steps", of(last, laws.replay_of))
    yield check_law(f"{memory}: resumed equals uninterrupted, leaves that differ", of(memory, laws.resume))
    yield check_law(f"{first}: a population equals single runs", of(first, partial(laws.population, rough=rough)))
    yield check_law(f"{memory}: ONNX equals Flax", of(memory, laws.graph))


def compile_models(models: dict[str, Any]) -> dict[str, "Future[Subject]"]:
    """Starts to compile the models side by side.

    Args:
        models: configuration by name; None: the defaults of that model.
    """
    pool = ThreadPoolExecutor(min(THREADS, len(models)))
    begun = {name: pool.submit(make_subject, name, config) for name, config in models.items()}
    pool.shutdown(wait=False)
    return begun


def measure_speed(model: str, subject: Subject) -> Speed:
    """Steps per second of training, median of three, after a warm-up."""
    began = time.perf_counter()
    state, _ = subject.train(1)
    once = max(time.perf_counter() - began, 1e-6)
    updates = max(1, min(100, int(SECONDS / 3 / once)))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        state, _ = subject.train(updates, state)
        seconds.append(time.perf_counter() - began)
    speed = updates * subject.steps / statistics.median(seconds)
    return Speed(model, subject.setup.config.num_envs, speed, subject.compile_seconds, subject.program_mb)


DEFAULTS: dict[str, Any] = dict.fromkeys(MODELS)
