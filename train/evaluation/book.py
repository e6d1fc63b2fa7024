"""Lines of the trial ledger: trials, strikes, and the book that they make. Light: no jax."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from himari_jax.errors import HimariError
from himari_jax.times import YEAR_MS, parse_bar, parse_iso
from train.evaluation.sketches import Sketch, from_json, to_json

Key = tuple[str, int, str, str, str]
CHOSEN = "chosen"  # run folder, in that of a sweep, of the configuration that it chose
SWEPT = re.compile(r"(.+)/(\d+)")  # name of a trial of a sweep that was not chosen: the sweep's folder, its number


class Trial(NamedTuple):
    """One policy evaluated on one span at its own cost and delay."""

    config_hash: str
    seed: int
    fingerprint: str  # of the candles
    span: str  # first and last decision, FROM/TO
    bar: str
    sharpe: float  # per bar, which is what lies between two decisions
    time: int = 0  # when it was entered, seconds since 1970
    symbols: tuple[str, ...] = ()  # none: 0.1.0 did not say
    synthetic: bool = False  # candles
    bars: int = 0  # decisions; 0: 0.1.0 did not say
    per_year: float = 0.0  # decisions of a year; 0: 0.1.0 did not say
    name: str = ""  # of the run's folder or the strategy; SWEEP/NUMBER: a sweep's that was not chosen
    chosen: bool = True  # whether the verdict was of this seed: another one is no trial, validation left it out
    sketch: Sketch | None = None

    @property
    def key(self) -> Key:
        """The fields that identify a trial: two trials with the same key are one."""
        return (self.config_hash, self.seed, self.fingerprint, self.span, self.bar)

    @property
    def id(self) -> str:
        """Name of the trial in the ledger, from its key, 16 hex digits."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:16]

    @property
    def ends(self) -> tuple[int, int]:
        """First and last decision, epoch milliseconds."""
        first, _, last = self.span.partition("/")
        return parse_iso(first), parse_iso(last)

    @property
    def decisions(self) -> int:
        """Number of returns behind the Sharpe ratio; without a record, as if no bar of the span were missing."""
        first, last = self.ends
        return self.bars or (last - first) // length_of(self.bar) + 1

    @property
    def annual_factor(self) -> float:
        """Factor to an annual Sharpe ratio; without a record, that of a market that never closes."""
        return float((self.per_year or YEAR_MS / length_of(self.bar)) ** 0.5)

    @property
    def annual(self) -> float:
        """Sharpe ratio, annual."""
        return self.sharpe * self.annual_factor

    @property
    def withheld(self) -> bool:
        """Whether the Sharpe ratio is kept for deflation alone: of a sweep, which did not choose the trial."""
        return SWEPT.fullmatch(self.name) is not None


class Strike(NamedTuple):
    """Record that a trial does not count, or counts again."""

    trial: str  # its id
    reason: str
    time: int  # seconds since 1970
    struck: bool = True


Record = Trial | Strike


class Book(NamedTuple):
    """Content of a trial ledger."""

    trials: dict[Key, Trial]
    strikes: dict[str, Strike]  # the last one of each trial, by its id
    unread: int = 0  # lines that hold nothing: of a process that died while writing, or of a later version

    def strike_of(self, trial: Trial) -> Strike | None:
        """The strike that keeps a trial from counting."""
        word = self.strikes.get(trial.id)
        return word if word is not None and word.struck else None

    def counts(self, trial: Trial) -> bool:
        """Whether a trial counts for others: validation chose it, and it is not struck."""
        return trial.chosen and self.strike_of(trial) is None


def lines_of(records: Iterable[Record]) -> str:
    """Formats records as lines of JSON."""
    return "".join(json.dumps(as_json(record)) + "\n" for record in records)


def as_json(record: Record) -> dict[str, Any]:
    """Returns a record as a JSON object."""
    if isinstance(record, Strike):
        return {"strike": record.trial, **{k: v for k, v in record._asdict().items() if k != "trial"}}
    return {**record._asdict(), "sketch": to_json(record.sketch)}


def parse(lines: Iterable[str]) -> Book:
    """Reads the book from lines; those that hold no record are counted."""
    records, unread = [], 0
    for line in lines:
        try:
            records += [record_of(json.loads(line))] if line.strip() else []
        except (ValueError, KeyError, TypeError, AttributeError, HimariError):
            unread += 1
    return add_records(Book({}, {}, unread), records)


def record_of(value: dict[str, Any]) -> Record:
    """Reads the record of a JSON object; unknown keys are ignored.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, HimariError: it holds none.
    """
    if "strike" in value:
        return Strike(str(value["strike"]), str(value["reason"]), int(value["time"]), bool(value["struck"]))
    known = {name: value[name] for name in Trial._fields if name in value}
    symbols = tuple(str(symbol) for symbol in value.get("symbols", ()))
    trial = Trial(**{**known, "symbols": symbols, "sketch": from_json(value.get("sketch"))})
    hash(trial.key), float(trial.annual)
    if not all(trial.span.split("/")) or trial.decisions < 1 or trial.ends[0] > trial.ends[1]:
        raise ValueError("no span")
    return trial


def add_records(book: Book, records: Iterable[Record]) -> Book:
    """Returns the book with more records; the last one on a trial counts."""
    trials, strikes = dict(book.trials), dict(book.strikes)
    for record in records:
        if isinstance(record, Strike):
            strikes[record.trial] = record
        else:
            trials[record.key] = record
    return Book(trials, strikes, book.unread)


def name_symbols(book: Book, known: Mapping[str, tuple[str, ...]]) -> Book:
    """Adds symbols to the trials of 0.1.0 on candles that a later trial, or `known`, names by fingerprint."""
    named = dict(known) | {trial.fingerprint: trial.symbols for trial in book.trials.values() if trial.symbols}
    trials = {
        key: trial if trial.symbols else trial._replace(symbols=named.get(trial.fingerprint, ()))
        for key, trial in book.trials.items()
    }
    return book._replace(trials=trials)


def name_chosen(book: Book, choices: Mapping[str, int]) -> Book:
    """Names the trials that sweeps chose as later versions do; ledgers of before name them by their number.

    Args:
        book: to name them in.
        choices: number of the chosen trial by folder of the sweep.
    """
    names = {f"{sweep}/{number}": f"{sweep}/{CHOSEN}" for sweep, number in choices.items()}
    trials = {key: trial._replace(name=names.get(trial.name, trial.name)) for key, trial in book.trials.items()}
    return book._replace(trials=trials)


def length_of(bar: str) -> int:
    """Returns the milliseconds of a bar as `himari_jax.times.bar_name` wrote it."""
    return int(bar.removesuffix(" ms")) if bar.endswith(" ms") else parse_bar(bar)
