"""`python -m train.ppo`: flags -> candles -> chunks of updates -> evaluation -> run folder."""

import os
import sys
import time
from collections.abc import Sequence

from himari_jax.command import run_command
from himari_jax.stopping import exit_at_signals
from train.distributed.devices import choose_device
from train.distributed.processes import find_place, is_first, leave, on_first_process, report_lost_process
from train.training.resume import read_flags


def main(args: Sequence[str]) -> int:
    """Trains and evaluates a policy; returns the exit code."""
    exit_at_signals("stopped before training began: run the same command again")
    config, folder = read_flags(args)
    run, begun = config.run, time.perf_counter()
    place = find_place(run.coordinator, run.num_processes, run.process_id, os.environ)
    choose_device(run.device, run.deterministic, place, members=run.permutations > 0)
    if place is not None and not is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the process lives
    # Everything heavy is imported here, after the flags are known to be good.
    from train.artifacts.downloads import fetch
    from train.training.run import train

    import_seconds = time.perf_counter() - begun
    with report_lost_process():
        address = None if run.resume else run.address
        on_first_process(lambda: None if address is None else fetch(address, run.fresh))
        return train(config, folder, import_seconds)


if __name__ == "__main__":
    sys.exit(leave(run_command(main)))
