"""Finds the folder that `--resume` alone goes on with. Light: no jax."""

import json
from collections.abc import Callable
from pathlib import Path

from himari_jax.errors import InputError
from train.artifacts.run_folder import FAILED, is_walk_forward, read_result, stored_config


def newest_unfinished(root: Path) -> Path:
    """Finds the run folder under `root` that was started last and is not finished, nor would fail again.

    Raises:
        InputError: there is none.
    """

    def may_go_on(folder: Path) -> bool:
        return not is_walk_forward(folder) and not finished(folder)

    return newest_to_resume(root, "config.json", "run", may_go_on)


def newest_to_resume(root: Path, header: str, kind: str, may_go_on: Callable[[Path], bool]) -> Path:
    """Finds the folder that `--resume` alone goes on with: the one started last that would not fail again.

    Args:
        root: folder of the folders.
        header: file that is written at the start of each.
        kind: word for what they hold.
        may_go_on: whether a folder with such a file is of that kind and not finished.

    Raises:
        InputError: there is none.
    """
    unfinished = [path.parent for path in root.glob(f"*/{header}") if may_go_on(path.parent)]
    found = [folder for folder in unfinished if not (folder / FAILED).exists()]
    for folder in sorted(set(unfinished) - set(found)):
        print(f"passed over {folder}: {failure(folder)}, and would again; begin anew with other flags")
    if not found:
        raise InputError(f"--resume: no unfinished {kind} under {root}/ that can go on; name one with --run-dir")
    return max(found, key=lambda folder: (folder / header).stat().st_mtime)


def failure(folder: Path) -> str:
    """Words the failure that a folder is marked with."""
    try:
        return f"it failed before its first update ({json.loads((folder / FAILED).read_text())['error']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "its numbers went bad"


def finished(folder: Path) -> bool:
    """Whether a run has gone as far as its flags ask."""
    result = read_result(folder)
    return result is not None and result["timings"]["updates"] >= stored_config(folder).total_updates
