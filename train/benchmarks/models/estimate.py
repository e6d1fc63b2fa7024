"""Estimates the three models on a card that was not measured: counted work, calibrated on a card that was.

    t = operations * tau + work, between FLOPs / rate and twice the larger of FLOPs / rate and bytes / bandwidth

by update. These programs are small: to start an operation takes longer than what it computes, so tau, which is fitted
to the measured card, decides. The operations are those of the program compiled for a CPU; a GPU fuses several into one
kernel, and tau takes that up.
"""

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from himari_jax.errors import InputError
from train.benchmarks.models.config import Model
from train.benchmarks.models.operations import count_operations
from train.benchmarks.models.rows import Row
from train.benchmarks.peers.roofline import count_work
from train.diagnosis.subject import make_subject

SLOWER = 2.0  # times tau and the work: the pessimistic end, for an older host and kernels far from the peak
WIDTH = 80


@dataclass(frozen=True)
class Card:
    """Peak figures of a card, from its data sheet."""

    name: str
    tflops: float  # float32, without tensor cores
    gbs: float  # memory bandwidth
    memory_mb: int


CARDS = {"t4": Card("T4", 8.1, 320, 15_000)}  # NVIDIA T4 data sheet; of its 16 GB a program gets about 15
MEASURED = (Card("H200", 67, 4800, 141_000), Card("H100", 67, 3350, 80_000))  # SXM, NVIDIA data sheets


@dataclass(frozen=True)
class Work:
    """Counted work of an update of a model at its defaults."""

    model: Model
    steps: int  # bars of an update
    operations: int
    flops: float
    bytes: float  # an upper bound: weights are counted at every bar
    program_mb: float | None

    def arithmetic(self, card: Card) -> float:
        """Seconds that a card needs at its peak."""
        return self.flops / (card.tflops * 1e12)

    def memory(self, card: Card) -> float:
        """Seconds that a card needs at its full bandwidth."""
        return self.bytes / (card.gbs * 1e9)


@dataclass(frozen=True)
class Estimate:
    """Estimated time of a model on a card."""

    work: Work
    tau: float  # seconds of an operation on the measured card
    measured: float | None  # seconds of an update there; None: this model was not measured
    low: float  # seconds of an update
    high: float


def count(model: Model) -> Work:
    """Compiles a model at its defaults and counts its work."""
    subject = make_subject(model)
    per_bar = count_work(SimpleNamespace(setup=subject.setup, runner=subject.runner))["work_per_step"]
    program: object = subject.chunk
    operations = count_operations(program.as_text())  # type: ignore[attr-defined]
    flops, moved = (per_bar[name] * subject.steps for name in ("flops", "bytes"))
    return Work(model, subject.steps, operations, flops, moved, subject.program_mb)


def measured_on(rows: Sequence[Row]) -> tuple[Card, dict[str, float]]:
    """Finds a measured card whose figures are known, and the seconds of a bar of each model on it.

    Args:
        rows: measured by train.bench_models.

    Raises:
        InputError: none of them is of such a card.
    """
    for card in MEASURED:
        found = {row.model: 1 / row.steps_per_second for row in rows if card.name in row.device and not row.flags}
        if found:
            return card, {str(model): found[model] for model in found}
    names = " or ".join(card.name for card in MEASURED)
    raise InputError(f"--estimate: no row of an {names} to calibrate with; give --merge docs/bench-models.json")


def estimate(works: Sequence[Work], card: Card, known: Card, seconds: dict[str, float]) -> list[Estimate]:
    """Estimates for a card.

    Args:
        works: of the models.
        card: that was not measured.
        known: that was measured.
        seconds: of a bar there, by model; a model that lacks gets the mean tau of the others.
    """
    taus = {
        work.model: max(seconds[work.model] * work.steps - work.arithmetic(known), 0.0) / work.operations
        for work in works
        if work.model in seconds
    }
    if not taus:
        raise InputError("--estimate: none of the --models was measured on the card to calibrate with")
    found = []
    for work in works:
        tau = taus.get(work.model, statistics.mean(taus.values()))
        low = work.operations * tau + work.arithmetic(card)
        high = SLOWER * (work.operations * tau + max(work.arithmetic(card), work.memory(card)))
        measured = seconds[work.model] * work.steps if work.model in seconds else None
        found.append(Estimate(work, tau, measured, low, high))
    return found


def render(found: Sequence[Estimate], card: Card, known: Card, steps: int) -> str:
    """Formats the table, with notes on its numbers.

    Args:
        found: by model.
        card: of the estimate.
        known: of the calibration.
        steps: bars of a training.
    """
    lines = [
        f"{card.name}: an estimate and no measurement; training of {steps:,} bars",
        f"{'model':6}{'operations':>12}{'GFLOP':>8}{'GB':>7}{'us for':>8}{'program':>9}{'seconds on':>11}"
        f"{f'seconds on {card.name},':>19}",
        f"{'':6}{'an update':>12}{'':>8}{'':>7}{'one':>8}{'MB':>9}{f'{known.name}':>11}{'estimated':>19}",
    ]
    for each in found:
        work, updates = each.work, -(-steps // each.work.steps)
        measured = "-" if each.measured is None else f"{each.measured * updates:.2f}"
        memory = "-" if work.program_mb is None else f"{work.program_mb:,.0f}"
        lines.append(
            f"{work.model:6}{work.operations:12,}{work.flops / 1e9:8.1f}{work.bytes / 1e9:7.2f}{each.tau * 1e6:8.2f}"
            f"{memory:>9}{measured:>11}{f'{each.low * updates:.2f} to {each.high * updates:.2f}':>19}"
        )
    notes = (
        f"an update takes operations x the time for one, and its work: at least GFLOP at {card.tflops:g} TFLOP/s, "
        f"at most {SLOWER:g} times that or GB at {card.gbs:g} GB/s, with operations {SLOWER:g} times as slow, for an "
        "older host",
        f"the time for one is fitted to the {known.name}'s measured seconds; for a model that was not measured "
        "there it is the mean of the others",
        "operations, GFLOP and GB are those of the program compiled for a CPU, of which a GPU fuses several into one; "
        "GB counts weights at every bar",
        f"program MB: what the training must hold of the card's {card.memory_mb:,}",
        "lstm: in the form xla, which was measured; a GPU takes the form unrolled, of fewer operations",
    )
    return "\n".join([*lines, *(part for note in notes for part in textwrap.wrap(note, WIDTH, subsequent_indent="  "))])
