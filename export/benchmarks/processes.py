"""Memory and processor time of a process, and the size of an environment on disk."""

import os
from pathlib import Path


def resident(process: int) -> float:
    """Reads the resident memory of a process, megabytes; NaN where /proc does not have it."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def family(process: int) -> list[int]:
    """Lists a process and its children."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        children = []
    return [process, *map(int, children)]


def processor_seconds(process: int) -> float:
    """Reads the processor time of a process, seconds; NaN where /proc does not have it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def weigh(venv: Path) -> float:
    """Measures a virtual environment, megabytes, without the installers that it begins with."""
    found = sum(x.lstat().st_size for x in venv.rglob("*") if x.is_file() and not x.is_symlink())
    tools = [x for name in ("pip", "setuptools", "pkg_resources") for x in venv.glob(f"lib/*/site-packages/{name}")]
    return (found - sum(y.lstat().st_size for x in tools for y in x.rglob("*") if y.is_file())) / 1e6
