"""What made an artefact: versions, device, commit, data."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax import __version__
from himari_jax.candles import Candles, DataReport
from train.flags import BAR_UNITS
from train.session import Session
from train.stored import config_hash

PACKAGES = ("jax", "flax", "optax", "gymnax", "orbax-checkpoint", "numpy", "polars", "TA-Lib")


def bar_name(bar_ms: int) -> str:
    """Length of a bar as a flag writes it."""
    for unit, length in reversed(BAR_UNITS.items()):
        if bar_ms % length == 0:
            return f"{bar_ms // length}{unit}"
    return f"{bar_ms} ms"


def made_by(session: Session) -> dict[str, Any]:
    """Versions, device, commit and data: what says where an artefact comes from."""
    return tools() | {
        "data": {
            "source": session.config.data.chosen_source,
            "symbols": list(session.symbols),
            "bar": bar_name(session.candles.bar_ms),
            "fingerprint": session.candles.fingerprint,
            "synthetic": session.candles.synthetic,
            "cuts": [iso(session.candles.time[row]) for row in session.split.cuts],
        },
        "config_hash": config_hash(session.config),
    }


def tools() -> dict[str, Any]:
    """Versions, device and commit."""
    return {
        "himari_jax": __version__,
        "commit": commit(),
        "python": sys.version.split()[0],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": jax.devices()[0].device_kind,
    }


def commit() -> str | None:
    """The commit of the source tree, None outside one."""
    try:
        where = Path(__file__).parent
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def iso(time_ms: int) -> str:
    """A time in ISO 8601, UTC."""
    return str(np.datetime64(int(time_ms), "ms").astype("datetime64[s]")) + "Z"


def findings_of(candles: Candles, report: DataReport) -> dict[str, Any]:
    """What `data_report.json` holds: the candles and what was found in them."""
    return {
        "symbols": candles.symbols,
        "bar": bar_name(candles.bar_ms),
        "calendar": candles.calendar,
        "rows": len(candles.time),
        "first": iso(candles.time[0]),
        "last": iso(candles.time[-1]),
        "fingerprint": candles.fingerprint,
        "synthetic": candles.synthetic,
        "findings": report.entries,
    }


def parse_iso(text: str) -> int:
    """Epoch milliseconds of a time that `iso` wrote."""
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
