"""Settings of jax in the environment: the cache folder, and those that are set aside before jax is imported."""

import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

OFF = ("", "0", "n", "no", "f", "false", "off")
# By variable: the values under which training runs. Shells, images and notebooks set the others for their own programs.
HARMLESS = {
    **dict.fromkeys(("JAX_ENABLE_X64", "JAX_DEBUG_INFS", "JAX_DISABLE_JIT"), OFF),
    "JAX_NUMPY_DTYPE_PROMOTION": ("", "standard"),
    **dict.fromkeys(
        (
            "JAX_TRANSFER_GUARD",
            "JAX_TRANSFER_GUARD_HOST_TO_DEVICE",
            "JAX_TRANSFER_GUARD_DEVICE_TO_DEVICE",
            "JAX_TRANSFER_GUARD_DEVICE_TO_HOST",
        ),
        ("", "allow", "log", "log_explicit"),
    ),
}


def set_aside(environ: MutableMapping[str, str]) -> None:
    """Removes the settings that training cannot run with, and prints them in a line.

    Args:
        environ: of the process, before jax is imported.
    """
    found = [name for name, allowed in HARMLESS.items() if environ.get(name, "").lower() not in allowed]
    if found:
        named = ", ".join(f"{name}={environ.pop(name)}" for name in found)
        print(f"note: set aside, training has its own settings of jax: {named}", file=sys.stderr)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Returns the folder of compiled programs, `JAX_COMPILATION_CACHE_DIR` or one in the home folder.

    Args:
        environ: of the process.
    """
    return Path(environ.get("JAX_COMPILATION_CACHE_DIR") or Path.home() / ".cache" / "himari-jax")
