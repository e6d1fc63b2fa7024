"""The plan of paper trading: true claims are confirmed, false ones refuted, and how soon follows the size."""

import numpy as np
import polars as pl
import pytest

from himari_jax.command import run_command
from train.plan import main
from train.studies.paper_plan import Claim, forecast_verdicts, read_claim

YEAR = 365  # of daily bars
RNG = np.random.default_rng(0)


def claim_of(sharpe, years=6):
    noise = RNG.normal(0, 0.004, years * YEAR)
    return Claim(noise - noise.mean() + sharpe * noise.std() / np.sqrt(YEAR), float(YEAR))


def write_run(folder, differences):
    """The equity of a policy that gains so much on its base."""
    base = np.exp(np.cumsum(RNG.normal(0, 0.02, len(differences))))
    time = 86_400_000 * np.arange(1, len(differences) + 1)
    frame = pl.DataFrame({"time": time, "equity": base * np.exp(np.cumsum(differences)), "baseline_base": base})
    frame.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC"))).write_parquet(folder / "equity.parquet")


@pytest.fixture(scope="module")
def found():
    claim = claim_of(3.0)
    return claim, {forecast.name: forecast for forecast in forecast_verdicts(claim, 8.0, 60)}


def test_what_is_not_there_is_hardly_ever_confirmed_and_the_claim_is_refuted(found):
    _, forecasts = found
    none = forecasts["none"]
    assert none.share(none.confirmed, 8.0) <= 0.05
    assert none.share(none.refuted, 8.0) > 0.9


def test_a_true_claim_is_confirmed_and_hardly_ever_refuted(found):
    _, forecasts = found
    claimed = forecasts["as claimed"]
    assert claimed.share(claimed.confirmed, 8.0) > 0.9
    assert claimed.share(claimed.refuted, 8.0) <= 0.05


def test_larger_differences_are_found_sooner(found):
    _, forecasts = found
    by_size = sorted(forecasts.values(), key=lambda forecast: forecast.yearly)
    medians = [forecast.median(forecast.confirmed) for forecast in by_size]
    assert medians == sorted(medians, reverse=True)


def test_the_claim_is_that_of_the_run(tmp_path):
    claim = claim_of(1.0)
    write_run(tmp_path, claim.differences)
    read = read_claim(tmp_path)
    np.testing.assert_allclose(read.differences, claim.differences, atol=1e-12)
    np.testing.assert_allclose(
        [read.yearly, read.sharpe, read.years], [claim.yearly, claim.sharpe, claim.years], rtol=1e-6
    )


def test_a_run_without_a_difference_or_a_backtest_is_one_line(tmp_path, capsys):
    assert run_command(main, [str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "equity.parquet: is missing" in line
    write_run(tmp_path, np.zeros(500))
    assert run_command(main, [str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "never differs" in line


def test_more_futures_than_fit_the_memory_are_one_line(tmp_path, capsys):
    write_run(tmp_path, claim_of(1.0).differences)
    assert run_command(main, [str(tmp_path), "--years", "100", "--futures", "100000"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--futures 100000" in line
    assert "--years" in line


def test_the_command_says_how_long(tmp_path, capsys):
    write_run(tmp_path, claim_of(3.0, 2).differences)
    assert run_command(main, [str(tmp_path), "--years", "3", "--futures", "20"]) == 0
    said = capsys.readouterr().out
    assert "as claimed" in said
    assert "every second paper account confirms it within" in said
