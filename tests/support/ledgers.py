"""Trials that nobody had to train: policies as series of returns on hours of a calendar."""

import json

import numpy as np

from himari_jax.times import HOUR_MS
from train.evaluation.trials import Evaluated, note_trials

START = 1_600_000_000_000 // HOUR_MS
HOURS = 2000
OLD = {  # a line as 0.1.0 wrote it
    "config_hash": "old",
    "seed": 0,
    "fingerprint": "then",
    "span": "2020-09-20T00:00:00Z/2020-10-20T00:00:00Z",
    "bar": "1h",
    "sharpe": 0.01,
    "time": 1_600_000_000,
}


def luck(seed, hours=HOURS, size=1e-3):
    """Returns of a policy without skill, (hours,)."""
    return size * np.random.default_rng(seed).standard_normal(hours)


def evaluated(config="a", first=0, last=HOURS, **changes):
    """A configuration on the hours from `first` to `last`."""
    own = {
        "name": f"run-{config}",
        "config_hash": config,
        "fingerprint": "f",
        "symbols": ("BTC-USD",),
        "synthetic": False,
        "bar": "1h",
        "times": (START + np.arange(first, last)) * HOUR_MS,
        "per_year": 8760.0,
    }
    return Evaluated(**own | changes)


def note(ledger, returns, config="a", first=0, seed=0, base=None, **changes):
    """Enters a policy; Sharpe ratios per bar of the trials that count with it, (K,)."""
    returns = np.asarray(returns)
    subject = evaluated(config, first, first + len(returns), **changes)
    return note_trials(ledger, subject, [seed], [returns], np.zeros(len(returns)) if base is None else base)


def note_seeds(ledger, series, config="a", chosen=0):
    """Enters the seeds of a run; as `note`."""
    base = np.zeros(len(series[0]))
    return note_trials(ledger, evaluated(config, 0, len(base)), range(len(series)), series, base, chosen)


def write_old(path, **changes):
    """Adds a line of 0.1.0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(OLD | changes) + "\n")
