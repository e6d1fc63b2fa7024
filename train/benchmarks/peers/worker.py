"""`python -m train.benchmarks.peers.worker TRIAL`: runs one trial and prints what it measured as the last line."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from train.benchmarks.peers.clock import CLOCKS, Racer, pace, race
from train.benchmarks.peers.trial import OURS, Trial, read_trial
from train.reporting.stages import peak_memory_mb


def make_racer(trial: Trial) -> Racer:
    """The contestant, ready to train."""
    if trial.contestant in OURS:
        from train.benchmarks.peers.himari import HimariPeer

        return HimariPeer(trial)
    if trial.contestant == "rejax":
        from train.benchmarks.peers.rejax import RejaxPeer

        return RejaxPeer(trial)
    from train.benchmarks.peers.sb3 import SB3Peer

    return SB3Peer(trial)


def measure(trial: Trial) -> dict[str, Any]:
    """Runs a trial and returns its measurements."""
    racer = make_racer(trial)
    now = CLOCKS[trial.clock]
    info = pace(racer, trial.limit, now) if trial.purpose == "speed" else race(racer, trial.limit, trial.goal, now)
    info |= {"compile_seconds": racer.compile_seconds, "peak_memory_mb": peak_memory_mb()}
    if trial.purpose == "speed" and trial.device == "cuda" and trial.contestant in OURS:
        from train.benchmarks.peers.roofline import count_work

        info |= count_work(racer)
    return info


def main(args: Sequence[str]) -> int:
    """Prints one JSON line."""
    print("\n" + json.dumps(measure(read_trial(args[0]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
