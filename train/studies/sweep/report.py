"""Writes the report of a sweep, one HTML file, and its table, trials.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from train.artifacts.files import write_text
from train.config.vary import Dimension, label
from train.reporting.figure import figures
from train.reporting.page import document, heading, pairs, paragraph, row, table
from train.reporting.report import made_by
from train.studies.sweep.console import chosen_lines, short
from train.studies.sweep.plots import parallel, slices
from train.studies.sweep.store import Finished, ranked

TABLE = "trials.csv"
PAGE = "report.html"
MOST_ROWS = 500  # of the table in the page


def write_table(folder: Path, trials: Sequence[Finished], dimensions: Sequence[Dimension]) -> None:
    """Writes trials.csv, a row for each configuration, the best first.

    Raises:
        StorageError: it could not be written.
    """
    columns: dict[str, list[Any]] = {"rank": [], "trial": []}
    columns |= {each.name: [] for each in dimensions}
    columns |= {name: [] for name in ("state", "updates", "validation_sharpe", "deviation", "by_seed", "best_update")}
    for rank, each in enumerate(ranked(trials), 1):
        values = {
            **{"rank": rank, "trial": each.trial, "state": each.state, "updates": each.updates},
            **each.point,
            "validation_sharpe": each.score if each.scores else None,
            "deviation": each.spread,
            "by_seed": " ".join(map(repr, each.scores)),
            "best_update": " ".join(map(str, each.taken)),
        }
        for name, column in columns.items():
            column.append(values[name])
    write_text(folder / TABLE, pl.DataFrame(columns).write_csv())


def write_sweep_report(
    folder: Path,
    result: Mapping[str, Any],
    config: Mapping[str, Any],
    trials: Sequence[Finished],
    dimensions: Sequence[Dimension],
) -> None:
    """Writes `report.html`.

    Args:
        folder: of the sweep.
        result: as result.json.
        config: as sweep.json.
        trials: all of them.
        dimensions: what was varied.

    Raises:
        StorageError: it could not be written.
    """
    sections = [
        ("Parallel coordinates", figures([parallel(trials, dimensions)])),
        ("Slices", figures(slices(trials, dimensions), "grid")),
        ("Configurations", configurations(trials, dimensions)),
        ("Settings", pairs(config["sweep"]) + pairs(config["flags"]["ppo"]) + pairs(result["timings"])),
    ]
    word = result["test"]["verdict"]["word"]
    title = f"{word}: sweep of {len(trials)} configurations, {folder.resolve().name}"
    write_text(folder / PAGE, document(title, header(result), sections, made_by(config, folder.resolve().name)))


def header(result: Mapping[str, Any]) -> str:
    """Writes the choice and its verdict as HTML."""
    chosen, verdict = result["chosen"], result["test"]["verdict"]
    what = (
        f"{' '.join(result['symbols'])}: trial {chosen['trial']} of {result['counted']['configurations']}, "
        f"{label(short(chosen['point']))}"
    )
    said = "".join(paragraph(line) for line in chosen_lines(result))
    return (
        f"{heading(what, verdict['word'], verdict['reason'])}{said}"
        '<p><a href="chosen/report.html">The report of the chosen configuration</a></p>'
    )


def configurations(trials: Sequence[Finished], dimensions: Sequence[Dimension]) -> str:
    """Writes the table of configurations, the best first."""
    heads = ["", *(each.name for each in dimensions), "validation Sharpe", "± seeds", "updates", ""]
    rows = [
        row(
            f"trial {each.trial}",
            *short(each.point).values(),
            f"{each.score:+.3f}" if each.scores else "–",
            "–" if each.spread is None else f"{each.spread:.2f}",
            f"{each.updates:,}",
            each.why or ("" if each.state == "complete" else each.state),
        )
        for each in ranked(trials)[:MOST_ROWS]
    ]
    more = len(trials) - MOST_ROWS
    note = "Mean over the seeds of each one's best score on the validation span; the test span is not looked at here."
    return table(heads, rows, note + (f" {more} more are in trials.csv." if more > 0 else ""), "numbers")
