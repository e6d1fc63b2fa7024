"""The confidence sequence: rarely wrong at any of its looks, and as quick as the formula says."""

import numpy as np
import pytest

from himari_jax.statistics.confidence_sequence import RunningSequence, bars_to_decide, radius, sequence, tightest

YEAR = 8760
WEEK = 168


def returns(kind, count, rng, bars=YEAR):
    """Differences without a mean: normal, with heavy tails, with volatility in clusters, and skewed to losses."""
    z = rng.standard_normal((count, bars)) if kind == "normal" else rng.standard_t(4, (count, bars)) / np.sqrt(2)
    if kind in ("clusters", "skewed"):
        variance = np.ones(count)
        for t in range(bars):
            z[:, t] *= np.sqrt(variance)
            variance = np.minimum(0.02 + 0.08 * z[:, t] ** 2 + 0.9 * variance, 50)
    if kind == "skewed":
        z = np.where(rng.random(z.shape) < 0.02, -3 * np.abs(z), z)
        z -= z.mean()
    return 1e-4 * z


def false_alarms(kind, count, rng):
    """Share of years at whose looks, one an hour, the interval ever left the truth, 0."""
    found = (sequence(year, WEEK, YEAR) for year in returns(kind, count, rng))
    return float(np.mean([(path[:, 1] > 0).any() or (path[:, 2] < 0).any() for path in found]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "tails", "clusters", "skewed"])
def test_a_thousand_years_without_an_edge_looked_at_every_hour(kind):
    assert false_alarms(kind, 1000, np.random.default_rng(0)) <= 0.05


def test_years_without_an_edge_looked_at_every_hour():
    assert false_alarms("clusters", 200, np.random.default_rng(1)) <= 0.05


@pytest.mark.parametrize("quiet", [0.0, 1e-3])
def test_accounts_that_hardly_differ_in_the_warm_up_decide_nothing_wrongly(quiet):
    z = np.random.default_rng(0).standard_normal((200, 730))  # two years of days
    z[:, :6] *= quiet
    z[:, 6] *= 1e-3
    paths = [sequence(year, 7, 365) for year in z]
    assert np.mean([(path[:, 1] > 0).any() or (path[:, 2] < 0).any() for path in paths]) <= 0.05
    assert all(np.isfinite(path[-1]).all() for path in paths)


def test_the_warm_up_begins_when_the_accounts_first_differ():
    x = np.random.default_rng(0).normal(0.1, 1, 500)
    late = sequence(np.concatenate([np.zeros(1000), x]), WEEK, YEAR)
    np.testing.assert_array_equal(late[1000:], sequence(x, WEEK, YEAR))


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_the_newest_look_is_the_last_row_of_the_sequence(scale):
    x = np.concatenate([np.zeros(20), np.random.default_rng(0).normal(0.05, scale, 400)])
    running = RunningSequence(24, 200)
    for k, path in enumerate(sequence(x, 24, 200)):
        running.add(float(x[k]))
        np.testing.assert_array_equal(running.look(), path)


def test_the_bounds_are_means_that_the_sum_of_squares_about_them_just_allows():
    x = np.random.default_rng(0).normal(0.1, 1, 2000)
    path, counted = sequence(x, WEEK, YEAR), x[WEEK:]
    mixture = tightest(YEAR) / np.mean(x[:WEEK] ** 2)
    for n in (50, 500, 1800):
        for bound in path[WEEK + n - 1, 1:]:
            off = counted[:n] - bound
            np.testing.assert_allclose(abs(off.sum()), radius(np.sum(off**2), mixture), rtol=1e-9)


def test_a_true_difference_is_found_about_when_the_formula_says():
    rng, effect = np.random.default_rng(0), 0.05  # of a bar's deviation: an annual Sharpe of 4.7
    expected = bars_to_decide(effect, YEAR)
    first = [np.argmax(sequence(rng.normal(effect, 1, 3 * int(expected)), WEEK, YEAR)[:, 1] > 0) for _ in range(40)]
    assert 0.6 * expected < np.median(first) < 1.4 * expected


def test_the_interval_is_about_the_mean_and_knows_no_scale():
    x = np.random.default_rng(0).normal(0.1, 1, 2000)
    path, larger = sequence(x, WEEK, YEAR), sequence(1000 * x, WEEK, YEAR)
    np.testing.assert_allclose(larger[WEEK:], 1000 * path[WEEK:], rtol=1e-9)
    np.testing.assert_allclose(path[-1, 0], x[WEEK:].mean())
    known = slice(WEEK + 30, None)  # the first few bars bound nothing
    assert np.isfinite(path[known]).all()
    np.testing.assert_allclose(path[known, 1] + path[known, 2], 2 * path[known, 0], atol=1e-9)


def test_nothing_is_said_in_the_warm_up_or_of_accounts_that_never_differ():
    assert np.isinf(sequence(np.ones(WEEK), WEEK, YEAR)[:, 1:]).all()
    assert np.isinf(sequence(np.zeros(500), WEEK, YEAR)[:, 1:]).all()


def test_no_effect_is_never_decided():
    assert bars_to_decide(0.0, YEAR) == np.inf
    assert bars_to_decide(0.01, YEAR) > bars_to_decide(0.02, YEAR)
