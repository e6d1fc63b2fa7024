"""A search by Optuna: ask for a batch, tell its outcome; several processes may share one study.

A trial is made running and named after its worker in one step of the storage, so that a worker that comes back finds
what it had asked for and goes on with it: nothing is lost, and nothing is trained twice.
"""

import contextlib
import dataclasses
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from himari_jax.errors import InputError, StorageError, first_line
from himari_jax.extras import how_to_install
from train.config.sweep import without_password
from train.config.vary import Choices, Point, Range
from train.studies.sweep.flags import Sweep
from train.studies.sweep.store import Asked, Finished, restored

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "journal.log"  # in the sweep's folder
PATIENCE = 20  # seconds until a database that does not answer is given up
WORKER, ASKED, SURPLUS, MARK, RECORD = "worker", "asked", "surplus", "himari", "record"


class OptunaSearch:
    """A worker of a study.

    Args:
        sweep: flags.
        folder: of this worker.
        worker: its name, no other's.
        finished: trials that are kept in its folder, by number; the storage receives those that it lacks.
        marks: as `marks_of`: what all workers of a study must have in common.

    Raises:
        InputError: Optuna is not installed, or the study varies other things.
        StorageError: the storage cannot be reached.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        worker: str,
        finished: Mapping[int, Finished],
        marks: Mapping[str, Any],
    ):
        self.dimensions, self.wanted = sweep.search.dimensions, sweep.search.wanted_trials
        self.batch, self.worker, self.folder = sweep.search.at_once, worker, folder
        self.name = without_password(sweep.search.storage or str(folder / JOURNAL))
        optuna = import_optuna()
        with self.reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that much of it is experimental
            self.study: Study = optuna.create_study(
                storage=open_storage(sweep.search.storage, folder),
                study_name=sweep.search.study,
                direction="maximize",
                load_if_exists=True,
            )
            self.agree(sweep, json.loads(json.dumps(marks)))
            # Not what it has proposed before: a worker that comes back draws on.
            seed = seed_of(worker, sweep.base.run.seed, len(self.study.get_trials(deepcopy=False)))
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self.tell([each for number, each in finished.items() if number in {x.number for x in self.mine()}])

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turns what a storage raises into one line."""
        from optuna.exceptions import DuplicatedStudyError, StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError, DuplicatedStudyError, OSError, ImportError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
            raise StorageError(
                f"--storage {self.name}: cannot be reached ({first_line(cause)}); finished trials are kept in "
                f"{self.folder}: run the same command again when it can"
            ) from error

    def agree(self, sweep: Sweep, marks: dict[str, Any]) -> None:
        """Stores the marks of a new study; refuses a study with other marks."""
        theirs = self.study.user_attrs.get(MARK)
        if theirs is None and not self.study.get_trials(deepcopy=False):
            self.study.set_user_attr(MARK, marks)
            return
        differing = [name for name in marks if (theirs or {}).get(name) != marks[name]]
        if differing:
            raise InputError(
                f"--study {sweep.search.study}: the one in {self.name} is of other {', '.join(differing)}; use the "
                "flags it was begun with, or another --study"
            )

    def trials(self) -> list["FrozenTrial"]:
        """Reads the trials of the study, without surplus ones."""
        with self.reached():
            found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if SURPLUS not in trial.user_attrs]

    def mine(self) -> list["FrozenTrial"]:
        """Reads the running trials of this worker: asked for, without an outcome."""
        from optuna.trial import TrialState

        return [x for x in self.trials() if x.state == TrialState.RUNNING and x.user_attrs.get(WORKER) == self.worker]

    def ask(self) -> list[Asked]:
        """Asks for the next batch: first the trials that this worker had asked for before it died."""
        found = [Asked(trial.number, self.point(trial._trial_id)) for trial in self.mine()]
        while len(found) < self.batch and (asked := self.ask_one()) is not None:
            found.append(asked)
        return found

    def ask_one(self) -> Asked | None:
        """Asks for one more trial; None where the study has as many as it should."""
        from optuna.trial import TrialState, create_trial

        if len(self.trials()) >= self.wanted:
            return None
        mark = uuid4().hex
        with self.reached():
            self.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={WORKER: self.worker, ASKED: mark}))
        found = self.trials()
        place, own = next((k, x) for k, x in enumerate(found) if x.user_attrs.get(ASKED) == mark)
        if place >= self.wanted:  # another worker was faster
            with self.reached():
                self.trial(own._trial_id).set_user_attr(SURPLUS, True)
                self.study.tell(own.number, state=TrialState.FAIL)
            return None
        return Asked(own.number, self.point(own._trial_id))

    def trial(self, identity: int) -> "Trial":
        """Opens a trial that can still be changed."""
        from optuna.trial import Trial

        return Trial(self.study, identity)

    def point(self, identity: int) -> Point:
        """Returns the values that the study proposes for a trial, or has proposed before."""
        with self.reached():
            trial = self.trial(identity)
            return {each.name: suggest(trial, each) for each in self.dimensions}

    def tell(self, batch: Sequence[Finished]) -> None:
        """Reports a batch to the study: its score, the last score before it was dropped, or a failure."""
        from optuna.trial import TrialState

        identities = {trial.number: trial._trial_id for trial in self.mine()}
        for each in batch:
            if each.trial not in identities:
                continue  # it knows
            with self.reached():
                trial = self.trial(identities[each.trial])
                trial.set_user_attr(RECORD, without_curves(each))
                if each.state == "failed":
                    self.study.tell(each.trial, state=TrialState.FAIL)
                elif each.state == "dropped":
                    trial.report(each.score, each.updates)
                    self.study.tell(each.trial, state=TrialState.PRUNED)
                else:
                    self.study.tell(each.trial, each.score)

    def others(self) -> list[Finished]:
        """Reads the finished trials of other workers."""
        finished = [trial.user_attrs for trial in self.trials() if trial.state.is_finished()]
        return [restored(attrs[RECORD]) for attrs in finished if RECORD in attrs and attrs.get(WORKER) != self.worker]

    def waiting(self) -> list[str]:
        """Workers that have trials of the study running, with how many."""
        running = [trial for trial in self.trials() if not trial.state.is_finished()]
        workers = [str(trial.user_attrs.get(WORKER, "another program")) for trial in running]
        return [f"{workers.count(worker)} by {worker}" for worker in dict.fromkeys(workers)]

    def best(self) -> "FrozenTrial | None":
        """Finds the complete trial with the best score, the first of equals; None where there is none."""
        from optuna.trial import TrialState

        done = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return max(done, key=lambda trial: (trial.value, -trial.number), default=None)


