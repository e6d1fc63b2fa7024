"""A sweep from its flags to its last line: batches, the choice, its one look at the test span, the report."""

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himari_jax.errors import InputError
from himari_jax.stopping import exit_at_signals
from train.artifacts.files import null_if_nan, read_text, write_json
from train.artifacts.run_folder import default_folder, lock
from train.config.vary import Choices, Point, configure
from train.evaluation.book import CHOSEN
from train.evaluation.ledger import CHOICE, open_ledger
from train.evaluation.ledger import FILE as LEDGER
from train.studies.sweep.chosen import config_of_chosen, evaluate_chosen
from train.studies.sweep.console import batch_line, print_result, print_table
from train.studies.sweep.count import count_trials, deflated
from train.studies.sweep.flags import FILE, Sweep, describe, listed_points, read_json, refuse_differences
from train.studies.sweep.optuna import OptunaSearch, marks_of
from train.studies.sweep.report import write_sweep_report, write_table
from train.studies.sweep.search import Listed, Search
from train.studies.sweep.sessions import Sessions
from train.studies.sweep.store import Finished, Store, ranked
from train.studies.sweep.train import train_batch
from train.training.candles_task import made_by
from train.training.session import Session
from train.training.signals import go_on

RESULT, POPULATION = "result.json", "population"


def sweep(flags: Sweep, resumed: Path | None = None) -> int:
    """Trains, chooses, evaluates and prints; 0 when done.

    Args:
        flags: of the sweep.
        resumed: the folder that `--resume` found.
    """
    build = Sessions()
    sessions = [build(configure(flags.base, point)) for point in points_to_check(flags)]  # before hours are spent
    session = sessions[0]
    folder = resumed or Path(flags.base.run.run_dir or default_folder("sweep", session.symbols))
    open_folder(folder, flags, session)
    with contextlib.closing(lock(folder)):
        exit_at_signals(f"stopped; finished batches are kept in {folder}; {go_on(folder, 'train.sweep')}")
        return Run(flags, folder, session, build).run()


def points_to_check(flags: Sweep) -> list[Point]:
    """Points that between them have all candles, base sizings and reward terms; the first one stands for the sweep."""
    first = {each.name: each.texts[0] if isinstance(each, Choices) else str(each.low) for each in dimensions(flags)}
    if flags.search.search == "optuna":
        lists = [each for each in dimensions(flags) if isinstance(each, Choices)]
        points = [first, *(first | {each.name: text} for each in lists for text in each.texts[1:])]
    else:
        points = listed_points(flags)
    found: dict[Any, Point] = {}
    for point in points:
        config = configure(flags.base, point)
        key = (Sessions.key(config), config.market.base_sizing, tuple(config.market.reward_terms))
        found.setdefault(key, point)
    return list(found.values())


def dimensions(flags: Sweep) -> Sequence[Any]:
    """Dimensions that are varied."""
    return flags.search.dimensions


