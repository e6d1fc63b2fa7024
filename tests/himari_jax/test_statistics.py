import math

import numpy as np
import pytest
from scipy.stats import kurtosis, norm, skew, trim_mean

from himari_jax.statistics import bootstrap, metrics, significance

A = 8760


def noise(length, columns=None, seed=0, sd=0.005):
    return sd * np.random.default_rng(seed).standard_normal(length if columns is None else (length, columns))


def test_psr_by_hand():
    # half -.01, half .03: mean .01, moments about it +-.02: g3 = 0, g4 = 1, so the denominator is 1
    # ddof=1 deviation .02 * sqrt(100 / 99); PSR = Phi(.5 * sqrt(99 / 100) * sqrt(99)) = Phi(4.95)
    r = np.tile([-0.01, 0.03], 50)
    assert significance.probabilistic_sharpe(r) == pytest.approx(norm.cdf(4.95))


def test_psr_is_the_formula_with_kurtosis_that_is_3_for_a_normal():
    r = np.random.default_rng(1).standard_t(5, 700) * 0.01 + 5e-4
    sr = r.mean() / r.std(ddof=1)
    bottom = np.sqrt(1 - skew(r) * sr + (kurtosis(r, fisher=False) - 1) / 4 * sr**2)
    expected = norm.cdf((sr - 0.01) * np.sqrt(699) / bottom)
    assert significance.probabilistic_sharpe(r, 0.01) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tails", ["normal", "t5"])
def test_psr_passes_five_percent_of_noise(tails):
    # 4,000 series: the share has a deviation of sqrt(.05 * .95 / 4000) = .0034
    rng = np.random.default_rng(11)
    draws = rng.standard_normal((4000, 500)) if tails == "normal" else rng.standard_t(5, (4000, 500))
    passed = np.mean([significance.probabilistic_sharpe(r) > 0.95 for r in draws])
    assert passed == pytest.approx(0.05, abs=0.0105)


def test_psr_falls_with_the_benchmark_and_is_half_at_its_own_sharpe():
    r = noise(1000) + 1e-3
    own = metrics.sharpe(r, 1)
    assert significance.probabilistic_sharpe(r, own) == pytest.approx(0.5)
    assert significance.probabilistic_sharpe(r, 0.0) > 0.5 > significance.probabilistic_sharpe(r, own + 0.01)


@pytest.mark.parametrize("r", [[], [0.1], [0.0] * 5, [0.001] * 10, [0.1, np.nan, 0.2]])
def test_psr_and_its_kin_of_nothing_are_nan(r):
    r = np.array(r)
    assert math.isnan(significance.probabilistic_sharpe(r))
    assert math.isnan(significance.minimum_track_record(r))
    assert math.isnan(significance.deflated_sharpe(r, [0.01, 0.02]))


def test_two_years_of_hours_cannot_show_a_sharpe_below_1_16():
    assert significance.minimum_detectable_sharpe(2 * A, A) == pytest.approx(1.645 * math.sqrt(8760 / 17519))
    assert round(significance.minimum_detectable_sharpe(2 * A, A), 2) == 1.16
    assert math.isnan(significance.minimum_detectable_sharpe(1, A))


def test_track_record_of_minimum_length_has_exactly_the_level():
    r = noise(500, seed=2) + 3e-4
    length = significance.minimum_track_record(r, 0.001, 0.9)
    # PSR of the same moments at another T: its argument grows with sqrt(T - 1)
    argument = norm.ppf(significance.probabilistic_sharpe(r, 0.001)) * math.sqrt((length - 1) / 499)
    assert norm.cdf(argument) == pytest.approx(0.9)


def test_no_track_record_is_long_enough_for_a_sharpe_below_the_benchmark():
    r = noise(500, seed=2)
    assert math.isnan(significance.minimum_track_record(r, metrics.sharpe(r, 1) + 0.01))


def test_a_single_trial_is_not_deflated():
    r = noise(800, seed=3) + 2e-4
    for trials in ([], [0.03]):
        assert significance.expected_maximum_sharpe(trials) == 0.0
        assert significance.deflated_sharpe(r, trials) == significance.probabilistic_sharpe(r)


def test_luck_of_ten_trials_by_hand():
    # Phi^-1(.9) = 1.2815516, Phi^-1(1 - 1/(10 e)) = Phi^-1(.9632121) = 1.7892418
    # .4227843 * 1.2815516 + .5772157 * 1.7892418 = 1.5745983
    trials = np.tile([-0.01, 0.01], 5)
    assert significance.expected_maximum_sharpe(trials) == pytest.approx(0.01 * math.sqrt(10 / 9) * 1.5745983, rel=1e-6)


