"""The folder in which the workers of a server add up their metrics; folders of killed servers are removed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "himari-metrics-"
OWNER = "owner"  # a file that the server and its workers hold locked as long as one of them lives
YOUNG_SECONDS = 60.0  # a folder may be without its lock for a moment


@contextlib.contextmanager
def shared_folder() -> Iterator[str]:
    """Makes a folder for the metrics of this server's workers, removed at the end; removes those of dead servers.

    A lock tells the living, not a process id: containers with ids of their own may share the folder of temporary files.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, open(Path(folder) / OWNER, "w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder


def remove_abandoned(place: Path) -> None:
    """Removes the folders of this user's servers that were killed."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # gone, locked, not ours or not one of ours: it stays
            info = folder.lstat()
            if info.st_uid != os.getuid() or time.time() < info.st_mtime + YOUNG_SECONDS:
                continue
            with open(folder / OWNER) as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
