"""Finds faults of a machine or an installation, each with its remedy in one line."""

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from himari_jax.extras import how_to_install
from train.diagnosis.machine import Machine

LEAST_HOST_MB = 2000  # with which the defaults train
LEAST_DEVICE_MB = 1500  # of a card's memory, that the defaults and their compiling need
DAY = 86_400.0
PLUGIN = re.compile(r"jax-cuda\d*-(plugin|pjrt)$")


@dataclass(frozen=True)
class Finding:
    """A fault or a remark, with its remedy."""

    text: str
    remedy: str
    wrong: bool = True  # False: worth knowing, and no reason to fail

    def record(self) -> dict[str, Any]:
        """Returns the finding as JSON."""
        return asdict(self)


def examine(machine: Machine) -> list[Finding]:
    """Runs every check; returns the findings, faults first."""
    every = (card_unseen, plugin_unlike, little_memory, preallocation, clock, cache, candles, bounds)
    found = [finding for check in every for finding in check(machine)]
    return sorted(found, key=lambda finding: not finding.wrong)


def card_unseen(machine: Machine) -> Iterator[Finding]:
    """Finds cards that jax does not use."""
    if not machine.cards or machine.platform not in ("cpu", ""):
        return
    cards = f"{machine.cards} NVIDIA card{'s' * (machine.cards > 1)}, driver {machine.driver or 'unknown'}"
    where = machine.environment.get("JAX_PLATFORMS", "")
    if where and "cuda" not in where and "gpu" not in where:
        yield Finding(f"{cards}: jax looks for {where} alone", "unset JAX_PLATFORMS, or --device cuda")
    elif machine.environment.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        yield Finding(f"{cards}: CUDA_VISIBLE_DEVICES hides them", "unset CUDA_VISIBLE_DEVICES")
    elif not any(PLUGIN.match(name) for name in machine.versions):
        yield Finding(f"{cards}: jax sees only the CPU, its CUDA plug-in is not installed", how_to_install("cuda"))
    else:
        yield Finding(
            f"{cards}: jax sees only the CPU though its CUDA plug-in is installed",
            "python -c 'import jax; jax.devices(\"cuda\")' says why; a driver older than the plug-in's CUDA is usual",
        )


def plugin_unlike(machine: Machine) -> Iterator[Finding]:
    """Finds a plug-in of another version than jaxlib, which jax ignores."""
    jaxlib = machine.versions.get("jaxlib")
    for name, version in machine.versions.items():
        if PLUGIN.match(name) and version != jaxlib:
            yield Finding(
                f"{name} {version} beside jaxlib {jaxlib}: they must be of one version", how_to_install("cuda")
            )


def little_memory(machine: Machine) -> Iterator[Finding]:
    """Finds less memory than the defaults need."""
    if machine.host_mb is not None and machine.host_mb < LEAST_HOST_MB:
        yield Finding(
            f"{machine.host_mb:,.0f} MB of memory: the defaults need about {LEAST_HOST_MB:,}",
            "fewer environments: --num-envs 64",
        )
    if machine.device_mb is not None and machine.device_mb < LEAST_DEVICE_MB:
        yield Finding(
            f"jax may use {machine.device_mb:,.0f} MB of the card: another program holds the rest",
            "end it (nvidia-smi lists them), or XLA_PYTHON_CLIENT_PREALLOCATE=false",
        )


def preallocation(machine: Machine) -> Iterator[Finding]:
    """Notes that jax reserves most of a card when it starts, so that a second program fails."""
    off = machine.environment.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower() in ("false", "0")
    if machine.platform == "gpu" and machine.device_mb is not None and not off:
        yield Finding(
            f"jax reserves {machine.device_mb:,.0f} MB of the card from the start",
            "XLA_PYTHON_CLIENT_PREALLOCATE=false where other programs share the card",
            wrong=False,
        )


def clock(machine: Machine) -> Iterator[Finding]:
    """Finds a clock older than the installation: new candles and certificates would lie in its future."""
    if machine.now < machine.newest - DAY:
        stands = datetime.fromtimestamp(machine.now, UTC)
        yield Finding(f"the clock says {stands:%Y-%m-%d %H:%M} UTC, older than this installation", "set the clock")


def cache(machine: Machine) -> Iterator[Finding]:
    """Finds a compilation cache that cannot be written: every start would compile anew."""
    nearest = machine.cache
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        yield Finding(
            f"{machine.cache}: cannot be written, every start compiles anew",
            "JAX_COMPILATION_CACHE_DIR=FOLDER names another folder",
        )


def candles(machine: Machine) -> Iterator[Finding]:
    """Finds a HIMARI_DATA that names no folder."""
    named = machine.environment.get("HIMARI_DATA", "")
    if named and not Path(named).is_dir():
        yield Finding(f"HIMARI_DATA={named}: no such folder", "name a folder of candles, or unset it")


def bounds(machine: Machine) -> Iterator[Finding]:
    """Notes versions that the project was not tested with."""
    seen = set()
    for text in machine.requirements:
        wanted = Requirement(text)
        version = machine.versions.get(wanted.name)
        if version is None or wanted.name in seen or wanted.specifier.contains(version, prereleases=True):
            continue
        seen.add(wanted.name)
        what = f"'{wanted.name}{wanted.specifier}'"
        text = f"{wanted.name} {version}: tested is {wanted.specifier}"
        yield Finding(text, f"python -m pip install {what}", wrong=False)