def test_trials_spread_by_no_more_than_noise_alone_would():
    r = noise(2000, seed=3) + 3e-4
    bound = 1 / math.sqrt(1999)
    wide, as_noise, narrow = ([x * math.sqrt(2), 0.0] for x in (0.5, bound, bound / 3))
    assert significance.expected_maximum_sharpe(wide) == pytest.approx(0.5 / bound * luck_of(as_noise))
    assert luck_of(wide) == pytest.approx(luck_of(as_noise))  # a failure or a typo takes no more than noise
    assert luck_of(narrow) == pytest.approx(luck_of(as_noise) / 3)
    deflated = [significance.deflated_sharpe(r, trials) for trials in (wide, as_noise)]
    assert deflated == pytest.approx([significance.probabilistic_sharpe(r, luck_of(as_noise))] * 2)


def luck_of(trials):
    return significance.expected_maximum_sharpe(trials, 2000)


def test_expected_maximum_is_what_luck_reaches():
    # the formula is asymptotic; for 50 normal trials the mean maximum is 2.249 deviations
    best = np.random.default_rng(5).standard_normal((20_000, 50)).max(axis=1).mean()
    trials = norm.ppf((np.arange(50) + 0.5) / 50)
    said = significance.expected_maximum_sharpe(trials / trials.std(ddof=1))
    assert said == pytest.approx(best, rel=0.03)


def test_more_trials_deflate_more_and_a_trial_without_deviation_counts_as_zero():
    r = noise(2000, seed=3) + 3e-4
    values = [significance.deflated_sharpe(r, np.tile([-0.01, 0.01], n)) for n in (1, 5, 50)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]
    with_nan, with_zero = [0.01, 0.03, math.nan], [0.01, 0.03, 0.0]
    assert significance.deflated_sharpe(r, with_nan) == significance.deflated_sharpe(r, with_zero)


def test_best_of_many_noise_policies_passes_psr_but_seldom_dsr():
    rng = np.random.default_rng(8)
    plain = deflated = 0
    for _ in range(200):
        draws = rng.standard_normal((30, 400))
        sharpes = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
        best = draws[np.argmax(sharpes)]
        plain += significance.probabilistic_sharpe(best) > 0.95
        deflated += significance.deflated_sharpe(best, sharpes) > 0.95
    assert plain > 140
    assert deflated <= 10


def test_equal_columns_have_equal_samples_and_leverage_changes_nothing():
    r = noise(500, seed=6)
    samples = bootstrap.stationary_bootstrap_sharpe(np.column_stack([r, r, 0.3 * r]), A, 200)
    assert samples.shape == (200, 3)
    np.testing.assert_array_equal(samples[:, 0], samples[:, 1])
    np.testing.assert_allclose(samples[:, 0], samples[:, 2], rtol=1e-9)


def test_pairing_makes_the_difference_of_like_policies_narrow():
    r = noise(2000, 2, seed=7)
    samples = bootstrap.stationary_bootstrap_sharpe(np.column_stack([r[:, 0], r[:, 0] + 0.1 * r[:, 1]]), A, 300)
    assert np.std(samples[:, 0] - samples[:, 1]) < 0.2 * np.std(samples[:, 0])


def test_bootstrap_deviation_of_iid_noise_is_the_textbook_one():
    # sd of an annual Sharpe over T hours is sqrt(A / T) = sqrt(8760 / 4000) = 1.48
    samples = bootstrap.stationary_bootstrap_sharpe(noise(4000, 3, seed=9), A, 500)
    np.testing.assert_allclose(samples.std(axis=0), 1.48, rtol=0.15)


@pytest.mark.parametrize("value", [0.0, 0.001])
def test_a_policy_that_does_not_move_counts_as_zero(value):
    r = np.column_stack([noise(300), np.full(300, value)])
    samples = bootstrap.stationary_bootstrap_sharpe(r, A, 50)
    assert (samples[:, 1] == 0).all()
    assert (samples[:, 0] != 0).all()


def test_one_nonzero_bar_is_zero_where_the_resample_misses_it():
    r = np.zeros((100, 1))
    r[50] = 0.01
    samples = bootstrap.stationary_bootstrap_sharpe(r, 1, 400)
    # held k of 100 times: mean .01 k / 100, sharpe sqrt(k * 99) / sqrt(100 * (100 - k)): .1 for k = 1
    assert samples.min() == 0
    assert np.isclose(samples, 0.1, rtol=1e-9).any()


