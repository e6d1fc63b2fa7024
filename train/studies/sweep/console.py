"""Prints a sweep: its batches, the best configurations, what was chosen and how it stands on the test span."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.config.vary import Point, changes_market, label
from train.reporting.console import console, print_lines, verdict_lines
from train.reporting.tables import Grid, print_grid
from train.studies.sweep.store import Finished, ranked

SHOWN = 12  # configurations in the table


def batch_line(batch: Sequence[Finished], best: Finished | None) -> str:
    """Says what a batch was, and which configuration leads."""
    numbers = [each.trial for each in batch]
    which = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {numbers[0]} to {numbers[-1]}"
    text = f"{which} in {max(each.seconds for each in batch):.1f} s"
    if best is not None:
        text += f"; best: {best.score:+.2f} on validation, trial {best.trial}: {label(short(best.point))}"
    return text


def print_table(trials: Sequence[Finished]) -> None:
    """Prints the best configurations."""
    out, best = console(), ranked(trials)
    heads = ("trial", "Sharpe", "± seeds", "updates", "configuration")
    grid = Grid(title(trials), heads, right=frozenset(heads[:1]), words=frozenset(heads[-1:]))
    for each in best[:SHOWN]:
        grid.add(
            str(each.trial),
            f"{each.score:+.2f}" if each.scores else "-",
            "-" if each.spread is None else f"{each.spread:.2f}",
            f"{each.updates:,}",
            label(short(each.point)) + {"complete": "", "dropped": " (dropped)", "failed": " (failed)"}[each.state],
            bold=each is best[0],
        )
    out.print()
    print_grid(out, grid)
    if len(best) > SHOWN:
        out.print(f"... and {len(best) - SHOWN} more in trials.csv")
    if why := [each for each in best if each.why]:
        print_lines(out, [f"{len(why)} failed, such as trial {why[0].trial}: {why[0].why}"])


def title(trials: Sequence[Finished]) -> str:
    """Says what the numbers of the table are."""
    seeds = max((len(each.scores) for each in trials), default=1)
    of = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    return f"{len(trials)} configurations, Sharpe on the validation span, {of}"


def print_result(result: Mapping[str, Any], folder: Path, capital: float) -> None:
    """Prints what was chosen, its verdict on the test span, and by how many trials it is deflated."""
    out = console()
    out.print()
    test = result["test"]
    print_lines(out, [*chosen_lines(result), *verdict_lines(test, capital)], test["verdict"]["word"])
    print_lines(out, [f"next: open {folder}/report.html; {folder}/chosen is a run: train.backtest, export.bundle"])


def chosen_lines(result: Mapping[str, Any]) -> list[str]:
    """Words the choice and the trials that deflate it."""
    chosen, counted = result["chosen"], result["counted"]
    by_clusters, by_trials = counted["clusters"], counted["trials"]
    markets = [name for name in chosen["point"] if changes_market(name)]
    return [
        f"chosen: trial {chosen['trial']}, {label(short(chosen['point']))}, validation Sharpe "
        f"{chosen['validation_sharpe']:+.2f}: the best mean over the seeds of the best score on validation",
        *([f"beware: {', '.join(markets)} changed the market: its Sharpe ratio was compared, too"] if markets else []),
        f"test span, played for this one alone: Sharpe {result['test']['agent']['sharpe'] or 0:.2f}",
        f"{counted['configurations']} configurations of this sweep make {counted['own_clusters']} clusters of alike "
        f"ones; with all that the ledger counts: {by_clusters['number']} clusters, {by_trials['number']} trials",
        f"deflated Sharpe {by_clusters['deflated_sharpe']:.2f} by clusters (luck alone reaches "
        f"{by_clusters['luck']:.2f}), {by_trials['deflated_sharpe']:.2f} if every trial were a new one "
        f"({by_trials['luck']:.2f})",
    ]


def short(point: Point) -> Point:
    """Shortens the numbers of a point to four digits."""
    return {name: shorter(text) for name, text in point.items()}


def shorter(text: str) -> str:
    """Shortens a long number to four digits; leaves anything else as it is."""
    try:
        return text if len(text) <= 7 else f"{float(text):.4g}"
    except ValueError:
        return text
