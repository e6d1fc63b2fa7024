"""A decision log played again: parity of the decisions, and the parts of the paper result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from export.live.book import Book
from export.live.desk import ACCOUNTS, BaseOf, Desk, Terms
from export.runtime import Model
from himari_jax.account import Costs
from himari_jax.candles import Candles
from himari_jax.errors import InputError

ALWAYS = 2**62  # of a decision that is never late


class Played(NamedTuple):
    """Log returns of the accounts, (2, S, K): policy and base, bars, lanes; and the entries of each bar."""

    log_returns: np.ndarray
    entries: list[dict[str, Any]]

    @property
    def totals(self) -> np.ndarray:
        """Log growth of policy and base, (2,), of the portfolio of all lanes."""
        return portfolio(self.log_returns).sum(1)


class Parity(NamedTuple):
    """Agreement of a log with its replay."""

    bars: int
    decisions: int
    differences: int  # lanes of bars whose numbers are not the same, bit for bit
    largest: float  # difference of two multipliers
    first: str  # close of the first bar that differs; empty: none


@dataclass(frozen=True)
class Source:
    """A log with the bundles and base positions that can play it."""

    records: list[dict[str, Any]]
    models: Mapping[str, Model]  # by digest
    bases: Mapping[str, BaseOf]  # by digest

    @property
    def start(self) -> dict[str, Any]:
        """The record that begins the log."""
        return self.records[0]

    @cached_property
    def bars(self) -> list[dict[str, Any]]:
        """The record of every bar."""
        return [record for record in self.records if record["kind"] == "bar"]

    def terms(self, costs: str = "costs") -> Terms:
        """Returns the trading terms of the log; `costs` are those of the log, or with `trained` those of the bundle."""
        start = self.start
        return Terms(Costs(*start[costs]), start["fill"], start["step"], start["phase_ms"], start["late_ms"])

    def model(self, digest: str) -> Model:
        """Returns the bundle that decided a bar.

        Raises:
            InputError: it was not given.
        """
        if digest not in self.models:
            raise InputError(
                f"the log was written with a bundle {digest[:12]} that was not given; name its folder, too"
            )
        return self.models[digest]

    def book(self, records: Sequence[dict[str, Any]] = ()) -> Book:
        """Builds the book of the start's candles and of those of some bars."""
        book = Book(self.start["symbols"], self.start["bar_ms"])
        for record in (self.start, *records):
            book.enter_record(record)
        return book

    def play(self, terms: Terms, final: Book | None = None) -> Played:
        """Plays every bar of the log.

        Args:
            terms: of the accounts.
            final: candles to play on; None: those that were known at each bar, as they were known.
        """
        book = self.book() if final is None else final
        bars = self.bars
        first = bars[0]["bundle"]
        desk = Desk(self.model(first), book, terms, self.bases[first])
        entries = []
        for record in bars:
            if final is None:
                book.enter_record(record)
            digest = record["bundle"]
            if digest != desk.model.digest:
                desk.set_model(self.model(digest), self.bases[digest])
            if final is None and desk.model.base_sizing == "file":
                desk.base_of = self.logged_base(record)
            played = desk.play(record["time"], record["decided"])
            entries.append(played | {"state": desk.state(), "counted": desk.counted})
        return Played(log_returns(entries), entries)

    @cached_property
    def again(self) -> Played:
        """The log as it was known, by the terms that it was written with."""
        return self.play(self.terms())

    def logged_base(self, record: dict[str, Any]) -> BaseOf:
        """Makes the function of a file's base positions as logged at a bar: the file may have been rewritten since."""
        places = {tuple(symbols): k for k, symbols in enumerate(self.start["lanes"])}

        def base_of(candles: Candles) -> np.ndarray:
            lane = record["lanes"][places[candles.symbols]]
            if "base" not in lane:
                raise InputError(lane.get("undecided", "no base position is known"))
            return np.array(lane["base"], np.float64)

        return base_of

    def logged(self) -> Played:
        """Returns the log as it was written."""
        return Played(log_returns(self.bars), self.bars)


