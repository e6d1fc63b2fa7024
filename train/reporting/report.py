"""Writes the report of a run or a backtest, one HTML file."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from train.artifacts.files import write_text
from train.reporting.page import document
from train.reporting.run_files import Extra, Run, read_run
from train.reporting.sections import all_sections, symbols_of
from train.reporting.words import sentences

MEANING = {
    "EDGE": "costs included, the learned multiplier did better than the position that it multiplies, "
    "by more than chance explains, and it still does when it sees the market one bar later.",
    "NO EDGE": "costs included, the learned multiplier adds nothing worth having to the position that it multiplies.",
    "INCONCLUSIVE": "costs included, this sample can neither confirm nor exclude that the multiplier adds something.",
}


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
    return document(title, top(run), all_sections(run, extra), made_by(run.config, run.name))


def made_by(config: Mapping[str, Any], name: str) -> str:
    """Words which version, commit and run made a page."""
    commit = str(config.get("commit") or "-")[:12]
    return f"HIMARI JAX {config.get('himari_jax', '-')}, commit {commit}, run {name}"


def top(run: Run) -> str:
    """Writes the verdict and its reason as HTML."""
    verdict, result = run.result["verdict"], run.result
    word = str(verdict.get("word", "-"))
    kind = word.lower().replace(" ", "-") if word in MEANING else "other"
    synthetic = '<p class="synthetic"><strong>SYNTHETIC</strong> These candles were made by chance.</p>'
    name = str(result.get("span", "test"))
    test = (result.get("spans") or {}).get(name)
    called = f"{name} span" if name.isalpha() else "span"
    when = f", {called} {test[0][0][:10]} to {test[-1][1][:10]}" if test else ""
    what = f"{' '.join(symbols_of(run))}, policy {result.get('policy', '-')}{when}"
    reason = str(verdict.get("reason", ""))
    where = "On these candles" if result.get("doubts") else "On candles it never saw"
    meaning = f"{where}, {MEANING[word]}" if word in MEANING else ""
    points = "".join(f"<li>{escape(sentence)}</li>" for sentence in notes(run))
    return (
        f'<p class="what">{escape(what)}</p><h1 class="{kind}">{escape(word)}</h1>'
        f'<p class="reason">{escape(reason[:1].upper() + reason[1:])}.</p><p>{escape(meaning)}</p>'
        f"{synthetic if run.result.get('synthetic') else ''}<ul>{points}</ul>"
    )


def notes(run: Run) -> Iterator[str]:
    """Words the sentences under the verdict."""
    result = run.result
    if result.get("rivals"):
        yield from (f"{sentence[:1].upper()}{sentence[1:]}." for sentence in sentences(result))
        yield from (f"Advice: {text}." for text in result.get("advice") or ())
        return
    difference = result["agent"].get("sharpe_difference")
    info = str(result["verdict"].get("reason", ""))
    if difference and None not in difference["interval"] and f"{difference['value']:+.2f}" not in info:
        low, high = difference["interval"]
        yield (
            f"Sharpe minus that of {difference['baseline']}, the best baseline: {difference['value']:+.2f}, "
            f"95 % interval {low:+.2f} to {high:+.2f} (paired stationary bootstrap)."
        )
    smallest = result.get("minimum_detectable_sharpe")
    if smallest is not None and "could confirm" not in info:
        yield f"The smallest Sharpe that this sample could confirm: {smallest:.2f}."
    if (value := result.get("deflated_sharpe")) is not None:
        yield f"The probability that its true Sharpe is above what the best of all trials owes to chance: {value:.3f}."
    elif (value := result.get("probabilistic_sharpe")) is not None:
        yield f"The probability that its true Sharpe is above 0: {value:.3f}."
    yield from (f"Advice: {text}." for text in result.get("advice") or ())
