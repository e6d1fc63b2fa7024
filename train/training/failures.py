"""Marks a run that fails before its first update: `--resume` alone would fail in the same way."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from himari_jax.errors import NumericalError, Preempted, StorageError, first_line
from train.artifacts.files import write_json
from train.artifacts.run_folder import FAILED, local_steps
from train.distributed.processes import is_first

NOT_OF_THE_RUN = (Preempted, NumericalError, StorageError, OSError)  # stopped, marked already, or the machine's


@contextlib.contextmanager
def marking_failure(folder: Path) -> Iterator[None]:
    """Inside the block an error that comes before the first update is written to `failed.json`, and raised on.

    A run that a signal or a full disk ended is not marked: with the same flags it may go on.
    """
    try:
        yield
    except NOT_OF_THE_RUN:
        raise
    except Exception as error:
        if is_first() and not any(local_steps(folder)):
            with contextlib.suppress(StorageError):
                write_json(folder / FAILED, {"error": f"{type(error).__name__}: {first_line(error)}"})
        raise
