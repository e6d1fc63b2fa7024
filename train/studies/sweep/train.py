"""Trains a batch of configurations side by side, all seeds of each, with successive halving where it is asked for."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.vary import configure
from train.learning.population import stack
from train.studies.sweep.flags import Sweep
from train.studies.sweep.store import Asked, Finished, Variables
from train.training.batches import Member
from train.training.kept import Trained
from train.training.population import program_of, train_population
from train.training.progress import ProgressBar
from train.training.session import Session, build_session


@dataclass(frozen=True)
class Candidate:
    """A trial of a batch with its run, and what has been learned so far."""

    asked: Asked
    session: Session
    trained: tuple[Trained, ...] = ()  # of each seed
    updates: int = 0
    dropped: bool = False

    @property
    def total(self) -> int:
        """Updates of the whole training."""
        return self.session.config.total_updates

    @property
    def score(self) -> float:
        """Mean over the seeds of the best validation score so far."""
        return float(np.mean([each.sharpe for each in self.trained]))


class Batch(NamedTuple):
    """A batch that was trained."""

    trials: list[Finished]
    policies: dict[int, Variables]


Build = Callable[[Config], Session]


def train_batch(sweep: Sweep, asked: Sequence[Asked], folder: Path, build: Build = build_session) -> Batch:
    """Trains and measures the trials of a batch.

    Args:
        sweep: flags.
        asked: the trials; equal points are trained once.
        folder: where the population keeps its state meanwhile.
        build: makes the run of a configuration.

    Raises:
        InputError: a configuration does not fit its candles.
    """
    begun = time.perf_counter()
    refused: dict[Any, str] = {}
    candidates: dict[Any, Candidate] = {}
    for each in asked:
        key = tuple(each.point.items())
        if key in candidates or key in refused:
            continue
        try:
            candidates[key] = Candidate(each, build(configure(sweep.base, each.point)))
        except InputError as error:
            if sweep.search.search != "optuna":
                raise
            refused[key] = str(error)
    if len(sizes := program_sizes(list(candidates.values()))) > 1:
        print(
            f"{len(candidates)} configurations of {len(sizes)} programs: {' + '.join(map(str, sizes))} side by side, "
            "one program after the other",
            flush=True,
        )
    done = dict(zip(candidates, play_rungs(list(candidates.values()), sweep.search.halving, folder), strict=True))
    seconds = round(time.perf_counter() - begun, 3)
    trials, policies = [], {}
    for each in asked:
        key = tuple(each.point.items())
        if key in refused:
            trials.append(Finished(each.number, each.point, "failed", 0, (), (), (), "", "", seconds, refused[key]))
            continue
        trials.append(replace(finished(done[key], seconds), trial=each.number))
        if trials[-1].scores:
            policies[each.number] = stack([one.variables for one in done[key].trained])  # leaves (K, ...)
    return Batch(trials, policies)


def program_sizes(candidates: Sequence[Candidate]) -> list[int]:
    """Counts the candidates of each program: those of another architecture or length train in one of their own."""
    return list(Counter(program_of(Member(each.session, each.session.seeds[0])) for each in candidates).values())


def play_rungs(candidates: list[Candidate], eta: int | None, folder: Path) -> list[Candidate]:
    """Trains to each rung, and drops the worse part there.

    Args:
        candidates: the batch.
        eta: one of so many goes on; None: all are trained to the end.
        folder: of the population.
    """
    if not candidates:
        return []
    state = {each.asked.number: each for each in candidates}
    for rung in range(num_rungs(len(candidates), eta), -1, -1):
        going = [each for each in state.values() if not each.dropped]
        stops = [rung_updates(each.session.config, rung, eta) for each in going]
        for each in advance(going, stops, folder):
            state[each.asked.number] = each
        if rung:
            for each in worse_part([state[each.asked.number] for each in going], eta or 1):
                state[each.asked.number] = replace(each, dropped=True)
    return list(state.values())


def num_rungs(candidates: int, eta: int | None) -> int:
    """Counts the rungs below the end: so many that one of the candidates is left, `floor(log n / log eta)`."""
    return 0 if eta is None else int(math.log(candidates) / math.log(eta) + 1e-9)


def rung_updates(config: Config, rung: int, eta: int | None) -> int:
    """Counts the updates at a rung, `total / eta^rung`, rounded up to an evaluation; rung 0 is the end."""
    total = config.total_updates
    every = config.interval_updates(config.run.eval_interval, 20)
    return min(-(-total // (eta or 1) ** rung // every) * every, total) if rung else total


def worse_part(candidates: Sequence[Candidate], eta: int) -> list[Candidate]:
    """Picks all but the best one of `eta`, rounded up; of equals the first asked stays."""
    best = sorted(candidates, key=lambda each: -each.score if math.isfinite(each.score) else math.inf)
    return best[-(-len(best) // eta) :]


def advance(candidates: Sequence[Candidate], stops: Sequence[int], folder: Path) -> list[Candidate]:
    """Trains every seed of each candidate up to its number of updates."""
    found = []
    for stop in sorted(set(stops)):  # where lengths differ, so do the programs
        here = [each for each, own in zip(candidates, stops, strict=True) if own == stop]
        members = [Member(each.session, seed) for each in here for seed in each.session.seeds]
        with ProgressBar(len(members), 0) as bar:
            progress = partial(bar.report, "policies trained")
            trained = iter(train_population(members, folder, until=stop, progress=progress))
        found += [replace(each, trained=tuple(islice(trained, len(each.session.seeds))), updates=stop) for each in here]
    return found


def finished(candidate: Candidate, seconds: float) -> Finished:
    """Makes the record of a candidate."""
    own = list(zip(candidate.session.seeds, candidate.trained, strict=True))
    measured = all(math.isfinite(each.sharpe) for _, each in own)
    bad = [seed for seed, each in own if each.failed or not math.isfinite(each.sharpe)]
    return Finished(
        trial=candidate.asked.number,
        point=candidate.asked.point,
        state="failed" if bad else "dropped" if candidate.dropped else "complete",
        updates=candidate.updates,
        scores=tuple(float(each.sharpe) for _, each in own) if measured else (),
        taken=tuple(int(each.update) for _, each in own) if measured else (),
        curves=tuple(tuple((int(u), float(s)) for u, s in each.scores) for _, each in own),
        config_hash=candidate.session.config_hash,
        fingerprint=candidate.session.candles.fingerprint,
        seconds=seconds,
        why=f"the numbers of seed {bad[0]} went bad" if bad else "",
    )
