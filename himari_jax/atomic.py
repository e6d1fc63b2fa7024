"""Atomic writes: whenever the process or the machine stops, a name is that of a whole file or folder."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write a file or a folder at; when the block ends, that takes the place of `path`.

    Where the block raises, `path` is as it was and nothing is left beside it; what a killed process left goes first.

    Raises:
        OSError: it could not be written.
    """
    part = path.with_name(path.name + ".part")
    remove(part)
    try:
        yield part
        put_in_place(part, path)
    except BaseException:
        remove(part)
        raise


def put_in_place(part: Path, path: Path) -> None:
    """Renames a file or folder once its bytes are on the disk; a file of that name is replaced.

    Raises:
        OSError: it could not be done; `path` is as it was.
    """
    for written in [p for p in part.rglob("*") if p.is_file()] if part.is_dir() else [part]:
        with written.open("rb") as file:
            os.fsync(file.fileno())
    os.replace(part, path)


def remove(path: Path) -> None:
    """Removes a file or a folder with all that is in it, where there is one."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
