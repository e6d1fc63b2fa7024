"""`python -m train.peers.worker TRIAL`: runs one trial and prints what it measured as the last line."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from train.peers import OURS, Trial, read_trial
from train.peers.clock import CLOCKS, Racer, pace, peak_memory, race


def enter(trial: Trial) -> Racer:
    """The contestant, ready to train."""
    if trial.contestant in OURS:
        from train.peers.himari_peer import HimariPeer

        return HimariPeer(trial)
    if trial.contestant == "rejax":
        from train.peers.rejax_peer import RejaxPeer

        return RejaxPeer(trial)
    from train.peers.sb3_peer import SB3Peer

    return SB3Peer(trial)


def measure(trial: Trial) -> dict[str, Any]:
    """What a trial was for."""
    racer = enter(trial)
    now = CLOCKS[trial.clock]
    told = pace(racer, trial.limit, now) if trial.purpose == "speed" else race(racer, trial.limit, trial.goal, now)
    told |= {"compile_seconds": racer.compile_seconds, "peak_memory_mb": peak_memory()}
    if trial.purpose == "speed" and trial.device == "cuda" and trial.contestant in OURS:
        from train.peers.roofline import count_work

        told |= count_work(racer)
    return told


def main(args: Sequence[str]) -> int:
    """Prints one JSON line."""
    print("\n" + json.dumps(measure(read_trial(args[0]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
