"""Commands that a message names, so that the user can paste them."""

import shlex
import shutil
import sys
from pathlib import Path

from himari_jax.cli import invocation


def command_line(module: str, *words: object) -> str:
    """Quotes a command for a shell; it begins as the user began this one.

    Args:
        module: whose `main` it is.
        words: flags and values.
    """
    program, *rest = invocation(module).split()
    return shlex.join([as_called(program), *rest, *map(str, words)])


def as_called(program: str) -> str:
    """The Python or the script `himari` that runs now, in the words of the user."""
    if program != "himari":
        return sys.orig_argv[0] if sys.orig_argv else sys.executable
    found, script = shutil.which(program), Path(sys.argv[0])
    return program if found is not None and script.exists() and script.samefile(found) else str(script)


def free_name(folder: Path) -> Path:
    """Returns a folder that does not exist yet: the given one, else its name with -2, -3, ..."""
    if not folder.exists():
        return folder
    return next(path for k in range(2, 10_000) if not (path := folder.with_name(f"{folder.name}-{k}")).exists())
