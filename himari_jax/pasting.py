"""Commands that a message names, so that the user can paste them."""

import shlex
import sys
from pathlib import Path


def command_line(module: str, *words: object) -> str:
    """A command as a shell takes it: the Python that runs now, as the user called it, and every word quoted.

    Args:
        module: after `-m`.
        words: flags and values.
    """
    python = sys.orig_argv[0] if sys.orig_argv else sys.executable
    return shlex.join([python, "-m", module, *map(str, words)])


def free_name(folder: Path) -> Path:
    """A folder of that name that does not exist yet: itself, else with -2, -3, ..."""
    if not folder.exists():
        return folder
    return next(path for k in range(2, 10_000) if not (path := folder.with_name(f"{folder.name}-{k}")).exists())
