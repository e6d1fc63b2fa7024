"""The trial ledger: every configuration and seed that was ever evaluated on a span, so that luck can be priced."""

import fcntl
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from himari_jax import metrics
from himari_jax.errors import StorageError
from himari_jax.metrics import zero_if_nan

KEY = ("config_hash", "seed", "fingerprint", "span", "bar")


class LedgerEntry(NamedTuple):
    """One policy evaluated on one span at its own cost and delay."""

    config_hash: str
    seed: int
    fingerprint: str  # of the candles
    span: str  # first and last decision, FROM/TO
    bar: str
    sharpe: float  # per bar


def record_trials(root: Path, trials: list[LedgerEntry]) -> None:
    """Appends to `trials.jsonl`; several processes may.

    Raises:
        StorageError: it cannot be written.
    """
    path = root / "trials.jsonl"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            known = {key_of(trial) for trial in parse(text)}
            if text and not text.endswith("\n"):
                file.write("\n")  # a torn line stays alone
            lines = [{**t._asdict(), "time": int(time.time())} for t in trials if t[:5] not in known]
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; make room or fix the permission") from error


def sharpes_on(root: Path, like: LedgerEntry) -> np.ndarray:
    """Sharpe ratios per bar of all trials on the same candles, span and bar, (n,); the same trial counts once."""
    path = root / "trials.jsonl"
    try:
        found = parse(path.read_text()) if path.exists() else []
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    same = {key_of(t): t["sharpe"] for t in found if key_of(t)[2:] == like[2:5]}
    return np.array(list(same.values()), float)


def key_of(trial: dict) -> tuple:
    """The fields that identify a trial: two trials with the same key count once."""
    return tuple(trial[name] for name in KEY)


def parse(text: str) -> list[dict]:
    """Lines that hold a trial; a torn line (a process that died while writing) holds none."""
    trials = []
    for line in text.splitlines():
        try:
            trial = json.loads(line)
            key_of(trial), float(trial["sharpe"])
            trials.append(trial)
        except (ValueError, KeyError, TypeError):
            continue
    return trials


def note_trials(
    root: Path, key: tuple[str, str, str, str], seeds: Sequence[int | None], returns: Sequence[np.ndarray]
) -> np.ndarray:
    """Enters every seed in the ledger; Sharpe ratios per bar of all that was ever tried on this span, (n,).

    Args:
        root: folder of the ledger.
        key: hash of the configuration, fingerprint, span, bar.
        seeds: numbers of the policies; None, of a strategy, counts as 0.
        returns: of each policy at the run's own cost and delay, (S,).
    """
    trials = [
        LedgerEntry(key[0], seed or 0, *key[1:], zero_if_nan(metrics.sharpe(series, 1.0)))
        for seed, series in zip(seeds, returns, strict=True)
    ]
    record_trials(root, trials)
    return sharpes_on(root, trials[0])
