"""Flags of the commands that evaluate: candles, span, costs, delays. Light: no jax."""

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from himari_jax.command import auto, choice, require
from himari_jax.errors import InputError
from himari_jax.plugins import BASELINES, SOURCES
from himari_jax.times import BAR_UNITS, parse_bar
from train.config.market import DataConfig
from train.config.run import check_ledger

NAMED = ("train", "val", "test", "all")
LEDGER = auto("that of the first run; of strategies alone runs/trials.jsonl")


@dataclass(frozen=True)
class CandlesConfig:
    """Candles for a trained policy; what is not given is that of the run."""

    data: tuple[str, ...] = ()
    """A folder or files of candles, such as another exchange or a later period."""
    symbols: Annotated[tuple[str, ...], auto("those of the run")] = ()
    """Symbols, as many as the policy has, in the order of its observation."""
    source: Annotated[
        str | None, choice("Where candles come from.", SOURCES.summaries, "files with --data, else that of the run")
    ] = None
    bar: Annotated[str | None, auto("as the data show")] = None
    """Length of a bar: 15m, 1h, 1d."""
    calendar: Annotated[Literal["continuous", "sessions"] | None, auto("that of the run")] = None
    """continuous never closes; sessions has nights, weekends and holidays."""
    assume_utc: bool = False
    """Take times without a zone for UTC."""
    no_volume: bool = False
    """Take candles without a volume, as 0 in every bar."""
    repair: tuple[Literal["sort"], ...] = ()
    """Faults to mend instead of refusing: sort (rows not in time order)."""

    def __post_init__(self):
        if self.source is not None:
            SOURCES.settle(self, "source")
        if self.bar is not None:
            parse_bar(self.bar)

    def over(self, own: DataConfig) -> DataConfig:
        """Returns the data flags of a run, replaced where flags are given now."""
        given: dict[str, Any] = {
            name: value
            for name in ("symbols", "bar", "calendar", "source")
            if (value := getattr(self, name)) not in (None, ())
        }
        if self.data:  # other files: how those of the run were read does not hold for them
            given |= {"data": self.data, "source": self.source or "files"}
            given |= {name: getattr(self, name) for name in ("assume_utc", "no_volume", "repair", "bar")}
        elif self.source and self.source != own.chosen_source:
            given |= {"data": ()}
        if given.get("source", own.chosen_source) != own.chosen_source:  # the times of a live source are its own
            given |= {"since": None, "until": None}
        return replace(own, **given)


@dataclass(frozen=True)
class EvaluationDataConfig(CandlesConfig):
    """Candles and span; what is not given is that of the run."""

    base_positions: Annotated[str | None, auto("the file of the run")] = None
    """Own base positions for these candles, instead of the file that a run was trained with."""
    span: str = "test"
    """train, val, test (by the times at which the run was cut), all, or FROM:TO in UTC, such as 2024-01-01:2024-06-30
    (either end may be left out)."""

    def __post_init__(self):
        super().__post_init__()
        if self.span not in NAMED:
            parse_span(self.span)


def parse_span(text: str) -> tuple[float, float]:
    """Parses FROM:TO to epoch milliseconds; a date without a time as TO is its whole day.

    Raises:
        InputError: it is none of the names and no pair of times.
    """
    for at in [i for i, letter in enumerate(text) if letter == ":"]:
        try:
            begin = moment(text[:at], False) if text[:at] else -np.inf
            end = moment(text[at + 1 :], True) if text[at + 1 :] else np.inf
        except ValueError:
            continue
        if begin < end and len(text) > 1:
            return begin, end
    raise InputError(
        f"--span {text}: must be {', '.join(NAMED)}, or FROM:TO with FROM before TO, such as 2024-01-01:2024-06-30"
    )


def moment(text: str, whole_day: bool) -> float:
    """Parses a time in ISO 8601 to epoch milliseconds; without a zone it is UTC."""
    when = datetime.fromisoformat(text)
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    # The decision at midnight earns the next day's first bar: it belongs to that day.
    return when.timestamp() * 1000 + (BAR_UNITS["d"] - 1 if whole_day and len(text) == 10 else 0)


@dataclass(frozen=True)
class GridConfig:
    """Costs, delays and the checkpoint."""

    costs: tuple[float, ...] = (0.0, 5.0, 10.0, 20.0)
    """Costs of trading, basis points of the traded value; that of the run is added."""
    delays: tuple[int, ...] = (0, 1, 2)
    """Bars by which decisions are late; the run's own and one more are added."""
    checkpoint: str = "best"
    """best (of each seed on the validation span), latest, or a step."""

    def __post_init__(self):
        for cost in self.costs:
            require(0 <= cost < 5_000 and math.isfinite(cost), "--costs", cost, "0 up to 5000 basis points")
        for delay in self.delays:
            require(0 <= delay <= 100, "--delays", delay, "0 to 100 bars")
        require(bool(self.costs), "--costs", "", "at least one cost")
        require(bool(self.delays), "--delays", "", "at least one delay")
        named = self.checkpoint in ("best", "latest") or self.checkpoint.isdigit()
        require(named, "--checkpoint", self.checkpoint, "best, latest or a step")


