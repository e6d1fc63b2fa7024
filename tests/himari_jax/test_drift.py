"""Drift: healthy weeks hardly ever alarm, planted shifts do, and the table survives its JSON."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from himari_jax.drift import BINS, DriftTable, alarms, count_bins, fit_drift, psi
from himari_jax.times import HOUR_MS

WEEK = 168
RNG = np.random.default_rng(0)


def inputs(rows, count=6, half_life=50.0):
    """Features that remember: what makes the textbook's threshold fire."""
    keep = 0.5 ** (1 / half_life)
    noise = RNG.normal(0, np.sqrt(1 - keep**2), (rows, count))
    out = np.zeros((rows, count))
    for t in range(1, rows):
        out[t] = keep * out[t - 1] + noise[t]
    return out


@pytest.fixture(scope="module")
def healthy():
    rows = inputs(60 * WEEK)
    names = tuple(f"f{n}" for n in range(rows.shape[1]))
    return fit_drift(names, [rows[: 40 * WEEK]], HOUR_MS), rows[40 * WEEK :]


def test_later_weeks_of_the_same_kind_hardly_ever_alarm_where_the_textbook_always_does(healthy):
    table, later = healthy
    counts = count_bins(table.place(later), WEEK)
    assert alarms(table.scores(counts, 0)).mean() <= 0.1
    assert (psi(counts, table.expected) > 0.25).any(1).mean() > 0.5


def test_a_third_of_the_features_shifted_alarms_in_the_first_week(healthy):
    table, later = healthy
    shifted = later + 3.0 * (np.arange(later.shape[1]) < 2)
    assert alarms(table.scores(count_bins(table.place(shifted), WEEK), 0)).mean() > 0.9


def test_one_feature_shifted_alarms_in_the_second_week_not_the_first(healthy):
    table, later = healthy
    shifted = later + 4.0 * (np.arange(later.shape[1]) < 1)
    found = alarms(table.scores(count_bins(table.place(shifted), WEEK), 0))
    assert found[1:].mean() > 0.9
    assert not found[0] or (table.scores(count_bins(table.place(later), WEEK), 0)[0] > 1).any()


def test_the_same_shares_have_no_psi_and_other_shares_have_more(healthy):
    table, _ = healthy
    same = 1e6 * table.expected
    assert np.all(psi(same, table.expected) < 1e-6)
    tilted = same * np.linspace(0.5, 1.5, BINS)
    assert np.all(psi(tilted, table.expected) > 0.05)


def test_a_feature_that_never_moves_is_no_alarm_until_it_does():
    rows = inputs(30 * WEEK, 2)
    rows[:, 1] = 7.0
    table = fit_drift(("a", "still"), [rows], HOUR_MS)
    still = count_bins(table.place(rows[-WEEK:]))[0]
    assert table.scores(still, 0)[1] <= 1
    moved = rows[-WEEK:].copy()
    moved[:, 1] = 8.0
    assert table.scores(count_bins(table.place(moved))[0], 0)[1] > 1
    assert table.outside(moved)[:, 1].all()


def test_a_short_training_has_ranges_but_no_windows():
    table = fit_drift(("a",), [inputs(100, 1)], HOUR_MS)
    assert table.windows == ()
    assert table.outside(np.array([[99.0]])).all()


def test_the_table_survives_its_json_and_refuses_what_does_not_fit(healthy):
    table, later = healthy
    again = DriftTable.from_json(json.loads(json.dumps(table.to_json())))
    np.testing.assert_array_equal(again.place(later), table.place(later))
    np.testing.assert_allclose(again.thresholds, table.thresholds, atol=1e-6)
    for wrong in ({"edges": [[1.0]]}, {"thresholds": (0 * table.thresholds).tolist()}):
        with pytest.raises(ValueError, match=r"reshape|threshold"):
            DriftTable.from_json(table.to_json() | wrong)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("HIMARI_DATA"), reason="HIMARI_DATA is not set")
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_real_coins_alarm_seldom_and_another_kind_of_volume_is_caught_within_two_weeks(symbol):
    from himari_jax.checking.candles import check_candles
    from himari_jax.features.market import BASE, market_features
    from himari_jax.sources.files import load
    from himari_jax.sources.request import SourceRequest

    folder = str(Path(os.environ["HIMARI_DATA"]) / "spot")
    candles, _ = check_candles(load(SourceRequest((symbol,), (folder,))))
    cut = int(0.6 * len(candles.time))
    of = lambda candles: market_features(candles, BASE)[0][:, 0]  # noqa: E731
    table = fit_drift(BASE.names, [of(candles)[400:cut]], candles.bar_ms)
    for k, length in enumerate(table.windows):
        scores = table.scores(count_bins(table.place(of(candles)[cut:]), length), k)
        assert alarms(scores).mean() <= 0.1
    # As aggregators tell it: the volume of the last 24 hours, at every hour.
    rolling = np.convolve(candles.volume[:, 0], np.ones(24))[: len(candles.time), None]
    shifted = of(dataclasses.replace(candles, volume=rolling))[cut:]
    found = alarms(table.scores(count_bins(table.place(shifted), table.windows[0]), 0))
    assert (found[:-1] | found[1:]).mean() >= 0.9