def log_returns(entries: Sequence[dict[str, Any]]) -> np.ndarray:
    """Collects the log returns of the bars, (2, S, K); 0 where nothing was settled."""

    def of(lane: dict[str, Any], name: str) -> float:
        settled = lane.get("settled")
        return settled[name]["log_return"] if settled else 0.0

    rows = [[[of(lane, name) for lane in entry["lanes"]] for entry in entries] for name in ACCOUNTS]
    return np.array(rows, np.float64).reshape(len(ACCOUNTS), len(entries), -1)


def portfolio(log_returns: np.ndarray) -> np.ndarray:
    """Log returns, (...), of the portfolio with an equal share of equity in every lane, evened out at every bar.

    Args:
        log_returns: (..., K) of the lanes; of a single one they are the portfolio's, bit for bit.
    """
    return np.asarray(np.logaddexp.reduce(log_returns, axis=-1) - np.log(log_returns.shape[-1]))


def compare(source: Source) -> Parity:
    """Plays the log as it was known and compares every number with what was written."""
    played = source.again.entries
    bars, differences, largest, first, decisions = source.bars, 0, 0.0, "", 0
    for record, again in zip(bars, played, strict=True):
        for k, (logged, found) in enumerate(zip(record["lanes"], again["lanes"], strict=True)):
            decisions += "multiplier" in logged
            if "multiplier" in logged and "multiplier" in found:
                gap = np.abs(np.array(logged["multiplier"]) - np.array(found["multiplier"]))
                largest = max(largest, float(gap.max()))
            if logged != found or record["state"][k] != again["state"][k]:
                differences, first = differences + 1, first or record["close"]
    return Parity(len(bars), decisions, differences, largest, first)


class Waterfall(NamedTuple):
    """From the backtest's log growth to the paper account's, step by step; (2,) each, policy and base."""

    backtest: np.ndarray  # final candles, every decision in time, costs of training
    revision: np.ndarray  # candles as they were known: revised, late or missing
    delay: np.ndarray  # decisions that came too late to be traded
    cost: np.ndarray  # costs of the paper account in place of those of training
    model: np.ndarray  # what this machine's replay cannot reproduce; 0 at parity
    paper: np.ndarray  # as the log has it
    slippage: np.ndarray | None  # prices quoted at the decisions in place of the fills; None: no quotes


def waterfall(source: Source, final: Book) -> Waterfall:
    """Splits the gap between a backtest on final candles and the paper account; the parts add up."""
    log, trained = source.terms(), source.terms("trained")
    punctual = replace(trained, late_ms=ALWAYS)
    backtest = source.play(punctual, final).totals
    known = source.play(punctual).totals
    charged = source.again.totals
    late = charged if trained == log else source.play(trained).totals
    logged = source.logged()
    parts = known - backtest, late - known, charged - late, logged.totals - charged
    return Waterfall(backtest, *parts, logged.totals, quoted(source, logged))


def quoted(source: Source, logged: Played) -> np.ndarray | None:
    """Estimates the change of log growth if fills were at the quotes of the decisions, (2,), to first order."""
    lost, found = np.zeros(2), False
    place = {symbol: (k, n) for k, lane in enumerate(source.start["lanes"]) for n, symbol in enumerate(lane)}
    share = 1 / len(source.start["lanes"])
    for decided, filled in zip(source.bars, logged.entries[1:], strict=False):
        for symbol, quote in (decided.get("quotes") or {}).items():
            k, n = place[symbol]
            settled = filled["lanes"][k].get("settled")
            if settled:
                found = True
                deltas = np.array([settled[name]["delta"][n] for name in ACCOUNTS])
                lost -= share * deltas * (quote / settled["fill"][n] - 1)
    return lost if found else None
