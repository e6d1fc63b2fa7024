"""The walk-forward tests of the evidence, one after the other, and what is made of their results."""

import json
import shlex
from pathlib import Path
from typing import Any

from himari_jax.errors import InputError, Preempted
from train.artifacts.files import read_text, write_text
from train.config.evidence import ROWS, EvidenceConfig
from train.reporting.console import console
from train.reporting.walk_forward.picture import write_picture
from train.studies.evidence.table import Found, console_page, markdown_page
from train.studies.walk_forward.flags import PROG, read_flags


def evidence(config: EvidenceConfig) -> int:
    """Runs the tests that are not finished, prints the tables, writes page and picture; 0 when done."""
    if not config.render:
        for name in config.rows:
            run(name, config)
    found = {name: read(name, config) for name in config.rows}
    print(f"\n{console_page(found, console().width)}\n")
    write_text(config.page, markdown_page(found))
    said = f"tables: {config.page}"
    if drawn := {ROWS[name].title: config.folder(name) for name in found if not ROWS[name].beside}:
        said += f"; picture: {write_picture(config.drawing, drawn)}"
    print(f"{said}; next: open {config.run_dir}/*/report.html")
    return 0


def run(name: str, config: EvidenceConfig) -> None:
    """Runs a row as `python -m train.walk_forward` does; a finished one is only printed.

    Raises:
        InputError: its flags do not fit, or its folder holds another test.
        Preempted: a signal came; what is finished is kept.
    """
    # Here and not above: --render needs no jax.
    from train.studies.walk_forward.run import walk_forward

    words = config.flags_of(name)
    print(f"\n{name}: {PROG} {shlex.join(words)}\n", flush=True)
    try:
        walk_forward(*read_flags(words))
    except Preempted as stop:
        kept = f"stopped at {name}; what is finished is kept in {config.run_dir}: run the same command again"
        raise Preempted(kept) from stop


def read(name: str, config: EvidenceConfig) -> Found:
    """Reads the files of a finished row.

    Raises:
        InputError: it is not finished, or a file is damaged.
    """
    folder = config.folder(name)
    return Found(read_object(folder / "result.json", name), read_object(folder / "config.json", name))


def read_object(path: Path, name: str) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Raises:
        InputError: it is not there, or damaged.
    """
    text = read_text(path)
    if text is None:
        raise InputError(f"--rows {name}: no finished test is there ({path} is missing); run it without --render")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error})") from error