def without_curves(each: Finished) -> dict[str, Any]:
    """Formats a trial as the study keeps it, for other workers."""
    return dataclasses.asdict(dataclasses.replace(each, curves=()))


def suggest(trial: "Trial", each: Choices | Range) -> str:
    """Asks a trial for the value of a dimension, as text."""
    if isinstance(each, Choices):
        return str(trial.suggest_categorical(each.name, list(each.texts)))
    if each.whole:
        step = round(each.step or 1)
        return str(trial.suggest_int(each.name, round(each.low), round(each.high), step=step, log=each.log))
    return repr(trial.suggest_float(each.name, each.low, each.high, step=each.step, log=each.log))


def open_storage(storage: str | None, folder: Path) -> Any:
    """Opens the storage that is named: a database by its URL, else a journal file."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if storage is not None and "://" in storage:
        # A batch takes longer than some databases keep a connection.
        kept: dict[str, Any] = {"pool_pre_ping": True}
        timeout = {} if storage.startswith("sqlite") else {"connect_args": {"connect_timeout": PATIENCE}}
        return RDBStorage(storage, engine_kwargs=kept | timeout)
    path = folder / JOURNAL if storage is None else Path(storage)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def import_optuna() -> Any:
    """Imports Optuna and silences its log.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(f"--search optuna: Optuna is not installed: {how_to_install('search')}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def seed_of(worker: str, seed: int, trials: int) -> int:
    """Derives the seed of a worker's proposals from a number of trials on, so that workers propose different points."""
    return int.from_bytes(hashlib.sha256(f"{worker} {seed} {trials}".encode()).digest()[:4], "big")


def marks_of(sweep: Sweep, config_hash: str, fingerprint: str) -> dict[str, Any]:
    """Returns what all workers of a study must have in common, by name.

    Args:
        sweep: flags.
        config_hash: of the configuration in which nothing is varied.
        fingerprint: of its candles.
    """
    return {
        "--vary": [dataclasses.asdict(each) for each in sweep.search.dimensions],
        "flags": config_hash,
        "--seed or --num-seeds": [sweep.base.run.seed, sweep.base.run.num_seeds],
        "--halving": sweep.search.halving,
        "candles": fingerprint,
    }
