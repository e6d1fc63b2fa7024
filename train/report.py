"""`python -m train.report`: a run folder as one self-contained page, report.html; light: no jax."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from train.artifacts.downloads import local_run
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
    """Writes the page and says where it is."""
    print(write_report(local_run(parse(ReportConfig, args, PROG).run)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
