"""`python -m train.compare`: a run against another, or against a baseline, on the same bars; gates."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.stopping import stop_at_signals
from train.artifacts.downloads import local_run
from train.config.backtest import CompareConfig
from train.distributed.devices import choose_device
from train.evaluation.gates import find_gates

PROG = invocation("train.compare")


def main(args: Sequence[str]) -> int:
    """Compares and prints; 1 where a gate fails."""
    config = parse(CompareConfig, args, PROG)
    gates = find_gates(config.gate) if config.gate is not None else ()
    stop_at_signals("stopped; no result was written")
    choose_device(config.device)
    # Everything heavy is imported here, after the flags are known to be good.
    from train.backtesting.comparison import compare

    config = replace(config, runs=tuple(str(local_run(name)) for name in config.runs))
    return compare(config, gates)


if __name__ == "__main__":
    sys.exit(run_command(main))
