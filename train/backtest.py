"""`python -m train.backtest`: runs and strategies over windows, costs and delays, with a verdict on a span."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.stopping import stop_at_signals
from train.artifacts.backtest_folder import output_folder
from train.artifacts.downloads import local_run
from train.config.backtest import BacktestConfig
from train.distributed.devices import choose_device

PROG = invocation("train.backtest")


def main(args: Sequence[str]) -> int:
    """Plays, evaluates, writes; returns the exit code."""
    config = parse(BacktestConfig, args, PROG)
    stop_at_signals("stopped; no result was written")
    choose_device(config.device)
    # Everything heavy is imported here, after the flags are known to be good.
    from train.backtesting.backtest import backtest

    config = replace(config, entries=tuple(str(local_run(name)) for name in config.entries))
    return backtest(config, output_folder(config))


if __name__ == "__main__":
    sys.exit(run_command(main))
