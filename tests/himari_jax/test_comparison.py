import math

import numpy as np
import pytest
from arch.bootstrap import MCS, SPA, StepM
from scipy.stats import mannwhitneyu, trim_mean

from himari_jax.statistics import bootstrap, comparison, metrics

A = 8760


def noise(length, columns, seed=0, sd=0.005):
    return sd * np.random.default_rng(seed).standard_normal((length, columns))


def mixed(length=600, seed=3):
    """A benchmark and five models: two better, one alike, two worse, of very different deviations."""
    r = noise(length, 6, seed)
    benchmark = r[:, 0]
    models = benchmark[:, None] + r[:, 1:] * np.array([1, 5, 1, 1, 0.2]) + np.array([1.2e-3, 4e-3, 0, -1e-3, -2e-4])
    return benchmark, models


def unit_errors(benchmark, models, num_samples, seed):
    """Losses whose differences have a standard error of 1: what `arch` must be given to be studentized."""
    r = np.column_stack([benchmark, models])
    length, d = bootstrap.block_length(r), models - benchmark[:, None]
    draws = np.concatenate(list(bootstrap.resample_counts(bootstrap.resamples(r, num_samples, seed), len(r))))
    return np.zeros(len(r)), -d / (draws @ d / len(r)).std(axis=0), length


@pytest.mark.parametrize("which", ["lower", "consistent", "upper"])
def test_spa_is_that_of_arch_on_the_same_draws(which):
    for seed in range(3):
        r = noise(400, 5, seed) + np.array([0, 4e-4, 0, -4e-4, -2e-3])
        base, losses, length = unit_errors(r[:, 0], r[:, 1:], 300, seed)
        reference = SPA(base, losses, block_size=length, reps=300, seed=np.random.default_rng(seed))
        reference.compute()
        expected = (1 + 300 * reference.pvalues[which]) / 301
        assert comparison.spa_pvalue(r[:, 0], r[:, 1:], 300, seed, which) == pytest.approx(expected, abs=1e-12)


def test_stepm_is_that_of_arch_on_the_same_draws():
    benchmark, models = mixed()
    base, losses, length = unit_errors(benchmark, models, 300, 1)
    reference = StepM(base, losses, 0.05, length, 300, seed=np.random.default_rng(1))
    reference.compute()
    found = comparison.stepm_superior(benchmark, models, num_samples=300, seed=1)
    assert found == tuple(reference.superior_models)
    assert 0 in found


def test_confidence_set_is_that_of_arch_on_the_same_draws():
    r = noise(500, 5, 4) + np.array([1e-3, 9e-4, 0, -1e-3, 5e-4])
    reference = MCS(-r, 0.1, 300, bootstrap.block_length(r), "R", seed=np.random.default_rng(2))
    reference.compute()
    ours = comparison.model_confidence_set(r, 0.1, 300, 2)
    expected = reference.pvalues.sort_index()["Pvalue"].to_numpy()
    # ours count the sample among its resamples, the best stays at 1
    np.testing.assert_allclose(ours.pvalues, np.where(expected == 1, 1, (1 + 300 * expected) / 301), atol=1e-12)
    assert ours.included == tuple(reference.included)
    assert len(ours.included) < 5


def test_spa_passes_five_percent_where_no_model_is_better():
    # 400 samples of 5 models: the share has a deviation of .011
    passed = np.mean([_spa_of_noise(seed) < 0.05 for seed in range(400)])
    assert passed == pytest.approx(0.05, abs=0.033)


def _spa_of_noise(seed):
    r = noise(250, 6, seed) * np.array([1, 1, 1, 3, 3, 0.3])
    return comparison.spa_pvalue(r[:, 0], r[:, 1:], 200, seed)


def test_spa_sees_a_better_model_of_small_deviation_beside_wild_ones():
    # unstudentized, the wild columns' luck would hide it
    r = noise(500, 5, 6)
    models = r[:, :1] + np.column_stack([0.02 * r[:, 1] + 3e-5, 50 * r[:, 2:] - 50 * r[:, 2:].mean(axis=0)])
    assert comparison.spa_pvalue(r[:, 0], models) < 0.01
    assert comparison.stepm_superior(r[:, 0], models) == (0,)


