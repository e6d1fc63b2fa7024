"""Places of the trial ledger: a file or a bucket, in which several processes and machines may write.

A ledger is only ever added to. Light: no jax.
"""

import contextlib
import fcntl
import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from himari_jax.errors import HimariError, InputError
from himari_jax.storage import SCHEME, RemoteFolder, split_address
from train.artifacts.files import storage_errors
from train.artifacts.run_folder import stored_json
from train.evaluation.book import SWEPT, Book, Record, add_records, lines_of, name_chosen, name_symbols, parse

FILE = "trials.jsonl"
CHOICE = "choice.json"  # of a sweep, in its folder
READERS = 8  # objects of a bucket that are read at once

Choose = Callable[[Book], Sequence[Record]]


class Ledger(Protocol):
    """A place for trials; every method raises StorageError where it cannot be reached."""

    name: str

    def read(self) -> Book:
        """Reads the book; an empty one where the ledger does not exist yet."""

    def update(self, choose: Choose) -> Book:
        """Adds the records that `choose` returns for the present book; returns the book with them."""

    def check(self) -> None:
        """Raises where `update` would, as far as can be checked without adding anything."""


def open_ledger(name: str | Path) -> Ledger:
    """Opens the ledger in a folder, a FILE.jsonl, or at gs://BUCKET/PREFIX.

    Raises:
        InputError: no such address.
    """
    if str(name).startswith(SCHEME):
        return BucketLedger(str(name).rstrip("/"))
    path = Path(name)
    return FileLedger(path if path.suffix == ".jsonl" else path / FILE)


def ledger_of_run(folder: Path, named: str | None) -> Ledger:
    """Opens the ledger of a run: the one that it was trained with, else beside its folder.

    Raises:
        InputError: that ledger is a file which is not there: counting would begin at nothing.
    """
    ledger = open_ledger(named or folder.absolute().parent)
    if named is not None and isinstance(ledger, FileLedger) and not ledger.path.exists():
        raise InputError(f"{folder}: its ledger {ledger.name} is not there; say with --ledger where it is now")
    return ledger


class FileLedger:
    """A ledger in a file, which processes lock while they write."""

    def __init__(self, path: Path):
        self.path, self.name = path, str(path)

    def read(self) -> Book:
        """Reads the file; an empty book where there is none."""
        with storage_errors(self.path):
            text = self.path.read_text("utf-8", "replace") if self.path.exists() else ""
        return self.book(text)

    def update(self, choose: Choose) -> Book:
        """Adds lines under a lock; a torn line before them stays alone."""
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8", errors="replace") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                text = file.read()
                if new := lines_of(choose(self.book(text))):
                    file.write("\n" + new if text and not text.endswith("\n") else new)
        return self.book(f"{text}\n{new}")

    def check(self) -> None:
        """Makes the file where it is missing."""
        self.update(lambda _: ())

    def book(self, text: str) -> Book:
        """The lines of the file; those of 0.1.0 get the symbols of the runs beside it, older sweeps their choices."""
        book = parse(text.splitlines())
        sweeps = {found[1] for trial in book.trials.values() if (found := SWEPT.fullmatch(trial.name))}
        book = name_chosen(book, choices_of_sweeps(self.path.parent, sweeps))
        lacking = {trial.fingerprint for trial in book.trials.values() if not trial.symbols}
        return name_symbols(book, symbols_of_runs(self.path.parent) if lacking else {})


class BucketLedger:
    """A ledger in a bucket: an object for each time that something was added; none is ever changed.

    Writers cannot lose each other's lines; what two of them add at once stands there twice and counts once.
    """

    def __init__(self, address: str):
        split_address(address)
        self.name = address

    def read(self) -> Book:
        """Reads the objects in the order in which they were written."""
        folder = RemoteFolder(self.name)
        names = sorted(name for name in folder.list() if name.startswith("trials") and name.endswith(".jsonl"))
        with ThreadPoolExecutor(READERS) as pool:
            texts = pool.map(folder.read, names)
            return name_symbols(parse(x for text in texts for x in text.decode("utf-8", "replace").splitlines()), {})

    def update(self, choose: Choose) -> Book:
        """Adds an object, where there is something to add."""
        before = self.read()
        records = choose(before)
        if records:
            name = f"trials-{time.time_ns() // 1_000_000}-{uuid.uuid4().hex[:12]}.jsonl"
            RemoteFolder(self.name).write(name, lines_of(records).encode())
        return add_records(before, records)

    def check(self) -> None:
        """Lists the objects."""
        RemoteFolder(self.name).list()


def symbols_of_runs(folder: Path) -> dict[str, tuple[str, ...]]:
    """Symbols of the runs in a folder by the fingerprint of their candles; other folders are skipped."""
    found: dict[str, tuple[str, ...]] = {}
    for path in folder.glob("*/config.json"):
        try:
            data = stored_json(path.parent)["data"]
            found[str(data["fingerprint"])] = tuple(str(symbol) for symbol in data["symbols"])
        except (HimariError, TypeError):
            continue
    return found


def choices_of_sweeps(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Numbers of the trials that the sweeps in a folder chose, by the name of the sweep; others are skipped."""
    found: dict[str, int] = {}
    for name in names:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found[name] = int(json.loads((folder / name / CHOICE).read_bytes())["trial"])
    return found
