"""`python -m train.evidence`: is there something to learn? Walk-forward tests on many daily coins, in one table."""

import sys
from collections.abc import Sequence

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.stopping import exit_at_signals
from train.config.evidence import EvidenceConfig

PROG = invocation("train.evidence")


def main(args: Sequence[str]) -> int:
    """Runs what is not finished, prints the tables, writes page and picture; returns the exit code."""
    config = parse(EvidenceConfig, args, PROG)
    if not config.render:
        from train.distributed.devices import choose_device

        exit_at_signals("stopped; what is finished is kept: run the same command again")
        choose_device(config.device, members=True)
    # Everything heavy is imported here, after the flags are known to be good.
    from train.studies.evidence.run import evidence

    return evidence(config)


if __name__ == "__main__":
    sys.exit(run_command(main))
