"""Verifies a candidate in a process of its own, then loads the bytes that were verified."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from export.contents.files import read_contents
from export.loading import ROWS, open_model
from export.runtime import Model
from himari_jax.errors import InputError, StorageError, last_line

Signature = tuple[tuple[str, int, int, int], ...]  # path, time, size and number of each file
POLL_SECONDS = 0.02
ASK_SECONDS = 1.0  # between questions whether the candidate is still wanted: each looks at files, maybe of a bucket
MOST_ANSWER = 65536  # bytes of a verdict
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from export.serving.models.candidate_process import main; main(json.loads(sys.argv[2]))"
)
# Signals that the candidate itself caused: forbidden resources, or a fault in native code.
OWN_FAULT = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)


class Abandoned(StorageError):
    """A candidate that is no longer needed."""


class Limits(NamedTuple):
    """Limits of the process that verifies a candidate."""

    memory_mb: int = 512  # beyond the interpreter and its libraries
    cpu_seconds: int = 20
    seconds: float = 60.0  # a busy machine or a slow bucket


LIMITS = Limits()


class Verdicts:
    """The newest verdict, shared by all workers: one verifies while the others wait. Made before they are forked."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # without a name: only these processes have it  # noqa: SIM115

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Locks the verdict against the other processes."""
        fcntl.lockf(self.file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN)

    def find(self, signature: Signature) -> dict[str, str] | None:
        """Returns the verdict on the files of that signature, where it is the newest one."""
        text = os.pread(self.file.fileno(), 2 * MOST_ANSWER, 0)
        kept = json.loads(text) if text else {}
        return kept["verdict"] if kept.get("signature") == repr(signature) else None

    def keep(self, signature: Signature, verdict: dict[str, str]) -> None:
        """Stores a verdict in place of the one before."""
        data = json.dumps({"signature": repr(signature), "verdict": verdict}).encode()
        os.ftruncate(self.file.fileno(), 0)
        os.pwrite(self.file.fileno(), data, 0)


@dataclass(frozen=True)
class Candidates:
    """Loads bundles that a process of its own has verified.

    Args:
        allow_code: whether to run code for features that a bundle carries.
        rows: of the largest batch that a bundle must answer.
        limits: of the process.
        verdicts: of the other workers, where there are any.
    """

    allow_code: bool = False
    rows: int = ROWS
    limits: Limits = LIMITS
    verdicts: Verdicts | None = None

    def load(self, folder: Path, signature: Signature, is_abandoned: Callable[[], bool]) -> Model:
        """Loads a bundle once it is verified.

        Args:
            folder: of the bundle.
            signature: of its files.
            is_abandoned: whether nobody waits for it any more; called about once a second.

        Raises:
            InputError: it does not hold.
            StorageError: it could not be verified for a reason that may pass.
        """
        verdict = self.verify(folder, signature, is_abandoned)
        if "refused" in verdict:
            raise InputError(verdict["refused"])
        contents = read_contents(folder)
        if contents.digest != verdict["digest"]:
            raise StorageError(f"{folder}: changed while it was verified")
        return open_model(contents, self.allow_code)

    def verify(self, folder: Path, signature: Signature, is_abandoned: Callable[[], bool]) -> dict[str, str]:
        """Returns the verdict of another worker, else of a process of its own: `digest` or `refused`."""
        if self.verdicts is None:
            return self.ask(folder, is_abandoned)
        with self.verdicts.alone():
            verdict = self.verdicts.find(signature)
            if verdict is None:
                verdict = self.ask(folder, is_abandoned)
                self.verdicts.keep(signature, verdict)
        return verdict

    def ask(self, folder: Path, is_abandoned: Callable[[], bool]) -> dict[str, str]:
        """Starts a process that verifies the bundle; returns its verdict.

        Raises:
            StorageError: a reason that may pass.
        """
        path = [str(Path(place).absolute()) for place in sys.path]
        job = {"folder": str(folder), "allow_code": self.allow_code, "rows": self.rows}
        job |= self.limits._asdict()
        command = [sys.executable, "-I", "-c", START, json.dumps(path), json.dumps(job)]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        try:
            process = subprocess.Popen(command, **pipes)
        except OSError as error:
            raise StorageError(f"{folder}: no process to verify it in ({error.strerror})") from error
        with process:
            try:
                self.wait(process, folder, is_abandoned)
            finally:
                process.kill()
            code = process.wait()
            assert process.stdout is not None
            assert process.stderr is not None
            answer, trace = process.stdout.read(MOST_ANSWER), process.stderr.read(MOST_ANSWER)
        if code == 0:
            verdict: dict[str, str] = json.loads(answer)
            if "passing" in verdict:
                raise StorageError(verdict["passing"])
            return verdict
        return self.explain(folder, code, last_line(trace.decode(errors="replace"), "no word"))

    def wait(self, process: subprocess.Popen, folder: Path, is_abandoned: Callable[[], bool]) -> None:
        """Waits until the process has ended.

        Raises:
            StorageError: it takes too long, or nobody waits for it any more.
        """
        start = asked = time.monotonic()
        while process.poll() is None:
            if time.monotonic() > asked + ASK_SECONDS:
                asked = time.monotonic()
                if is_abandoned():
                    raise Abandoned(f"{folder}: no longer asked for")
            if time.monotonic() > start + self.limits.seconds:
                raise StorageError(f"{folder}: not verified within {self.limits.seconds:g} s")
            time.sleep(POLL_SECONDS)

    def explain(self, folder: Path, code: int, words: str) -> dict[str, str]:
        """Returns the verdict on a candidate whose process ended without one.

        Raises:
            StorageError: the cause lies outside the candidate.
        """
        if code == -signal.SIGXCPU:
            return {"refused": f"{folder}: verifying it takes more than {self.limits.cpu_seconds} s of the processor"}
        if -code in OWN_FAULT:
            name = signal.Signals(-code).name
            return {"refused": f"{folder}: ends the process that verifies it ({name}); export the bundle again"}
        if code == -signal.SIGKILL:
            raise StorageError(f"{folder}: the process that verifies it was killed; is the machine out of memory?")
        raise StorageError(f"{folder}: the process that verifies it ended with {code}: {words[:200]}")
