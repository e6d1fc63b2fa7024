"""Storage of a sweep's trials: a line of JSON each in finished.jsonl, and the parameters of every policy."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from himari_jax.atomic import replacing
from himari_jax.errors import CheckpointError
from train.artifacts.files import append_lines, read_text, storage_errors
from train.config.vary import Point

LINES = "finished.jsonl"
POLICIES = "policies"  # folder of the parameters, an .npz for each trial


class Asked(NamedTuple):
    """A trial to be trained."""

    number: int
    point: Point


@dataclass(frozen=True)
class Finished:
    """A configuration that was trained, K seeds of it, and measured on the validation span."""

    trial: int  # number
    point: Point  # what is varied
    state: Literal["complete", "dropped", "failed"]  # dropped: by halving; failed: no finite score
    updates: int  # trained
    scores: tuple[float, ...]  # (K,) best validation Sharpe ratio of each seed, annual
    taken: tuple[int, ...]  # (K,) update at which its parameters were taken
    curves: tuple[tuple[tuple[int, float], ...], ...]  # (K,) of each seed: update and score of every evaluation
    config_hash: str
    fingerprint: str  # of its candles
    seconds: float = 0.0  # that its batch took
    why: str = ""  # it failed

    @property
    def score(self) -> float:
        """Objective of the search: the mean over the seeds of the best validation score."""
        return float(np.mean(self.scores)) if self.scores else -math.inf

    @property
    def spread(self) -> float | None:
        """Deviation of the seeds' scores; None for one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else None

    @property
    def best_seed(self) -> int:
        """Index of the seed that validation chooses."""
        return int(np.argmax(self.scores))


Variables = dict[str, Any]  # parameters of a policy's seeds, leaves (K, ...)


class Store:
    """The finished trials in a sweep's folder, which one process writes.

    A batch is added as one write of whole lines, after its policies are on the disk: a process that dies leaves all of
    it or what `read` leaves out.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / LINES

    def read(self) -> dict[int, Finished]:
        """Reads the finished trials by number, in order; the last line on a trial counts, a torn one does not.

        Raises:
            StorageError: the file cannot be read.
        """
        found = {each.trial: each for each in parse((read_text(self.path) or "").splitlines())}
        return {number: found[number] for number in sorted(found)}

    def add(self, batch: Sequence[Finished], policies: Mapping[int, Variables]) -> None:
        """Keeps a batch.

        Args:
            batch: its trials.
            policies: parameters by number of the trial, leaves (K, ...); a failed trial has none.

        Raises:
            StorageError: it could not be written.
        """
        for number, variables in policies.items():
            self.save_policies(number, variables)
        text = "".join(json.dumps(asdict(each)) + "\n" for each in batch)
        append_lines(self.path, text)

    def save_policies(self, number: int, variables: Variables) -> None:
        """Writes the parameters of a trial, atomically."""
        path, arrays = self.place(number), flatten_dict(variables, sep="/")
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as part, part.open("wb") as file:
                np.savez(file, **arrays)

    def policies(self, number: int) -> Variables:
        """Reads the parameters of a trial, leaves (K, ...).

        Raises:
            CheckpointError: they are not there, or damaged.
        """
        path = self.place(number)
        try:
            with np.load(path) as found:
                return unflatten_dict({key: found[key] for key in found.files}, sep="/")
        except Exception as error:  # numpy and zipfile raise many kinds for damaged files
            raise CheckpointError(
                f"{path}: the policies of trial {number} cannot be read ({type(error).__name__}); "
                "run the sweep in another --run-dir"
            ) from error

    def place(self, number: int) -> Path:
        """Path of the parameters of a trial."""
        return self.folder / POLICIES / f"{number:05d}.npz"


def parse(lines: Iterable[str]) -> Iterator[Finished]:
    """Reads trials from lines; other lines are left out."""
    for line in lines:
        try:
            yield restored(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue


def restored(values: dict[str, Any]) -> Finished:
    """Reads a trial from JSON; raises ValueError, KeyError or TypeError where it is none."""
    curves = tuple(tuple((int(u), float(s)) for u, s in curve) for curve in values["curves"])
    return Finished(**{**values, "curves": curves, **{name: tuple(values[name]) for name in ("scores", "taken")}})


def ranked(trials: Iterable[Finished]) -> list[Finished]:
    """Ranks trials, best first: complete ones by score, then those that halving dropped late, then failed ones."""
    order = {"complete": 0, "dropped": 1, "failed": 2}
    return sorted(trials, key=lambda each: (order[each.state], -each.updates * (order[each.state] > 0), -each.score))
