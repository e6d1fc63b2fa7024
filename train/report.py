"""`python -m train.report`: a run folder as one self-contained page, report.html; light, of candles without jax."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from train.artifacts.downloads import local_run
from train.artifacts.run_folder import is_on_known_optimum, refuse_other_folders
from train.reporting.report import write_report

PROG = invocation("train.report")


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a finished run again."""

    run: tyro.conf.Positional[Path] = field()
    """Run folder, with result.json in it."""
    debug: bool = False
    """Show the traceback of an error."""


def main(args: Sequence[str]) -> int:
    """Writes the page and prints its path."""
    folder = local_run(parse(ReportConfig, args, PROG).run)
    refuse_other_folders(folder)
    if is_on_known_optimum(folder):
        # Heavy, and needed by these pages alone: the policy is played once more.
        from train.oracles.again import write_report_again

        print(write_report_again(folder))
    else:
        print(write_report(folder))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
