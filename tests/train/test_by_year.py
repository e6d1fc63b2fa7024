"""The table of the years: its parts make up the whole."""

import numpy as np
import pytest
from report_runs import YEAR, make_frame, make_run, read

from himari_jax.statistics.metrics import sharpe
from train.reporting.by_year import year_by_year, years_of
from train.reporting.plots import returns
from train.reporting.report import write_report


@pytest.mark.parametrize("rows", [900, YEAR + 500, 2 * YEAR + 24])
def test_the_years_part_the_bars_and_compound_to_the_whole(rows):
    frame = make_frame(("A",), rows)
    found = years_of(frame, YEAR)
    assert sum(each.bars for each in found) == rows
    assert np.prod([1 + each.agent for each in found]) == pytest.approx(frame["equity"][-1])
    for name in ("base", "constant"):
        whole = np.prod([1 + each.rivals[name] for each in found])
        assert whole == pytest.approx(frame[f"baseline_{name}"][-1])


def test_a_span_of_one_year_has_the_difference_of_the_whole_and_a_scrap_has_none():
    frame = make_frame(("A",), 900)
    ours, base = (sharpe(returns(frame[name].to_numpy()), YEAR) for name in ("equity", "baseline_base"))
    assert years_of(frame, YEAR)[0].ahead["base"] == pytest.approx(ours - base)
    assert np.isnan(years_of(frame.head(5), YEAR)[0].ahead["base"])


def test_without_the_curve_of_the_base_there_is_no_such_section(tmp_path):
    frame = make_frame(("A",), 900)
    assert "<td>900</td>" in year_by_year(frame, YEAR, None)
    assert year_by_year(frame.drop("baseline_base"), YEAR, None) == ""
    run = make_run(tmp_path / "run", rows=900)
    frame.drop("baseline_base", "baseline_constant").write_parquet(run / "equity.parquet")
    assert "Year by year" not in read(write_report(run)).headings
