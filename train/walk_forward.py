"""`python -m train.walk_forward`: retrains before each test block, evaluates all blocks as one track."""

import sys
from collections.abc import Sequence

from himari_jax.command import run_command
from himari_jax.stopping import exit_at_signals
from train.distributed.devices import choose_device
from train.studies.walk_forward.flags import read_flags


def main(args: Sequence[str]) -> int:
    """Retrains, evaluates and prints; returns the exit code."""
    exit_at_signals("stopped before training began: run the same command again")
    flags, folder = read_flags(args)
    run = flags.base.run
    choose_device(run.device, run.deterministic, members=True)
    # Everything heavy is imported here, after the flags are known to be good.
    from train.studies.walk_forward.run import walk_forward

    return walk_forward(flags, folder)


if __name__ == "__main__":
    sys.exit(run_command(main))
