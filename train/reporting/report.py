"""Writes the report of a run or a backtest, one HTML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from train.artifacts.files import write_text
from train.reporting.facts import symbols_of
from train.reporting.first_screen import header
from train.reporting.page import document
from train.reporting.run_files import Extra, Run, read_run
from train.reporting.sections import all_sections


def write_report(folder: Path, extra: Extra | None = None) -> Path:
    """Writes `report.html` of a finished run, atomically.

    Args:
        folder: with result.json; config.json, data_report.json, metrics.jsonl, equity.parquet where present.
        extra: what else is shown.

    Raises:
        InputError: no result is there, or a file is damaged.
        StorageError: it could not be read or written.
    """
    path = folder / "report.html"
    write_text(path, page(read_run(folder), extra or Extra()))
    return path


def write_page(
    path: Path,
    result: dict[str, Any],
    config: dict[str, Any],
    data: dict[str, Any],
    metrics: list[dict[str, Any]],
    frame: pl.DataFrame,
    extra: Extra,
) -> None:
    """Writes the report of what is no run folder, from what such a folder would hold.

    Args:
        path: of the page.
        result: as result.json.
        config: as config.json.
        data: as data_report.json.
        metrics: as metrics.jsonl.
        frame: as equity.parquet.
        extra: what else is shown.

    Raises:
        StorageError: it could not be written.
    """
    run = Run(str(result.get("name", path.parent.name)), result, config, data, metrics, frame)
    write_text(path, page(run, extra))


def page(run: Run, extra: Extra) -> str:
    """Writes the whole page as HTML."""
    title = f"{run.result['verdict'].get('word', '-')}: {' '.join(symbols_of(run))}, {run.name}"
    return document(title, header(run), all_sections(run, extra), made_by(run.config, run.name))


def made_by(config: Mapping[str, Any], name: str) -> str:
    """Words which version, commit and run made a page."""
    commit = str(config.get("commit") or "-")[:12]
    return f"HIMARI JAX {config.get('himari_jax', '-')}, commit {commit}, run {name}"
