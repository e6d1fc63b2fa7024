"""`python -m train.trials`: what was ever tried, by how much a result is deflated and why, strikes; light: no jax."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from himari_jax.cli import invocation
from himari_jax.command import auto, parse, run_command
from himari_jax.errors import InputError
from himari_jax.statistics.power import family_level
from himari_jax.statistics.significance import expected_maximum_sharpe
from himari_jax.times import iso_second
from train.artifacts.downloads import local_run
from train.artifacts.run_folder import read_result, stored_config, stored_json
from train.config.run import check_ledger
from train.evaluation.book import Book, Strike, Trial
from train.evaluation.ledger import Ledger, ledger_of_run, open_ledger
from train.evaluation.sketches import ALIKE, clusters
from train.evaluation.trials import Counted, count_together, same_series, together
from train.reporting.console import console, print_lines
from train.reporting.tables import Grid, print_grid

PROG = invocation("train.trials")
LETTERS = 8  # of an id that is shown
FEWEST = 4  # letters by which a trial may be named
DATES = frozenset(("from", "to"))
WITHHELD = (
    "-: a trial of a sweep that was not chosen; its Sharpe on the test span is kept for deflation alone, and not shown"
)
HEADS = ("id", "run or strategy", "seed", "from", "to", "Sharpe")  # of the columns that say which trial a row is of


@dataclass(frozen=True)
class TrialsConfig:
    """List what was tried, explain by how many trials a result is deflated, strike trials that should not count."""

    action: tyro.conf.Positional[Literal["list", "explain", "strike", "restore"]] = "list"
    """list: all trials. explain RUN or ID: those that count with it, and why. strike ID, restore ID: a trial does not
    count, or counts again; it stays listed, with the reason."""
    which: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN|ID")] = ()
    """Run folders, or the first letters of the ids that list shows."""
    reason: Annotated[str | None, auto("none; strike and restore need one")] = None
    """Reason for striking or restoring a trial; it stays on record."""
    ledger: Annotated[str | None, auto("that of RUN, else runs/trials.jsonl")] = None
    """Place of the trial ledger: a folder, FILE.jsonl or gs://BUCKET/PREFIX."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        check_ledger(self.ledger)
        names, reason = " ".join(self.which), (self.reason or "").strip()
        changes = self.action in ("strike", "restore")
        if self.action == "list" and self.which:
            raise InputError(f"list {names}: list shows all trials; explain shows those that count with one")
        if self.action != "list" and not self.which:
            raise InputError(f"{self.action}: name {'the id of a trial' if changes else 'a run, or an id'} behind it")
        if changes and not reason:
            raise InputError(f"{self.action} {names}: say why with --reason TEXT; it stays on record")
        if not changes and self.reason is not None:
            raise InputError(f"--reason {reason}: belongs to strike and restore")


def main(args: Sequence[str]) -> int:
    """Prints or strikes."""
    config = parse(TrialsConfig, args, PROG)
    if config.action == "list":
        show_all(known_ledger(config.ledger))
    elif config.action == "explain":
        for name in config.which:
            explain(name, config.ledger)
    else:
        strike(known_ledger(config.ledger), config)
    return 0


def known_ledger(name: str | None) -> Ledger:
    """Opens the ledger that is named, or the usual one.

    Raises:
        InputError: nothing is in it.
    """
    ledger = open_ledger(name or "runs")
    if not ledger.read().trials:
        raise InputError(f"{ledger.name}: no trial is there; name the ledger with --ledger")
    return ledger


def show_all(ledger: Ledger) -> None:
    """Prints a table for each series, newest trials last, and what its columns mean."""
    book, out = ledger.read(), console()
    series: dict[str, list[Trial]] = {}
    for trial in sorted(book.trials.values(), key=lambda trial: trial.time):
        series.setdefault(series_of(trial), []).append(trial)
    for name, trials in series.items():
        print_grid(out, table(name, book, trials))
        for trial in trials:
            if word := book.strike_of(trial):
                print_lines(out, [f"{trial.id[:LETTERS]} struck {day(word.time)}: {word.reason}"])
        out.print()
    struck = sum(book.strike_of(trial) is not None for trial in book.trials.values())
    print_lines(out, [f"{count(len(book.trials), 'trial')} in {ledger.name}, {struck} struck"])
    if book.unread:
        print_lines(out, [f"{count(book.unread, 'line')} could not be read"])
    how = f"{invocation('train.trials')} explain ID"
    print_lines(out, [f"cluster: trials that are alike; counts: clusters that a result there is deflated by: {how}"])
    if not all(trial.chosen for trial in book.trials.values()):
        print_lines(out, ["no: a seed that validation did not choose; no verdict is of it"])
    print_lines(out, legend(book.trials.values()))


