"""Records what made an artifact: versions, device, commit, data."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from himari_jax import __version__
from himari_jax.candles import Candles, DataReport
from himari_jax.times import bar_name, iso_second

PACKAGES = ("jax", "flax", "optax", "gymnax", "orbax-checkpoint", "numpy", "polars", "TA-Lib")


def tools() -> dict[str, Any]:
    """Reads versions, device and commit."""
    return {
        "himari_jax": __version__,
        "commit": commit(),
        "python": sys.version.split()[0],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": jax.devices()[0].device_kind,
    }


def commit() -> str | None:
    """Reads the commit of the source tree; None outside one."""
    try:
        where = Path(__file__).parent
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def findings_of(candles: Candles, report: DataReport) -> dict[str, Any]:
    """Describes the candles and what the checks found in them, for `data_report.json`."""
    return {
        "symbols": candles.symbols,
        "bar": bar_name(candles.bar_ms),
        "calendar": candles.calendar,
        "rows": len(candles.time),
        "first": iso_second(candles.time[0]),
        "last": iso_second(candles.time[-1]),
        "fingerprint": candles.fingerprint,
        "synthetic": candles.synthetic,
        "source_kind": candles.kind or None,
        "findings": report.entries,
    }
