"""Null markets of a walk-forward test: late inputs and permuted bars, retrained each time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from himari_jax.statistics.comparison import paired_difference
from train.data.blocks import later
from train.studies.walk_forward.track import Walk, make_walk
from train.training.batches import Totals
from train.training.nulls import Results, permuted, with_late_inputs
from train.training.permutations import FILE, Gain, Progress, markets_at_once, permutation_test
from train.training.population import train_population
from train.training.session import Prepared
from train.training.signals import StopSignals


def late_ms(walk: Walk, shift: str) -> int:
    """Returns the delay of a placebo's inputs, milliseconds, counted from the first test block on."""
    first = walk.blocks[0].test
    return later(first, shift, 1) - first


class Nulls:
    """The null markets of a walk-forward test.

    Args:
        walk: the test on the real candles.
        prepared: those.
        folder: of the run.
        totals: what is trained is added to it.
        signals: are asked between trainings whether to stop.
    """

    def __init__(self, walk: Walk, prepared: Prepared, folder: Path, totals: Totals, signals: StopSignals):
        self.walk, self.prepared, self.totals, self.signals = walk, prepared, totals, signals
        self.results = Results(folder / FILE)

    def placebos(self, progress: Callable[[str], None]) -> list[dict[str, Any]]:
        """Measures Sharpe ratio and difference to the constant with inputs that are late by each --placebo."""
        done = {each["shift"]: each for each in self.results.read() if each.get("kind") == "placebo"}
        for shift in self.walk.settings.shifts:
            if shift in done:
                continue
            variant = with_late_inputs(self.prepared, late_ms(self.walk, shift))
            (walk,) = self.train([variant])
            gain = walk[0].gain(walk[1])
            apart = paired_difference(gain.returns, gain.constant, gain.bars_per_year)
            record = {"kind": "placebo", "shift": shift, "sharpe": gain.sharpe, "difference": gain.difference}
            done[shift] = record | {"interval": list(apart.interval)}
            self.results.add(done[shift])
            progress(f"placebo, inputs {shift} late: {gain.difference:+.2f}")
        return [
            {key: value for key, value in done[shift].items() if key != "kind"} for shift in self.walk.settings.shifts
        ]

    def permutations(self, value: float, progress: Progress) -> dict[str, Any] | None:
        """Runs the permutation test that --permutations asks for; None where it does not.

        Args:
            value: of the real candles, Sharpe minus that of the constant.
            progress: called with the markets done, their number and a text.
        """
        run = self.walk.config.run

        def measure(draws: Sequence[int]) -> list[Gain]:
            variants = [permuted(self.prepared, run.permute, run.seed, draw) for draw in draws]
            return [walk.gain(variables) for walk, variables in self.train(variants)]

        def report(done: int, number: int, text: str) -> None:
            progress(done, number, f"{self.totals.speed():,.0f} steps/s")

        at_once = markets_at_once(len(self.walk.members), self.walk.settings.batch_size)
        return permutation_test(run, self.results, value, at_once, measure, report)

    def train(self, variants: Sequence[Prepared]) -> list[tuple[Walk, dict]]:
        """Trains the test again on other candles; each walk with the variables of its ensemble, as `Walk.ensemble`."""
        walks = [make_walk(self.walk.flags, variant) for variant in variants]
        members = [member for walk in walks for member in walk.members]
        found = train_population(
            members,
            batch=self.walk.settings.batch_size,
            devices=self.walk.devices,
            totals=self.totals,
            signals=self.signals,
        )
        each = len(self.walk.members)
        return [(walk, walk.ensemble(found[i * each : (i + 1) * each])) for i, walk in enumerate(walks)]
