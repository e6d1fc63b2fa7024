"""`python -m train.plan RUN`: how long paper trading must run to confirm or refute what a backtest claims; no jax."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

from himari_jax.cli import invocation
from himari_jax.command import parse, require, run_command
from train.artifacts.downloads import local_run
from train.artifacts.run_folder import refuse_other_folders
from train.reporting.console import console, print_lines
from train.reporting.tables import Grid, print_grid
from train.studies.paper_plan import Claim, Forecast, forecast_verdicts, read_claim

PROG = invocation("train.plan")
MOST_BARS = 300_000_000  # of all futures: they are held at once


@dataclass(frozen=True)
class PlanConfig:
    """How long must paper trading run to confirm or refute a backtest? Futures drawn from its test span answer."""

    run: tyro.conf.Positional[Path] = field()
    """Folder of a finished run, or gs://BUCKET/PREFIX of one."""
    years: float = 10.0
    """Years to look ahead."""
    futures: int = 200
    """Futures to draw for each true difference."""
    seed: int = 0
    """Seed of the draws."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(0.1 <= self.years <= 100, "--years", self.years, "0.1 to 100")
        require(20 <= self.futures <= 100_000, "--futures", self.futures, "20 to 100000")


def main(args: Sequence[str]) -> int:
    """Prints the plan."""
    config = parse(PlanConfig, args, PROG)
    folder = local_run(config.run)
    refuse_other_folders(folder)
    claim = read_claim(folder)
    asked = config.futures * config.years * claim.bars_per_year
    most = f"fewer, or fewer --years: {asked:,.0f} bars in all, at most {MOST_BARS:,}"
    require(asked <= MOST_BARS, "--futures", config.futures, most)
    print_plan(claim, forecast_verdicts(claim, config.years, config.futures, config.seed), config.years)
    return 0


def print_plan(claim: Claim, found: Sequence[Forecast], years: float) -> None:
    """Prints what the backtest claims, and when paper trading would know."""
    out = console()
    about = f"{100 * claim.yearly:+.2f} % a year, Sharpe of the difference {claim.sharpe:.2f}"
    print_lines(out, [f"policy minus base over the test span ({claim.years:.1f} years): {about}"])
    spans = [span for span in (0.5, 1.0, 2.0, 5.0) if span < years] + [years]
    grid = Grid(
        "", ["true difference", "% a year", "Sharpe", *(f"{span:g} y" for span in spans), "median", "claim refuted"]
    )
    for forecast in found:
        shares = (f"{forecast.share(forecast.confirmed, span):.0%}" for span in spans)
        medians = (in_years(forecast.median(times), years) for times in (forecast.confirmed, forecast.refuted))
        grid.add(forecast.name, f"{100 * forecast.yearly:+.2f}", f"{forecast.sharpe:.2f}", *shares, *medians)
    print_grid(out, grid)
    print_lines(out, interpret(found, years))


def interpret(found: Sequence[Forecast], years: float) -> list[str]:
    """Interprets the table in sentences."""
    none, _, claimed, *_ = found
    known, refuted = claimed.median(claimed.confirmed), none.median(none.refuted)
    return [
        "shares: futures in which the interval of the live verdict, which may be looked at every bar, lies above 0",
        f"if the backtest is right, every second paper account confirms it within {in_years(known, years)}",
        f"if there is no difference, every second one refutes the claim within {in_years(refuted, years)}, and "
        f"{none.share(none.confirmed, years):.0%} confirm it wrongly in {years:g} years",
    ]


def in_years(span: float, most: float) -> str:
    """Words a number of years, or that it is longer."""
    return f"{span:.1f} y" if np.isfinite(span) else f"> {most:g} y"


if __name__ == "__main__":
    sys.exit(run_command(main))
