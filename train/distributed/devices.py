"""Selects the device that jax computes on."""

import contextlib
import os

from himari_jax.errors import InputError, first_line
from himari_jax.extras import how_to_install
from train.distributed.environment import cache_folder, set_aside
from train.distributed.processes import ProcessPlace, join

DETERMINISTIC = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"


def choose_device(
    device: str, deterministic: bool = False, place: ProcessPlace | None = None, members: bool = False
) -> None:
    """Sets the device that jax computes on and whether a GPU may sum in any order; call it before jax is imported.

    Args:
        device: `auto`, `cpu` or `cuda`.
        deterministic: whether sums are the same every time.
        place: of this process among others, which are joined before jax looks for devices.
        members: whether a population trains, whose members are shared out among the cores of a CPU, a device each.

    Raises:
        InputError: there is no GPU that was asked for, jax refuses a setting of the environment, or the other
            processes were not found.
    """
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    if device != "auto":
        os.environ["JAX_PLATFORMS"] = "cuda,cpu" if device == "cuda" else device  # the host plays few accounts
    set_aside(os.environ)
    try:
        import jax
    except ValueError as error:  # jax reads its settings when it is imported
        raise InputError(f"jax does not take a setting of the environment: {first_line(error)}; unset it") from error

    if members and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # a process that has computed keeps the devices that it has
            jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    if place is not None:
        join(place)
    try:
        found = jax.devices()[0].platform
    except (RuntimeError, AssertionError) as error:  # jax asserts where a platform was named and none came up
        raise InputError(no_device(device, os.environ.get("JAX_PLATFORMS", ""))) from error
    if device == "cuda" and found == "cpu":  # jax passes over a platform without a card where another is named
        raise InputError(no_device(device, ""))
    folder = cache_folder(os.environ)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # it only saves time: without it every start compiles anew
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


def no_device(device: str, platforms: str) -> str:
    """Words the error where jax finds no device, with what to do.

    Args:
        device: `auto`, `cpu` or `cuda`, as given.
        platforms: value of JAX_PLATFORMS.
    """
    if device == "auto" and platforms:
        return f"JAX_PLATFORMS={platforms} in the environment: jax finds no such device; unset it, or use --device cpu"
    return (
        f"--device {device}: jax finds no such device; {how_to_install('cuda')}, on a machine with a "
        "GPU, or use --device cpu"
    )
