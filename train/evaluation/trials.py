"""Enters trials in the ledger, and counts those that a result has to be deflated by, so that luck can be priced."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.times import bar_name, iso_second
from train.evaluation.book import Book, Trial
from train.evaluation.ledger import Ledger
from train.evaluation.sketches import clusters, sketch

if TYPE_CHECKING:
    from train.simulation.simulator import Simulator


@dataclass(frozen=True)
class Evaluated:
    """An evaluated configuration and its candles, as the ledger records them."""

    name: str  # of the run's folder or the strategy
    config_hash: str
    fingerprint: str  # of the candles
    symbols: tuple[str, ...]
    synthetic: bool  # candles
    bar: str
    times: np.ndarray  # (S,) when the decisions were made, epoch milliseconds
    per_year: float  # decisions of a year

    def trial(self, seed: int | None, returns: np.ndarray, base: np.ndarray, chosen: bool = True) -> Trial:
        """Makes the trial of a policy.

        Args:
            seed: its number; None, of a strategy, counts as 0.
            returns: at its own cost and delay, simple, (S,).
            base: of the base position, (S,).
            chosen: whether the verdict is of it.
        """
        return Trial(
            config_hash=self.config_hash,
            seed=seed or 0,
            fingerprint=self.fingerprint,
            span=f"{iso_second(self.times[0])}/{iso_second(self.times[-1])}",
            bar=self.bar,
            sharpe=metrics.sharpe_or_zero(returns, 1.0),
            time=int(time.time()),
            symbols=self.symbols,
            synthetic=self.synthetic,
            bars=len(returns),
            per_year=self.per_year,
            name=self.name,
            chosen=chosen,
            sketch=sketch(self.times, returns, base),
        )


def evaluated_on(simulator: "Simulator", name: str, config_hash: str) -> Evaluated:
    """Describes a configuration evaluated on the whole span of a simulator.

    Args:
        simulator: of the span.
        name: of the run's folder or the strategy.
        config_hash: of the configuration.
    """
    candles = simulator.candles
    return Evaluated(
        name=name,
        config_hash=config_hash,
        fingerprint=candles.fingerprint,
        symbols=simulator.symbols,
        synthetic=candles.synthetic,
        bar=bar_name(candles.bar_ms),
        times=simulator.times,
        per_year=simulator.bars_per_year,
    )


class Counted(NamedTuple):
    """The trials that count together with one, and the clusters that they are."""

    trials: list[Trial]  # n
    clusters: np.ndarray  # (n,) number of each one's cluster, from 0 on

    @property
    def number(self) -> int:
        """Trials that a result is deflated by: clusters."""
        return int(self.clusters.max()) + 1

    def sharpes(self, num_bars: int) -> np.ndarray:
        """Sharpe ratios per bar of the clusters, (K,), as if each were of `num_bars` bars of the one in question.

        `SR_i sqrt(T_i - 1) / sqrt(T - 1)`: what is compared is luck, the Sharpe ratio over its own standard error,
        whatever the length of span and bar. A cluster's is the mean of its trials'.
        """
        scores = np.array([trial.sharpe * max(trial.decisions - 1, 1) ** 0.5 for trial in self.trials])
        means = np.bincount(self.clusters, scores) / np.bincount(self.clusters)
        return means / max(num_bars - 1, 1) ** 0.5


def note_trials(
    ledger: Ledger,
    evaluated: Evaluated,
    seeds: Sequence[int | None],
    returns: Sequence[np.ndarray],
    base: np.ndarray,
    chosen: int = 0,
) -> np.ndarray:
    """Enters every seed in the ledger; Sharpe ratios per bar of all that has to be counted with the chosen one, (K,).

    Args:
        ledger: is added to where it does not know a trial yet, or not what it did.
        evaluated: configuration and candles.
        seeds: numbers of the policies; None, of a strategy, counts as 0.
        returns: of each policy at its own cost and delay, (S,).
        base: of the base position at the same, (S,).
        chosen: index of the policy that the verdict is of.
    """
    trials = [
        evaluated.trial(seed, own, base, k == chosen) for k, (seed, own) in enumerate(zip(seeds, returns, strict=True))
    ]
    book = ledger.update(lambda book: [trial for trial in trials if is_new(book, trial)])
    return count_together(book, trials[chosen]).sharpes(len(base))


def is_new(book: Book, trial: Trial) -> bool:
    """Whether a ledger does not know a trial, only as 0.1.0 wrote it, or only as one that was not chosen."""
    known = book.trials.get(trial.key)
    if known is None or (known.sketch is None and trial.sketch is not None):
        return True
    return trial.chosen > known.chosen or (trial.chosen and known.withheld and not trial.withheld)


def count_together(book: Book, trial: Trial) -> Counted:
    """Finds the trials that count with one: on the same series, at the same time, chosen by validation, not struck.

    It stands first, and counts even where the ledger struck it.
    """
    others = [other for key, other in book.trials.items() if key != trial.key and together(other, trial)]
    trials = [trial, *(other for other in others if book.counts(other))]
    return Counted(trials, clusters([each.sketch for each in trials]))


def together(one: Trial, other: Trial) -> bool:
    """Whether two trials looked at the same moves: the same series, on spans that overlap by any bar."""
    (first, last), (begin, end) = one.ends, other.ends
    return first <= end and begin <= last and same_series(one, other)


def same_series(one: Trial, other: Trial) -> bool:
    """Whether two trials were made on the same series.

    They share a symbol, at any bar, in candles of any fingerprint: a trial of a portfolio, of another bar or of a day
    less has seen the same moves. Synthetic candles of one name differ by seed: there the fingerprint decides. A trial
    of 0.1.0 whose symbols are unknown counts: it is not known to be of another series.
    """
    if one.fingerprint == other.fingerprint:
        return True
    if one.synthetic or other.synthetic:
        return False
    return not one.symbols or not other.symbols or bool(set(one.symbols) & set(other.symbols))