def legend(trials: Iterable[Trial]) -> list[str]:
    """Explains the Sharpe ratios that are not shown, where there are any."""
    return [WITHHELD] if any(trial.withheld for trial in trials) else []


def series_of(trial: Trial) -> str:
    """Words for the series of a trial."""
    symbols = " ".join(trial.symbols) or "symbols not known"
    kind = "SYNTHETIC " if trial.synthetic else ""
    alone = "" if trial.symbols and not trial.synthetic else f", candles {trial.fingerprint[:LETTERS]}"
    return f"{kind}{symbols}, {trial.bar}{alone}"


def table(title: str, book: Book, trials: Sequence[Trial]) -> Grid:
    """Trials of one series, a row each."""
    grid = Grid(title, (*HEADS, "cluster", "counts"), labels=2, left=DATES, gap=1)
    counting = [trial for trial in trials if book.counts(trial)]
    own = clusters([trial.sketch for trial in counting]).tolist()
    labels = {trial.key: label for trial, label in zip(counting, own, strict=True)}
    numbers = {label: str(number) for number, label in enumerate(dict.fromkeys(labels.values()), 1)}
    counts: dict[tuple, int] = {}
    for trial in trials:
        if trial.key not in labels:
            grid.add(*cells(trial), "-", "struck" if book.strike_of(trial) else "no")
            continue
        place = trial.span, trial.fingerprint, trial.symbols, trial.synthetic  # what decides who counts with it
        counts[place] = counts.get(place) or count_together(book, trial).number
        grid.add(*cells(trial), numbers[labels[trial.key]], str(counts[place]))
    return grid


def cells(trial: Trial) -> list[str]:
    """Formats a trial in the columns of HEADS."""
    first, last = trial.span.split("/")
    name = trial.name or trial.config_hash[:LETTERS]
    sharpe = "-" if trial.withheld else f"{trial.annual:.2f}"
    return [trial.id[:LETTERS], name, str(trial.seed), first[:10], last[:10], sharpe]


def explain(name: str, ledger_name: str | None) -> None:
    """Prints by how many trials a result is deflated, each of them with its cluster, and what does not count."""
    folder = run_folder(name)
    if folder is None:
        ledger = known_ledger(ledger_name)
        book = ledger.read()
        trial = find(book, name)
    else:
        ledger = open_ledger(ledger_name) if ledger_name else ledger_of_run(folder, stored_config(folder).run.ledger)
        book = ledger.read()
        trial = trial_of_run(book, folder, ledger.name)
    counted = count_together(book, trial)
    out = console()
    first, last = (text[:10] for text in trial.span.split("/"))
    who = f"{trial.name or trial.config_hash[:LETTERS]}, seed {trial.seed}"
    said = (
        f"{who}, is deflated by {count(counted.number, 'trial')}: {count(len(counted.trials), 'evaluation')} of "
        f"{series_of(trial).rpartition(',')[0]} between {first} and {last}, in {count(counted.number, 'cluster')}"
    )
    print_lines(out, [said])
    print_grid(out, members(counted, trial))
    print_lines(out, [*legend(counted.trials), *remarks(book, trial, counted)])
    result = None if folder is None else read_result(folder)
    if result is not None and result["trials"] != counted.number:
        print_lines(out, [f"its verdict was deflated by {result['trials']}; train.backtest {folder} evaluates it anew"])


def run_folder(name: str) -> Path | None:
    """Returns the run folder that is named; None where an id is."""
    return local_run(name) if name.startswith("gs:/") or "/" in name or Path(name).is_dir() else None


