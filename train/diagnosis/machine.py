"""Facts of the machine and the installation: versions, device, memory, clock; without an opinion."""

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from himari_jax import __version__
from train.distributed.environment import cache_folder

# What the project stands on, and what only an extra brings; the plug-ins of jax are those that are installed.
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnax", "chex", "numpy", "polars", "TA-Lib"),
    *("onnx", "onnxruntime", "jax2onnx"),
)
PLUGIN = re.compile(r"jax[-_](cuda\d*|rocm\d*|metal)([-_](plugin|pjrt))?$", re.IGNORECASE)
DRIVER = Path("/proc/driver/nvidia/version")
CARDS = Path("/proc/driver/nvidia/gpus")
NODES = Path("/dev")


@dataclass(frozen=True)
class Machine:
    """Facts of the machine; jax's part is empty where jax finds no device."""

    versions: Mapping[str, str]  # of python, the project and the packages that are installed
    requirements: tuple[str, ...]  # of the project, as its metadata say; empty where it is not installed
    cores: int
    host_mb: float | None  # memory of the machine
    cards: int  # NVIDIA cards that the system sees
    driver: str | None  # of the cards, as the system reports it
    environment: Mapping[str, str]
    cache: Path  # folder of the compilation cache
    now: float  # seconds since 1970, by the system's clock
    newest: float  # when the newest file of the project was written
    platform: str = ""  # cpu, gpu, ...
    device: str = ""  # kind of the first one
    devices: int = 0
    runtime: str = ""  # of the device, as jax reports it: the version of CUDA
    device_mb: float | None = None  # memory that jax may use on the first device; None: the machine's own


def describe_machine(environment: Mapping[str, str] | None = None) -> Machine:
    """Describes the machine, without jax's devices.

    Args:
        environment: of the process; None: this one's.
    """
    environment = dict(os.environ if environment is None else environment)
    home = Path(__file__).resolve().parent
    return Machine(
        versions=versions(),
        requirements=requirements(),
        cores=cores(),
        host_mb=host_memory(),
        cards=count_cards(),
        driver=driver_version(),
        environment=environment,
        cache=cache_folder(environment),
        now=time.time(),
        newest=max(path.stat().st_mtime for path in home.glob("*.py")),
    )


def versions() -> dict[str, str]:
    """Versions by name: python, the project, the packages and plug-ins that are installed."""
    found = {"python": sys.version.split()[0], "himari-jax": __version__}
    plugins = {each.name for each in metadata.distributions() if each.name and PLUGIN.match(each.name)}
    for name in (*PACKAGES[:2], *sorted(plugins), *PACKAGES[2:]):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def requirements() -> tuple[str, ...]:
    """Requirements of the installed project."""
    try:
        return tuple(metadata.requires("himari-jax") or ())
    except metadata.PackageNotFoundError:  # it runs from its folder
        return ()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_memory() -> float | None:
    """Memory of the machine, MB; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (ValueError, OSError, AttributeError):
        return None


def count_cards() -> int:
    """NVIDIA cards that the kernel's driver lists, or whose device files a container has been given."""
    listed = len(list(CARDS.iterdir())) if CARDS.is_dir() else 0
    return listed or len([node for node in NODES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name)])


def driver_version() -> str | None:
    """Version of the kernel's driver; None where there is none."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", DRIVER.read_text().partition("\n")[0])
    except OSError:
        return None
    return found[0] if found else None


def devices_of_jax() -> dict[str, object]:
    """The fields of `Machine` that jax knows, once it has found its devices."""
    import jax

    first = jax.devices()[0]
    return {
        "platform": jax.default_backend(),
        "device": first.device_kind,
        "devices": jax.device_count(),
        "runtime": " ".join(str(first.client.platform_version).split()).removeprefix("PJRT C API "),
        "device_mb": device_memory(first),
    }


def device_memory(device: Any) -> float | None:
    """MB that jax may use on a device; None where it shares the machine's."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return None if limit is None else limit / 2**20