def test_p_values_are_ordered_and_equal_leverage_changes_nothing():
    benchmark, models = mixed()
    models = models[:, 2:]
    lower, consistent, upper = (
        comparison.spa_pvalue(benchmark, models, which=w) for w in comparison.Centering.__args__
    )
    assert lower <= consistent <= upper
    assert comparison.spa_pvalue(3 * benchmark, 3 * models) == pytest.approx(consistent)


def test_stepm_can_name_every_model():
    r = noise(400, 4, 8)
    assert comparison.stepm_superior(r[:, 0], r[:, :1] + np.abs(r[:, 1:]), num_samples=200) == (0, 1, 2)


def test_confidence_set_of_noise_holds_the_best_in_95_of_100():
    # four equal policies, one of them is as good as any: it is left out in at most 5 % (deviation .014 at 250)
    left_out = np.mean(
        [0 not in comparison.model_confidence_set(noise(200, 4, s), 0.05, 200, s)[0] for s in range(250)]
    )
    assert left_out < 0.05 + 0.03


def test_equal_policies_stay_or_go_together():
    r = noise(500, 2, 5)
    r[:, 0] += 2e-3
    found = comparison.model_confidence_set(r[:, [0, 1, 0, 1]], num_samples=300)
    assert found.included == (0, 2)
    assert found.pvalues[0] == found.pvalues[2] == 1
    assert found.pvalues[1] == pytest.approx(found.pvalues[3], abs=0.01)


def test_a_single_policy_is_its_own_confidence_set():
    found = comparison.model_confidence_set(noise(100, 1))
    assert found.included == (0,)
    assert found.pvalues.tolist() == [1.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("models", [np.zeros((50, 0)), np.zeros((50, 2)), np.full((50, 2), np.nan), np.ones((50, 1))])
def test_nothing_to_compare_is_nan(models):
    benchmark = np.zeros(len(models))
    assert math.isnan(comparison.spa_pvalue(benchmark, models))
    assert comparison.stepm_superior(benchmark, models) == ()
    found = comparison.model_confidence_set(models)
    assert found.included == ()
    assert np.isnan(found.pvalues).all()
    assert found.pvalues.shape == (models.shape[1],)


def test_models_that_differ_by_a_constant_have_no_say_and_few_bars_say_nothing():
    benchmark, models = mixed()
    beside = np.column_stack([models, benchmark, benchmark + 0.01])
    assert comparison.spa_pvalue(benchmark, beside) == comparison.spa_pvalue(benchmark, models)
    assert comparison.stepm_superior(benchmark, beside) == comparison.stepm_superior(benchmark, models)
    assert math.isnan(comparison.spa_pvalue(benchmark[:7], models[:7]))
    assert comparison.model_confidence_set(models[:7]).included == ()


def test_confidence_set_takes_cash_beside_policies():
    r = np.column_stack([noise(400, 2, 9) + 2e-3, np.zeros(400)])
    assert 2 not in comparison.model_confidence_set(r, num_samples=200).included


def test_paired_difference_is_antisymmetric_and_that_of_the_metric():
    r = noise(800, 2, 1) + np.array([3e-4, 0])
    ab, ba = (comparison.paired_difference(*r.T[order], A, 300) for order in ([0, 1], [1, 0]))
    assert ab.value == metrics.sharpe(r[:, 0], A) - metrics.sharpe(r[:, 1], A)
    assert ab.value == pytest.approx(-ba.value)
    assert ab.better == pytest.approx(1 - ba.better, abs=0.1)  # the block rule looks at column 0, so draws may differ
    assert ab.interval[0] < ab.value < ab.interval[1]


def test_p_falls_below_five_percent_where_the_interval_leaves_zero():
    borderline = 0
    for seed in range(60):
        r = noise(300, 2, seed) + np.array([8e-4, 0])
        found = comparison.paired_difference(r[:, 0], r[:, 1], A, 400, seed)
        out = found.interval[0] > 0 or found.interval[1] < 0
        borderline += out != (found.p < 0.05)
        assert out == (found.p < 0.05) or found.p == pytest.approx(0.05, abs=2 / 401)
        assert 2 / 401 <= found.p <= 1
    assert borderline <= 3


def test_p_of_equal_policies_is_uniform():
    p = [comparison.paired_difference(*noise(300, 2, s).T, A, 200, s).p for s in range(200)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.05)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.12)