def open_folder(folder: Path, flags: Sweep, session: Session) -> None:
    """Makes the folder of a sweep, or checks that the one inside may go on.

    Raises:
        InputError: other flags, candles or files, or `--fresh` on a folder that is not empty.
        StorageError: it cannot be written.
    """
    filled = {path.name for path in folder.iterdir()} - {".lock"} if folder.is_dir() else set()
    if filled and flags.base.run.fresh:
        raise InputError(f"--fresh: {folder} is not empty; choose another --run-dir")
    if FILE in filled:
        refuse_differences(folder, flags, session.candles.fingerprint)
    elif filled:
        raise InputError(f"--run-dir {folder}: not empty and no sweep; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    worker = read_json(folder)["worker"] if FILE in filled else f"{socket.gethostname()}:{folder.absolute()}"
    write_json(folder / FILE, describe(flags, made_by(session) | {"worker": worker}))
    open_ledger(ledger_of(flags, folder)).check()


def ledger_of(flags: Sweep, folder: Path) -> str:
    """Place of the ledger in which the trials of a sweep are counted."""
    return flags.base.run.ledger or str(folder.absolute().parent / LEDGER)


class Run:
    """A sweep under way in its folder.

    Args:
        flags: of the sweep.
        folder: of the sweep.
        session: of its first configuration.
        build: makes the run of a configuration.
    """

    def __init__(self, flags: Sweep, folder: Path, session: Session, build: Sessions):
        self.flags, self.folder, self.session, self.build = flags, folder, session, build
        self.store = Store(folder)
        self.finished = self.store.read()
        self.ledger = open_ledger(ledger_of(flags, folder))
        self.begun = time.perf_counter()

    def run(self) -> int:
        """Runs the whole sweep; 0 when done."""
        if (text := read_text(self.folder / RESULT)) is not None and self.is_whole():
            print_table(list(self.finished.values()))
            print_result(json.loads(text), self.folder, self.flags.base.market.initial_capital)
            return 0
        search = self.search()
        self.announce()
        self.train(search)
        trials = self.all_trials(search)
        write_table(self.folder, trials, dimensions(self.flags))
        print_table(trials)
        if waiting := search.waiting():
            print(f"trials under way elsewhere: {', '.join(waiting)}; run the same command again when they are done")
            return 0
        return self.finish(self.choose(trials), trials)

    def all_trials(self, search: Search) -> list[Finished]:
        """Trials of this folder and, of a shared study, of its other workers, by number."""
        found = {each.trial: each for each in search.others()} | self.finished
        return [found[number] for number in sorted(found)]

    def is_whole(self) -> bool:
        """Whether a choice was made among as many trials as are wanted.

        Raises:
            InputError: more are wanted now: the test span was looked at.
        """
        choice = self.choice()
        if choice is not None and choice["wanted"] < self.flags.search.wanted_trials:
            raise InputError(
                f"--num-trials {self.flags.search.wanted_trials}: the sweep in {self.folder} has evaluated its choice "
                f"of {choice['wanted']} on the test span, once; search on in another --run-dir"
            )
        return choice is not None

    def choice(self) -> dict[str, Any] | None:
        """Reads choice.json."""
        text = read_text(self.folder / CHOICE)
        return None if text is None else json.loads(text)

    def search(self) -> Search:
        """Opens the search that the flags ask for, with the finished trials."""
        if self.flags.search.search != "optuna":
            return Listed(self.flags, self.finished)
        marks = marks_of(self.flags, self.session.config_hash, self.session.candles.fingerprint)
        return OptunaSearch(self.flags, self.folder, read_json(self.folder)["worker"], self.finished, marks)

    def announce(self) -> None:
        """Prints what will run."""
        search, base = self.flags.search, self.flags.base
        kept = f", {len(self.finished)} of them kept" if self.finished else ""
        size = min(search.at_once, search.wanted_trials)
        batches = f"; batches of {size}" if size < search.wanted_trials else ""
        print(
            f"{search.search}: {search.wanted_trials} configurations x {base.run.num_seeds} seeds{kept}{batches}; "
            "choice: mean over the seeds of the best Sharpe on validation"
        )
        print(f"sweep folder: {self.folder}", flush=True)

    def train(self, search: Search) -> None:
        """Trains batch after batch, each kept before the next one begins."""
        while asked := search.ask():
            self.is_whole()
            place = self.folder / POPULATION
            batch = train_batch(self.flags, asked, place, self.build)
            self.store.add(batch.trials, batch.policies)
            self.finished |= {each.trial: each for each in batch.trials}
            search.tell(batch.trials)
            shutil.rmtree(place, ignore_errors=True)
            best = ranked(self.finished.values())[0]
            print(batch_line(batch.trials, best if best.state == "complete" else None), flush=True)

    def choose(self, trials: Sequence[Finished]) -> Finished:
        """Chooses the best complete trial; writes it down before any policy is played on the test span.

        Raises:
            InputError: no trial is complete.
        """
        best = ranked(trials)[0]
        if best.state != "complete":
            raise InputError(f"{self.folder}: no configuration came to a finite validation score: {best.why}")
        record = {"trial": best.trial, "validation_sharpe": best.score, "wanted": self.flags.search.wanted_trials}
        write_json(self.folder / CHOICE, record)
        return best

    def finish(self, chosen: Finished, trials: Sequence[Finished]) -> int:
        """Counts all trials, evaluates the chosen one, writes result and report."""
        base, name = self.flags.base, self.folder.absolute().name
        played = count_trials(self.ledger, base, trials, self.store, self.finished, name, chosen, self.build)
        if chosen.trial not in self.finished:
            print(
                f"the best one, trial {chosen.trial}, is another worker's: run its command again, it evaluates it there"
            )
            return 0
        config = config_of_chosen(configure(base, chosen.point), ledger_of(self.flags, self.folder))
        test = evaluate_chosen(self.build(config), chosen, self.store.policies(chosen.trial), self.folder / CHOSEN)
        result = self.result(chosen, test, deflated(self.ledger, played[chosen.trial], played), trials)
        write_json(self.folder / RESULT, result)
        write_sweep_report(self.folder, result, read_json(self.folder), trials, dimensions(self.flags))
        print_result(result, self.folder, base.market.initial_capital)
        return 0

    def result(
        self, chosen: Finished, test: dict[str, Any], counted: dict[str, Any], trials: Sequence[Finished]
    ) -> dict[str, Any]:
        """Collects the content of result.json."""
        states = [each.state for each in trials]
        return null_if_nan(
            {
                "symbols": test["symbols"],
                "search": self.flags.search.search,
                "states": {state: states.count(state) for state in ("complete", "dropped", "failed")},
                "chosen": {
                    "trial": chosen.trial,
                    "point": chosen.point,
                    "folder": CHOSEN,
                    "validation_sharpe": chosen.score,
                    "validation_sharpe_by_seed": list(chosen.scores),
                    "config_hash": chosen.config_hash,
                },
                "counted": counted,
                "test": test,
                # Trials of one batch have its seconds in common.
                "timings": {"train_seconds": sum({each.seconds for each in self.finished.values()})},
            }
        )
