"""Names of the device and the machine that something was measured on."""

import contextlib
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from train.diagnosis.machine import cores


def describe_device() -> str:
    """Names the kind of jax's first device; of a processor, its cores."""
    device = jax.devices()[0]
    return f"CPU, {cores()} cores" if device.platform == "cpu" else device.device_kind


def describe_processor() -> str:
    """Names the processor, with its cores."""
    return f"{processor()}, {cores()} cores"


def describe_tools(config: dict[str, Any]) -> str:
    """Words the version of jax, commit and day.

    Args:
        config: config.json of a run.
    """
    commit = (config["commit"] or "unknown")[:7]
    return f"jax {config['versions']['jax']}, commit {commit}, {datetime.now(UTC):%Y-%m-%d}"


def processor() -> str:
    """Name of the processor, where the system reports it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()