def test_same_seed_same_samples():
    r = noise(400, 2)
    one, same, other = (bootstrap.stationary_bootstrap_sharpe(r, A, 40, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_fewer_samples_are_the_first_of_more():
    r = noise(300, 2)
    more = bootstrap.stationary_bootstrap_sharpe(r, A, 300)
    np.testing.assert_allclose(bootstrap.stationary_bootstrap_sharpe(r, A, 200), more[:200], rtol=1e-9)


@pytest.mark.parametrize("r", [np.zeros((0, 2)), np.full((1, 2), 0.1), np.array([[0.1, np.nan]] * 20)])
def test_samples_of_nothing_are_nan(r):
    samples = bootstrap.stationary_bootstrap_sharpe(r, A, 7)
    assert samples.shape == (7, 2)
    assert np.isnan(samples).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("length", [2, 3, 5, 9, 20])
def test_short_histories_do_not_warn(length):
    samples = bootstrap.stationary_bootstrap_sharpe(noise(length, 2), A, 50)
    assert np.isfinite(samples).all()


def test_blocks_grow_with_memory_and_the_longest_memory_decides():
    rng = np.random.default_rng(12)
    e, ar = rng.standard_normal((2000, 2)), np.zeros(2000)
    for t in range(1, 2000):
        ar[t] = 0.9 * ar[t - 1] + e[t, 1]
    assert bootstrap.block_length(e[:, :1]) < 5
    assert bootstrap.block_length(ar[:, None]) > 15
    assert bootstrap.block_length(np.column_stack([e[:, 0], ar])) >= bootstrap.block_length(ar[:, None])
    # equal columns differ by nothing, and what does not move has no say
    assert bootstrap.block_length(np.zeros((500, 3))) == 1.0


def coverage(trials, length, num_samples, memory=0.2, true=0.05):
    """Share of 95 % intervals of AR(1) returns that hold the true Sharpe per bar."""
    rng, inside = np.random.default_rng(21), 0
    for trial in range(trials):
        e = rng.standard_normal(length + 50)
        for t in range(1, len(e)):
            e[t] += memory * e[t - 1]
        r = e[50:] + true / math.sqrt(1 - memory**2)
        samples = bootstrap.stationary_bootstrap_sharpe(r[:, None], 1, num_samples, seed=trial)
        low, high = bootstrap.interval(samples[:, 0])
        inside += low < true < high
    return inside / trials


def test_bootstrap_interval_covers_about_95_percent():
    # 200 trials: deviation .015; the block rule costs a point or two of the 95
    assert 0.89 <= coverage(200, 1000, 200, memory=0.0) <= 0.985


@pytest.mark.slow
def test_bootstrap_interval_covers_95_percent_of_longer_series():
    assert 0.925 <= coverage(1000, 1500, 500) <= 0.965


def test_interval_is_central():
    assert bootstrap.interval(np.arange(101), 0.9) == pytest.approx((5, 95))
    assert np.isnan(bootstrap.interval(np.array([]))).all()
    assert np.isnan(bootstrap.interval([1.0, math.nan])).all()


def test_interquartile_mean_by_hand():
    # eight seeds: two off each end, (3 + 4 + 5 + 6) / 4
    assert significance.interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    x = noise(11)
    assert significance.interquartile_mean(x) == trim_mean(x, 0.25)
    assert math.isnan(significance.interquartile_mean([]))
    assert math.isnan(significance.interquartile_mean([1, math.nan, 2, 3]))


def test_seeds_that_agree_or_never_move_are_a_collapse():
    x = np.random.default_rng(0).random((1, 200, 2))
    assert significance.seed_correlation(np.repeat(x, 4, axis=0)) == pytest.approx(1.0)
    assert significance.seed_correlation(np.concatenate([x, 0.3 * x + 0.1])) == pytest.approx(1.0)
    assert significance.seed_correlation(np.full((5, 200, 2), 0.4, np.float32)) == 1.0
    assert significance.seed_correlation(np.ones((3, 200, 1)) * np.array([0.1, 0.5, 0.9])[:, None, None]) == 1.0


def test_seed_correlation_is_the_mean_of_the_pairs():
    x = np.random.default_rng(1).random((3, 150, 2)).cumsum(axis=1)
    pairs = [np.corrcoef(x[a, :, n], x[b, :, n])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2)) for n in range(2)]
    assert significance.seed_correlation(x) == pytest.approx(np.mean(pairs))
    assert significance.seed_correlation(np.stack([x[0], -x[0]])) == pytest.approx(-1.0)


def test_a_seed_that_moves_and_one_that_does_not_have_nothing_in_common():
    x = np.random.default_rng(1).random((100, 1))
    assert significance.seed_correlation(np.stack([x, np.ones((100, 1))])) == 0.0
    assert math.isnan(significance.seed_correlation(x[None]))


def test_returns_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"two axes.*\(5,\)"):
        bootstrap.stationary_bootstrap_sharpe(np.zeros(5), A)
