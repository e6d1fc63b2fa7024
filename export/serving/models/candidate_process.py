"""The process that verifies a candidate: it limits its own resources and answers with a line of JSON.

It is a fresh interpreter: a fork of the server would hold the locks of threads that it does not have.
"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from himari_jax.errors import HimariError, StorageError, first_line

SHORT_OF_MEMORY = ("bad_alloc", "allocate memory", "Unable to allocate", "MemoryError")
MB = 2**20


def main(job: Mapping[str, Any]) -> None:
    """Verifies a bundle as `verify_candidate` does and writes the verdict to standard output.

    Args:
        job: `folder`, `allow_code`, `rows`, `memory_mb`, `cpu_seconds`, `seconds`.
    """
    signal.alarm(math.ceil(job["seconds"]) + 5)  # in case that no server is left to end it
    threading.Thread(target=exit_with_server, daemon=True).start()
    with os.fdopen(os.dup(1), "w") as answer:
        import_verifier()
        with open(os.devnull, "w") as nowhere:  # output of the user's features must not mix with the answer
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
        lower_priority()
        limit_resources(job["memory_mb"], job["cpu_seconds"])
        answer.write(json.dumps(verify_candidate(job)))


def exit_with_server() -> None:
    """Exits when the server does, which holds the other end of standard input and writes nothing to it."""
    os.read(0, 1)
    os._exit(1)


def import_verifier() -> None:
    """Imports the verifier; TA-Lib without pandas and polars, which it would import only to accept their columns."""
    unneeded = [name for name in ("pandas", "polars") if name not in sys.modules]
    hidden: dict[str, Any] = dict.fromkeys(unneeded)
    sys.modules.update(hidden)
    import talib  # noqa: F401

    for name in unneeded:
        del sys.modules[name]
    import export.loading  # noqa: F401


def lower_priority() -> None:
    """Gives the server precedence: for the processor, and where the machine runs out of memory."""
    os.nice(5)
    with contextlib.suppress(OSError):  # not every system has it
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit_resources(memory_mb: int, cpu_seconds: int | None = None) -> None:
    """Limits this process from now on, as far as the system can.

    Args:
        memory_mb: that it may take beyond what it has.
        cpu_seconds: of the processor that it may take beyond what it has taken; then it also may write no file.
    """
    import resource

    def limit(what: int, most: int, slack: int = 0) -> None:
        hard = resource.getrlimit(what)[1]
        if hard == resource.RLIM_INFINITY or most + slack <= hard:
            resource.setrlimit(what, (most, most + slack))

    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_mb * MB)
    if cpu_seconds is not None:
        limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds, slack=5)
        limit(resource.RLIMIT_FSIZE, 0)
        limit(resource.RLIMIT_CORE, 0)


def verify_candidate(job: Mapping[str, Any]) -> dict[str, str]:
    """Verifies a bundle; returns `digest`, else the reason as `refused` or, where it may pass, as `passing`."""
    from export.loading import load

    folder = Path(job["folder"])
    try:
        return {"digest": load(folder, job["allow_code"], job["rows"]).digest}
    except StorageError as error:
        return {"passing": str(error)}
    except Exception as error:  # whatever a damaged file leads to
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in SHORT_OF_MEMORY):
            return {"refused": too_much(folder, job["memory_mb"])}
        if isinstance(error, HimariError):
            return {"refused": str(error)}
        return {"refused": f"{folder}: damaged ({type(error).__name__}: {first_line(error)}); export the bundle again"}


def too_much(folder: Path, memory_mb: int) -> str:
    """Makes the refusal of a bundle that needs more memory than allowed."""
    return f"{folder}: verifying it takes more than {memory_mb} MB; --candidate-mb allows more"