@dataclass(frozen=True)
class BacktestConfig:
    """Play runs, strategies and baselines over windows, costs and delays, and evaluate them on a span."""

    entries: tyro.conf.Positional[tuple[str, ...]] = field()
    """Run folders or their gs:// addresses; FILE.py with weights(market) or weights(market, candles); FILE.parquet with
    time and weight_SYMBOL."""
    data: tyro.conf.OmitArgPrefixes[EvaluationDataConfig] = field(default_factory=EvaluationDataConfig)
    grid: tyro.conf.OmitArgPrefixes[GridConfig] = field(default_factory=GridConfig)
    windows: Annotated[int | None, auto("1, or as many as fit side by side with --window-steps")] = None
    """Windows, spread evenly over the span; each begins and ends in cash. The verdict is on the whole span."""
    window_steps: Annotated[int | None, auto("the span divided by --windows")] = None
    """Bars of a window."""
    baselines: Annotated[
        tuple[str, ...],
        choice(
            "Baselines in the table and the files: all, none, or names. The verdict looks at all of them.",
            BASELINES.summaries,
        ),
    ] = ("all",)
    equity: Literal["all", "own", "none"] = "all"
    """Rows of equity.parquet: every cell, those at the run's own cost and delay, or no file."""
    worthwhile: float = 0.1
    """Annual Sharpe that a multiplier has to add to be worth having; NO EDGE says that it does not."""
    ledger: Annotated[str | None, LEDGER] = None
    """Place where trials are counted: a folder, FILE.jsonl or gs://BUCKET/PREFIX."""
    out: Annotated[str | None, auto("RUN/backtest; of other candles, spans or entries RUN/backtests/NAME")] = None
    """Folder of the results."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes a GPU when there is one."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(bool(self.entries), "RUN", "(not given)", "at least one run folder or strategy file")
        require(0 <= self.worthwhile < 100, "--worthwhile", self.worthwhile, "0 to 100")
        twice = [x for x in self.entries if self.entries.count(x) > 1]
        require(not twice, "RUN", " ".join(twice[:1]), "named once each")
        for name in ("windows", "window_steps"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name.replace('_', '-')}", value, "a whole number above 0")
        check_ledger(self.ledger)
        require(self.out != "", "--out", "''", "the name of a folder")
        if self.baselines not in (("all",), ("none",)):
            given, names = self.baselines, ", ".join(BASELINES.names)
            alone = not {"all", "none"} & set(given)
            require(alone, "--baselines", " ".join(given), f"all, none, or some of {names}")
            found = tuple(BASELINES.find(name, "all, none, or some of") for name in given)
            object.__setattr__(self, "baselines", found)

    @property
    def shown_baselines(self) -> tuple[str, ...]:
        """Names of the baselines in the table; all and none are replaced."""
        if self.baselines == ("all",):
            return BASELINES.names
        return () if self.baselines == ("none",) else self.baselines


@dataclass(frozen=True)
class CompareConfig:
    """Compare a run with another, or with a baseline, on the same bars, and apply gates."""

    runs: tyro.conf.Positional[tuple[str, ...]] = field()
    """One or two run folders (or strategy files): the first is measured, the second is what it is compared with."""
    against: Annotated[
        str | None,
        choice("The baseline to compare with.", BASELINES.summaries, "base, where no second run is given"),
    ] = None
    gate: str | None = None
    """Gates that the first must pass: base, lstm, multi, or FILE.toml; exit code 1 where one fails."""
    data: tyro.conf.OmitArgPrefixes[EvaluationDataConfig] = field(default_factory=EvaluationDataConfig)
    grid: tyro.conf.OmitArgPrefixes[GridConfig] = field(default_factory=GridConfig)
    ledger: Annotated[str | None, LEDGER] = None
    """Place where trials are counted: a folder, FILE.jsonl or gs://BUCKET/PREFIX."""
    out: Annotated[str | None, auto("nothing is written")] = None
    """File of the comparison, JSON."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes a GPU when there is one."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        given = " ".join(self.runs) or "(not given)"
        require(len(self.runs) in (1, 2), "RUN", given, "one run and --against, or two runs")
        require(len(set(self.runs)) == len(self.runs), "RUN", " ".join(self.runs), "two different runs")
        both = len(self.runs) == 2 and self.against is not None
        require(not both, "--against", self.against, "one run; with two runs the second is what it is compared with")
        if self.against is not None:
            object.__setattr__(self, "against", BASELINES.find(self.against, flag="--against"))
        check_ledger(self.ledger)
        require(self.out != "", "--out", "''", "the name of a file")
