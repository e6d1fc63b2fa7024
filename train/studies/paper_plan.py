"""Plans the length of paper trading: the live verdict on resampled futures of a run's test span."""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from himari_jax.errors import InputError
from himari_jax.statistics.bootstrap import block_length, resampled_bars
from himari_jax.statistics.confidence_sequence import WARM_UP_DAYS, sequence
from himari_jax.times import YEAR_MS

SHARPES = (0.5, 1.0, 2.0)  # of differences beside the claimed ones


class Claim(NamedTuple):
    """Policy minus base over the test span of a backtest."""

    differences: np.ndarray  # (S,) log return of the policy's account minus the base's, a decision each
    bars_per_year: float  # decisions of a year

    @property
    def yearly(self) -> float:
        """Log growth of policy minus base in a year."""
        return float(self.differences.mean()) * self.bars_per_year

    @property
    def sharpe(self) -> float:
        """Annual Sharpe ratio of the difference."""
        return float(self.differences.mean() / self.differences.std() * sqrt(self.bars_per_year))

    @property
    def years(self) -> float:
        """Length of the test span."""
        return len(self.differences) / self.bars_per_year


@dataclass(frozen=True)
class Forecast:
    """Times to a live verdict where this is the true difference."""

    name: str
    yearly: float  # log growth in a year
    sharpe: float  # annual, of the difference
    confirmed: np.ndarray  # (P,) years until the interval lies above 0; inf where never
    refuted: np.ndarray  # (P,) years until it lies below the claim

    def share(self, times: np.ndarray, years: float) -> float:
        """Share of the futures in which an event, at times (P,), happens within so many years."""
        return float(np.mean(times <= years))

    def median(self, times: np.ndarray) -> float:
        """Years in which an event, at times (P,), happens in every second future; inf where it takes longer."""
        return float(np.median(times))


def read_claim(folder: Path) -> Claim:
    """Reads policy minus base over the test span of a run.

    Raises:
        InputError: the run has no backtest, or its policy never differs from the base.
    """
    path = folder / "equity.parquet"
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; name the folder of a finished run") from error
    if "baseline_base" not in frame.columns or len(frame) < 2:
        raise InputError(f"{path}: has no base position beside the policy; train the run again")
    curves = [np.concatenate([[0.0], np.log(frame[name].to_numpy())]) for name in ("equity", "baseline_base")]
    differences = np.diff(curves[0]) - np.diff(curves[1])
    if not differences.std() > 0:
        raise InputError(f"{folder}: the policy never differs from the base position; there is nothing to confirm")
    time = frame["time"].dt.epoch("ms").to_numpy()
    years = (time[-1] - time[0]) / YEAR_MS * len(time) / (len(time) - 1)
    return Claim(differences, len(differences) / years)


def forecast_verdicts(claim: Claim, years: float, futures: int, seed: int = 0) -> list[Forecast]:
    """Reaches live verdicts on futures whose bars are drawn from the test span in blocks, with other means.

    Args:
        claim: of the backtest.
        years: to look ahead.
        futures: number of them.
        seed: of the draws.
    """
    per_year, deviation = claim.bars_per_year, float(claim.differences.std())
    truths = {"none": 0.0, "half of the claim": claim.yearly / 2, "as claimed": claim.yearly}
    truths |= {f"Sharpe {sharpe:g}": sharpe * deviation * sqrt(per_year) for sharpe in SHARPES}
    noise = draw_noise(claim, int(years * per_year), futures, seed)
    return [
        Forecast(
            name,
            truth,
            truth / (deviation * sqrt(per_year)),
            *verdict_times(noise + truth / per_year, claim.yearly / per_year, per_year),
        )
        for name, truth in truths.items()
    ]


def draw_noise(claim: Claim, bars: int, futures: int, seed: int) -> np.ndarray:
    """Futures without a difference, (P, S): blocks of the test span's bars, their mean taken away."""
    centered = claim.differences - claim.differences.mean()
    rounds = -(-bars // len(centered))
    draws = resampled_bars(len(centered), block_length(centered[:, None]), futures * rounds, seed)
    rows = [np.concatenate([centered[next(draws)] for _ in range(rounds)])[:bars] for _ in range(futures)]
    return np.stack(rows)


def verdict_times(futures: np.ndarray, claimed: float, per_year: float) -> tuple[np.ndarray, np.ndarray]:
    """Years until the interval lies above 0, and until it lies below the claim, (P,) each; inf where never.

    Args:
        futures: (P, S) of a bar.
        claimed: mean of a bar.
        per_year: bars.
    """
    warm_up = max(2, int(WARM_UP_DAYS / 365 * per_year))
    found = []
    for future in futures:
        path = sequence(future, warm_up, int(per_year))
        found.append([first(path[:, 1] > 0), first(path[:, 2] < claimed)])
    above, below = np.array(found).T / per_year
    return above, below


def first(holds: np.ndarray) -> float:
    """Bars until something holds, (S,) bool; inf where it never does."""
    return float(np.argmax(holds)) + 1 if holds.any() else np.inf
