"""Packs what a page carries as text that is small and safe inside HTML; assets/page.js reads it."""

import base64
import gzip
from typing import Any

import numpy as np

ALPHABET = bytes(c for c in range(33, 127) if chr(c) not in "&<>")  # 91 printable characters that are no markup
GROUP = 13  # bits in two of them: 2^13 <= 91^2
LEVELS = 5_000  # of what is drawn between the lowest and the highest: ten in a pixel
SMALL = 1_000  # parts of the smallest, where all are positive: a log scale shows it large


def pack(text: str) -> str:
    """Compresses a text and writes it as a script element that no browser runs.

    gzip, then 13 bits in two characters of 91 (16/13 of the bytes; base64 has 16/12).
    """
    data = gzip.compress(text.encode(), 9, mtime=0)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    groups = np.append(bits, np.zeros(-len(bits) % GROUP, np.uint8)).reshape(-1, GROUP)
    group = groups @ (1 << np.arange(GROUP - 1, -1, -1))
    letters = np.frombuffer(ALPHABET, np.uint8)[np.stack(np.divmod(group, len(ALPHABET)), 1)]
    return f'<script type="text/plain" data-bytes="{len(data)}">{letters.tobytes().decode("ascii")}</script>'


def lean(value: Any) -> Any:
    """Writes every typed array of a figure as whole steps, which compress well; the rest stays."""
    if isinstance(value, dict):
        return as_steps(unpacked(value)) if "bdata" in value else {key: lean(each) for key, each in value.items()}
    return [lean(each) for each in value] if isinstance(value, list) else value


def unpacked(array: dict[str, str]) -> np.ndarray:
    """Numbers of a plotly typed array, (n,)."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])


def as_steps(values: np.ndarray) -> dict[str, Any]:
    """Describes a curve (n,) by whole steps from one point to the next: `start + unit cumsum(steps)`; None is nan.

    Whole numbers are kept as they are, others to half a unit: a 5,000th of their range.
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    found = values[known]
    if not len(found):
        return {"start": 0, "unit": 1, "steps": [None] * len(values)}
    start, unit = found[0], unit_of(found)
    steps = np.diff(np.rint((found - start) / unit).astype(np.int64), prepend=0)
    whole: list[int | None] = [None] * len(values)
    for place, step in zip(np.flatnonzero(known).tolist(), steps.tolist(), strict=True):
        whole[place] = step
    return {"start": float(start), "unit": unit, "steps": whole}


def unit_of(values: np.ndarray) -> float:
    """Unit of the whole steps that describe values (n,), finite."""
    if (values == np.rint(values)).all() and np.abs(values).max() < 2**53:
        return float(max(np.gcd.reduce(np.abs(np.diff(values.astype(np.int64))), initial=0), 1))
    low, high = float(values.min()), float(values.max())
    unit = (high - low) / LEVELS
    return (max(min(unit, low / SMALL), unit / SMALL) if low > 0 else unit) or 1.0
