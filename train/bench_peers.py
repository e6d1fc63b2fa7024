"""`python -m train.bench_peers`: this project beside its peers on the same markets, interleaved in one run."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.extras import how_to_install
from himari_jax.stopping import stop_at_signals
from train.benchmarks.peers.config import PeersConfig
from train.benchmarks.peers.trial import PACKAGES

PROG = invocation("train.bench_peers")


def main(args: Sequence[str]) -> int:
    """Measures what is missing, prints the tables."""
    bench = parse(PeersConfig, args, PROG).shortened()
    stop_at_signals("stopped; what was measured is kept: run the same command again")
    from train.distributed.devices import choose_device

    choose_device(bench.device)
    missing = [name for name in bench.peers if importlib.util.find_spec(PACKAGES[name]) is None]
    for name in missing:
        print(f"{name}: {PACKAGES[name]} is not installed, and left out: {how_to_install('bench')}")
    folder = Path(bench.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"--out {folder}: is a file") from error
    from train.benchmarks.peers.schedule import run_all

    return run_all(bench, folder, [name for name in bench.peers if name not in missing])


if __name__ == "__main__":
    sys.exit(run_command(main))