def test_a_policy_against_itself_and_against_cash():
    r = noise(400, 1, 2)[:, 0] + 1e-3
    assert comparison.paired_difference(r, r, A, 100) == (0.0, (0.0, 0.0), 1.0, 0.5)
    cash = comparison.paired_difference(r, np.zeros(400), A, 100)
    assert cash.value == metrics.sharpe(r, A)
    assert cash.better > 0.9


@pytest.mark.parametrize("r", [[], [0.1], [0.1, math.nan, 0.2]])
def test_difference_of_nothing_is_nan(r):
    found = comparison.paired_difference(r, r, A, 10)
    assert np.isnan([found.value, *found.interval, found.p, found.better]).all()


def test_iqm_is_the_trimmed_mean_and_one_stratum_is_the_plain_bootstrap():
    x = np.random.default_rng(0).normal(1, 0.5, (8, 6))
    found = comparison.iqm_interval(x)
    assert found.value == trim_mean(x, 0.25, axis=None)
    assert found.interval[0] < found.value < found.interval[1]
    assert comparison.iqm_interval(x[:, 0]) == comparison.iqm_interval(x[:, :1])


def test_strata_keep_what_windows_share_out_of_the_interval():
    # every seed has the same score in a window, windows differ wildly: no luck of seeds, no width
    x = np.tile(np.array([-5.0, 0, 1, 9]), (8, 1))
    found = comparison.iqm_interval(x)
    assert found.interval == (found.value, found.value) == (0.5, 0.5)


def test_seeds_are_drawn_independently_in_each_window():
    # the mean over W windows of independent draws is sqrt(W) narrower than drawing whole seeds, whose score is one
    x = np.tile(np.random.default_rng(3).normal(size=(10, 1)), (1, 25))
    one, many = comparison.iqm_interval(x[:, 0]).interval, comparison.iqm_interval(x).interval
    assert (many[1] - many[0]) < 0.4 * (one[1] - one[0])


def test_iqm_interval_covers_about_95_percent():
    # 10 seeds: the bootstrap of so few is a few points short (Agarwal et al., figure 4)
    rng, inside = np.random.default_rng(5), 0
    for trial in range(300):
        low, high = comparison.iqm_interval(rng.normal(size=(10, 5)), 300, trial).interval
        inside += low < 0 < high
    assert 0.88 <= inside / 300 <= 0.98


def test_many_scores_are_resampled_in_batches(monkeypatch):
    x = np.random.default_rng(1).normal(size=(8, 6))
    whole = comparison.iqm_interval(x, 200)
    monkeypatch.setattr(comparison, "SCORES_AT_ONCE", 48 * 7)
    np.testing.assert_allclose(comparison.iqm_interval(x, 200).interval, whole.interval)


def test_iqm_of_little():
    assert comparison.iqm_interval([2.0]).value == 2.0
    assert np.isnan(comparison.iqm_interval([2.0]).interval).all()
    for scores in ([], [1.0, math.nan], np.zeros((0, 3))):
        found = comparison.iqm_interval(scores)
        assert np.isnan([found.value, *found.interval]).all()
    with pytest.raises(ValueError, match=r"two, seeds and windows.*\(1, 1, 1\)"):
        comparison.iqm_interval(np.zeros((1, 1, 1)))


def test_probability_of_improvement_by_hand():
    # pairs of (1, 3, 5) and (2, 3): > in (3,2) (5,2) (5,3), = in (3,3): 3.5 / 6
    assert comparison.probability_of_improvement([1, 3, 5], [2, 3]) == pytest.approx(3.5 / 6)
    # a second window, in which x never wins: mean of 3.5 / 6 and 0
    x, y = np.array([[1, 0], [3, 0], [5, 0]]), np.array([[2, 1], [3, 1]])
    assert comparison.probability_of_improvement(x, y) == pytest.approx(3.5 / 12)


def test_probability_of_improvement_is_mann_whitney_and_complementary():
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 9, 13), rng.integers(0, 9, 8)
    expected = mannwhitneyu(x, y).statistic / (13 * 8)
    assert comparison.probability_of_improvement(x, y) == pytest.approx(expected)
    assert comparison.probability_of_improvement(y, x) == pytest.approx(1 - expected)
    assert math.isnan(comparison.probability_of_improvement(x, []))
    assert math.isnan(comparison.probability_of_improvement([1.0, math.nan], y))
    with pytest.raises(ValueError, match="same windows"):
        comparison.probability_of_improvement(np.zeros((2, 3)), np.zeros((2, 4)))
