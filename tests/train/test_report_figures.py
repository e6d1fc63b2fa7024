"""The figures of a report: what is drawn agrees with what was measured."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import EVIL, YEAR, make_extra, make_frame, make_run, unpack

from himari_jax.statistics import metrics
from himari_jax.statistics.power import LEVEL, OFTEN, smallest_found
from train.reporting import evidence_plots, figure, plots, positions
from train.reporting.report import write_report


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 3000), most=st.integers(4, 300), seed=st.integers(0, 99), hole=st.booleans())
def test_thinning_keeps_the_ends_and_the_extremes(rows, most, seed, hole):
    values = np.random.default_rng(seed).normal(size=rows)
    values[: rows // 3 if hole else 0] = np.nan
    kept = figure.thin(values, most)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == rows - 1
    assert np.nanmin(values[kept]) == np.nanmin(values)
    assert np.nanmax(values[kept]) == np.nanmax(values)


def test_curves_agree_with_the_metrics():
    frame = make_frame(("A",), 1500)
    r = plots.returns(frame["equity"].to_numpy())
    deepest = unpack(plots.drawdown(frame).traces[-1]["y"]).min()
    assert deepest == pytest.approx(metrics.max_drawdown(r), rel=1e-6)
    rolling = plots.rolling_sharpe(frame, YEAR, "base")
    assert unpack(rolling.traces[0]["y"])[-1] == pytest.approx(metrics.sharpe(r[-720:], YEAR), rel=1e-5)
    assert unpack(rolling.traces[0]["x"])[-1] == plots.epoch(frame)[-1]


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 3000), most=st.integers(1, 300), seed=st.integers(0, 99))
def test_stretches_part_the_rows_and_keep_mean_and_extremes(rows, most, seed):
    values = np.random.default_rng(seed).uniform(0, 2, rows).astype(np.float32)
    part = positions.cut(values, most)
    assert len(part.middle) == min(rows, most)
    assert (np.diff(part.middle) > 0).all()
    assert (part.low <= part.mean * (1 + 1e-6)).all()
    assert (part.mean <= part.high * (1 + 1e-6)).all()
    assert (part.low <= values[part.middle]).all()
    assert (values[part.middle] <= part.high).all()
    assert part.low.min() == values.min()
    assert part.high.max() == values.max()
    if rows % most == 0 or rows <= most:
        assert part.mean.mean() == pytest.approx(values.mean(dtype=np.float64))
    if rows <= most:
        np.testing.assert_array_equal(part.mean, values)


@pytest.mark.parametrize("symbols", [("A",), ("A", EVIL, "B")])
@pytest.mark.parametrize("rows", [positions.MOST_STRETCHES, 20_000])
def test_every_symbols_multiplier_has_a_panel_with_its_distribution_and_a_line_at_1(symbols, rows):
    frame = make_frame(symbols, rows)
    found = positions.multiplier(frame)
    for k, symbol in enumerate(symbols):
        y, values = f"y{k + 1}" if k else "y", frame[f"multiplier_{symbol}"].to_numpy()
        own = [trace for trace in found.traces if trace["yaxis"] == y]
        drawn, bars = own[-2:]
        assert len(own) == (2 if rows <= positions.MOST_STRETCHES else 3)
        assert np.ptp(unpack(own[0]["y"])) == pytest.approx(np.ptp(values))
        assert unpack(drawn["y"]).mean() == pytest.approx(values.mean(), abs=1e-3)
        assert unpack(bars["x"]).sum() == pytest.approx(1, abs=1e-6)
        assert unpack(bars["x"]) @ unpack(bars["y"]) == pytest.approx(values.mean(), abs=0.02)
        assert [(s["y0"], s["y1"]) for s in found.layout["shapes"] if s["yref"] == y] == [(1, 1)]
        assert f"{symbol}: mean {values.mean():.2f}" in found.label
    assert not any("<" in words["text"] for words in found.layout["annotations"])


def test_panels_do_not_overlap_and_beyond_twelve_symbols_the_caption_says_so():
    found = positions.multiplier(make_frame([f"S{k}" for k in range(14)], 900))
    domains = [value["domain"] for name, value in found.layout.items() if name.startswith("yaxis")]
    assert len(domains) == positions.MOST_PANELS
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert all(above[0] >= below[1] for above, below in pairwise(domains))
    assert "first 12 of 14 symbols" in found.caption


def test_where_nothing_was_multiplied_there_is_no_figure_of_it():
    frame = make_frame(("A",), 900)
    assert positions.multiplier(frame) is not None
    assert positions.multiplier(frame.drop("multiplier_A", "base_A")) is None
    assert positions.multiplier(frame.with_columns(multiplier_A=pl.lit(None, pl.Float32))) is None


@pytest.mark.parametrize("symbols", [("A",), tuple(f"S{k}" for k in range(12))])
def test_multipliers_add_little_to_the_page(tmp_path, symbols):
    run = make_run(tmp_path / "run", symbols, rows=20_000)
    extra = make_extra(symbols, rows=20_000)
    whole = write_report(run, extra).stat().st_size
    frame = pl.read_parquet(run / "equity.parquet")
    frame.select(pl.exclude("^multiplier_.*$")).write_parquet(run / "equity.parquet")
    assert whole < 1.05 * write_report(run, extra).stat().st_size


@pytest.mark.parametrize("symbols", [("A",), ("A", "B", "C")])
def test_five_years_of_hours_fit_into_two_megabytes(tmp_path, symbols):
    path = write_report(make_run(tmp_path / "run", symbols, rows=5 * YEAR), make_extra(symbols, rows=5 * YEAR))
    assert path.stat().st_size < 2_000_000


def test_only_the_agent_and_what_it_multiplies_are_drawn_at_first_and_the_captions_say_so():
    for found in (plots.equity(make_frame(("A",), 900)), plots.drawdown(make_frame(("A",), 900))):
        shown = {trace["name"] for trace in found.traces if trace["visible"] is True}
        assert shown == {"agent", "base", "constant"}
        assert {trace["visible"] for trace in found.traces} == {True, "legendonly"}
        assert f"Drawn: agent, constant, base; {len(found.traces) - 3} more" in found.caption


def test_the_mark_of_what_is_worth_having_and_zero_are_in_the_histogram():
    samples = np.random.default_rng(0).normal(0.2, 0.3, 500)
    result = {"power": {"worthwhile": 0.15}, "rivals": {"base": {"p": 0.251}}}
    drawn = evidence_plots.histogram_of_samples(samples, "base", result, (-0.4, 0.8))
    assert [mark["x0"] for mark in drawn.layout["shapes"]] == [-0.4, 0.8, 0.0, 0.15]
    assert "one-sided p 0.251" in drawn.caption
    assert "+0.15" in drawn.caption
    older = evidence_plots.histogram_of_samples(samples, "base", {}, (-0.4, 0.8))
    assert [mark["x0"] for mark in older.layout["shapes"]] == [-0.4, 0.8, 0.0]


def test_power_is_the_level_at_no_difference_grows_with_it_and_with_years_and_meets_its_marks():
    power = {"standard_error": 0.3, "years": 2.0, "level": LEVEL}
    drawn = evidence_plots.power_curves(power)
    x = unpack(drawn.traces[0]["x"])
    here, three, eight = (unpack(trace["y"]) for trace in drawn.traces)
    assert (here[0], three[0], eight[0]) == pytest.approx([LEVEL] * 3, rel=1e-5)
    assert (np.diff(here) > 0).all()
    assert (eight >= three).all()
    assert (three >= here).all()
    for share in (0.5, OFTEN):
        assert np.interp(smallest_found(0.3, share), x, here) == pytest.approx(share, abs=1e-3)
    for block in (None, {}, {**power, "standard_error": None}):
        assert evidence_plots.power_curves(block) is None
