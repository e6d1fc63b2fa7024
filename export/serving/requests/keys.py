"""Keys of the operator: several at a time, read again when their file changes, so that they can be rotated."""

import hmac
import stat
import string
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from himari_jax.errors import InputError

MOST_BYTES = 65536
TEXT = frozenset(string.printable.encode())
REREAD_SECONDS = 30.0  # a mounted secret may change without a new modification time


class Keys:
    """Keys of which the first signs and all are accepted."""

    def __init__(self, *accepted: bytes):
        self.accepted = accepted

    @property
    def first(self) -> bytes:
        """The key that signs."""
        return self.accepted[0]

    def accept(self, given: bytes) -> bool:
        """Whether a key is one of them; every wrong one takes the same time."""
        found = [hmac.compare_digest(given, key) for key in self.accepted]
        return any(found)


class KeyFile(Keys):
    """The keys of a file, one a line, the first of which signs.

    A file that is not text is one key, line ends included.

    Args:
        path: of the file.
        flag: that named it.
        least: bytes of a key.

    Raises:
        InputError: the file cannot be read, holds none, or one is too short.
    """

    def __init__(self, path: Path, flag: str, least: int):
        self.path, self.flag, self.least = path, flag, least
        super().__init__(*self.read())
        self.mark = self.file_mark()
        self.read_at = time.monotonic()
        self.last_error = ""

    def read(self) -> Sequence[bytes]:
        """Reads the keys of the file."""
        try:
            content = self.path.read_bytes()[:MOST_BYTES].strip()
        except OSError as error:
            raise InputError(f"{self.flag} {self.path}: {error.strerror}") from error
        lines = content.splitlines() if set(content) <= TEXT else [content]
        keys = [key for line in lines if (key := line.strip())]
        if not keys or min(map(len, keys)) < self.least:
            raise InputError(
                f"{self.flag} {self.path}: must be a file with at least {self.least} bytes for each key, one a line"
            )
        return keys

    def file_mark(self) -> tuple[int, int, int] | None:
        """Returns time, size and number of the file, which change with it; None where it is gone."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def open_to_all(self) -> bool:
        """Whether every user of the machine may read the file."""
        return bool(self.path.stat().st_mode & stat.S_IROTH)

    def refresh(self, log: Callable[..., None]) -> None:
        """Reads the keys of a changed file; where that fails, keeps the old ones and logs it once."""
        mark, now = self.file_mark(), time.monotonic()
        if mark == self.mark and now < self.read_at + REREAD_SECONDS:
            return
        self.mark, self.read_at = mark, now
        try:
            keys = tuple(self.read())
        except InputError as error:
            if str(error) != self.last_error:
                self.last_error = str(error)
                log("ERROR", "keys_refused", message=f"{error}; the keys of before hold")
            return
        self.last_error = ""
        if keys != self.accepted:
            self.accepted = keys
            log("NOTICE", "keys", flag=self.flag, keys=len(keys))


def watch(files: Sequence[KeyFile], log: Callable[..., None], seconds: float, stopping: threading.Event) -> None:
    """Starts a thread that refreshes key files at intervals, until `stopping` is set."""

    def loop() -> None:
        while not stopping.wait(seconds):
            for file in files:
                file.refresh(log)

    if files:
        threading.Thread(target=loop, name="keys", daemon=True).start()
