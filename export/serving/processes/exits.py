"""The cause of a worker's exit: code or signal, its last line, and whether memory ran out."""

import os
import signal
import sys
import traceback
from pathlib import Path

from himari_jax.errors import first_line

MOST_WORDS = 2000  # characters of a worker's last words
CGROUPS = Path("/sys/fs/cgroup")


def last_words(error: BaseException) -> str:
    """Describes an error that ends a worker in one line: its kind, its first line and its place."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({place[0].filename}:{place[0].lineno})" if place else ""
    return f"{type(error).__name__}: {first_line(error, MOST_WORDS)}{where}"


def read_last_words(pipe: int) -> str:
    """Reads the error that a worker wrote to a pipe, on one line; empty where there is none."""
    try:
        data = os.read(pipe, 65536)
    except BlockingIOError:
        return ""
    lines = [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]
    # After a fatal signal: faulthandler's first line, and the innermost place in Python.
    fault = next((line for line in lines if line.startswith("Fatal Python error")), None)
    if fault is not None:
        place = next((line for line in lines if line.startswith("File ")), "")
        lines = [f"{fault} {place}".strip()]
    return lines[0][:MOST_WORDS] if lines else ""


def oom_kills() -> int | None:
    """Counts the processes of this control group killed for lack of memory; None where that is not counted."""
    if sys.platform != "linux":
        return None
    for path in (*cgroup_files(), CGROUPS / "memory.events", CGROUPS / "memory" / "memory.oom_control"):
        try:
            counts = dict(line.split() for line in path.read_text().splitlines())
            return int(counts["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def cgroup_files() -> list[Path]:
    """Lists paths that may hold the memory counts of this process's control group."""
    found = []
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names == "":
                found.append(CGROUPS / path.lstrip("/") / "memory.events")
            elif names == "memory":
                found.append(CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
    except (OSError, ValueError):
        return []
    return found


def explain_exit(code: int, words: str, kills_before: int | None, kills_after: int | None) -> str:
    """Describes the exit of a worker in one line.

    Args:
        code: exit code, or minus the signal.
        words: its last ones.
        kills_before: of `oom_kills` when it was started.
        kills_after: the same now.
    """
    if code >= 0:
        return f"exit code {code}" + (f"; {words}" if words else "")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if words:
        return f"{name}; {words}"
    if -code != signal.SIGKILL:
        return name
    if kills_after is not None and kills_after > (kills_before or 0):
        return f"{name}: out of memory; give the container more, or start fewer --workers"
    if kills_after is None:
        return f"{name}: by somebody, or by the system for want of memory; its log says which"
    return f"{name}: by somebody; the control group counts no want of memory"
