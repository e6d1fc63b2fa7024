"""`python -m train.sweep`: many configurations in one program, a choice on validation, one look at the test span."""

import sys
from collections.abc import Sequence

from himari_jax.command import run_command
from himari_jax.stopping import exit_at_signals
from train.distributed.devices import choose_device
from train.studies.sweep.flags import read_flags


def main(args: Sequence[str]) -> int:
    """Searches, chooses and evaluates; returns the exit code."""
    exit_at_signals("stopped before training began: run the same command again")
    flags, folder = read_flags(args)
    choose_device(flags.base.run.device, flags.base.run.deterministic, members=True)
    # Everything heavy is imported here, after the flags are known to be good.
    from train.studies.sweep.run import sweep

    return sweep(flags, folder)


if __name__ == "__main__":
    sys.exit(run_command(main))