def trial_of_run(book: Book, folder: Path, ledger: str) -> Trial:
    """Finds the trial of a run's verdict.

    Raises:
        InputError: it has no result, or the ledger does not know it.
    """
    stored, result = stored_json(folder), read_result(folder)
    if result is None or "verdict" not in result:
        raise InputError(f"{folder}: no verdict is there; nothing of it was deflated")
    span = f"{result['spans']['test'][0][0]}/{result['spans']['test'][-1][1]}"
    for trial in book.trials.values():
        same = (trial.config_hash, trial.seed) == (stored["config_hash"], result["chosen_seed"])
        if same and trial.span == span and trial.fingerprint == result["fingerprint"]:
            return trial
    raise InputError(f"{folder}: its trial is not in {ledger}; name the ledger with --ledger")


def find(book: Book, name: str) -> Trial:
    """Finds the trial whose id begins so.

    Raises:
        InputError: there is none, or there are several.
    """
    found = [trial for trial in book.trials.values() if trial.id.startswith(name) and len(name) >= FEWEST]
    if len(found) == 1:
        return found[0]
    fault = f"{len(found)} trials begin so; give more letters" if found else "no run folder, and no id that list shows"
    raise InputError(f"{name}: {fault}")


def members(counted: Counted, trial: Trial) -> Grid:
    """Orders the trials that count by cluster, that of the one in question first."""
    grid = Grid("", ("cluster", *HEADS, "overlap"), labels=3, right=frozenset(["cluster"]), left=DATES, gap=1)
    alike: dict[int, list[Trial]] = {}
    for label, each in zip(counted.clusters.tolist(), counted.trials, strict=True):
        alike.setdefault(label, []).append(each)
    for number, own in enumerate(alike.values(), 1):
        for each in own:
            grid.add(str(number), *cells(each), f"{overlap(trial, each):.0%}", bold=each.key == trial.key)
    return grid


def overlap(trial: Trial, other: Trial) -> float:
    """Computes the share of a trial's span that another one has seen."""
    (first, last), (begin, end) = trial.ends, other.ends
    return (min(last, end) - max(first, begin)) / (last - first) if last > first else 1.0


def remarks(book: Book, trial: Trial, counted: Counted) -> Iterable[str]:
    """Explains the number, and which trials it leaves out."""
    bars = trial.decisions
    luck = expected_maximum_sharpe(counted.sharpes(bars), bars) * trial.annual_factor
    number = counted.number
    yield f"the best of {number} reaches a Sharpe of {luck:.2f} by luck: the deflated Sharpe starts there"
    yield f"the 5 % of the verdict are shared: an edge needs a one-sided p of {family_level(number):.3f} or less"
    yield f"cluster: any two correlate by {ALIKE:g} or more in what they earn beyond their base; it counts once"
    here = {each.key for each in counted.trials}
    rest = [each for key, each in book.trials.items() if key not in here]
    for each in rest:
        if (word := book.strike_of(each)) and together(each, trial):
            yield f"{each.id[:LETTERS]} does not count: struck {day(word.time)}: {word.reason}"
    if word := book.strike_of(trial):
        yield f"it is struck itself ({day(word.time)}: {word.reason}): it counts here, and with no other"
    elsewhere = sum(not same_series(each, trial) for each in rest)
    before = sum(same_series(each, trial) and not together(each, trial) for each in rest)
    seeds = sum(together(each, trial) and not each.chosen for each in rest)
    yield (
        f"not counted: {count(seeds, 'seed')} that validation did not choose, {elsewhere} of other series, {before} of "
        "this one at other times"
    )


def strike(ledger: Ledger, config: TrialsConfig) -> None:
    """Puts strikes, or their end, on record."""
    found: list[Trial] = []
    struck, reason = config.action == "strike", " ".join((config.reason or "").split())

    def words(book: Book) -> list[Strike]:
        found.extend(find(book, name) for name in config.which)
        for trial in found:
            if (book.strike_of(trial) is not None) == struck:
                raise InputError(f"{trial.id[:LETTERS]}: is {'struck already' if struck else 'not struck'}")
        return [Strike(trial.id, reason, int(time.time()), struck) for trial in found]

    ledger.update(words)
    for trial in found:
        does = "counts no more" if struck else "counts again"
        print(f"{trial.id[:LETTERS]} ({trial.name or trial.config_hash[:LETTERS]}, seed {trial.seed}) {does}: {reason}")


def count(number: int, name: str) -> str:
    """Words a number with its noun."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def day(seconds: int) -> str:
    """Formats a date."""
    return iso_second(seconds * 1000)[:10]


if __name__ == "__main__":
    sys.exit(run_command(main))
