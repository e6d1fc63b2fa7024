import math

import numpy as np
import pytest
from scipy.special import ndtr

from himari_jax.errors import InputError
from himari_jax.statistics.bootstrap import interval
from train import calibrate
from train.calibrate import CalibrateConfig, Figure

SMALL = CalibrateConfig(
    series=60, bars=100, repeats=10, strategies=5, trials=10, trial_bars=100, samples=40, processes=1, markets=10
)
FLAGS = (
    "--series 300 --bars 300 --repeats 40 --strategies 20 --trials 120 --trial-bars 400 --samples 200 --processes 1 "
    "--markets 10"
)


@pytest.mark.parametrize(("kind", "memory"), [("normal", 0.0), ("t", 0.0), ("ar", calibrate.MEMORY)])
def test_noise_has_mean_0_deviation_1_and_its_memory(kind, memory):
    x = calibrate.noise(kind, (200_000,), np.random.default_rng(0))
    assert x.mean() == pytest.approx(0, abs=0.01)
    assert x.std() == pytest.approx(1, abs=0.05)  # the t's variance itself has no variance
    assert np.corrcoef(x[1:], x[:-1])[0, 1] == pytest.approx(memory, abs=0.01)


def test_autocorrelated_noise_is_stationary_from_the_first_bar_and_columns_are_independent():
    x = calibrate.noise("ar", (3, 100_000), np.random.default_rng(1))
    np.testing.assert_allclose(x.std(axis=1), 1, atol=0.01)
    assert np.mean(x[0] * x[1]) == pytest.approx(calibrate.MEMORY, abs=0.01)
    assert np.mean(x[0, 1:] * x[0, :-1]) == pytest.approx(0, abs=0.01)


def test_share_and_its_error_by_hand():
    # 3 of 4 hits; sqrt(.95 * .05 / 4) = .10897
    assert calibrate.share(np.array([1, 1, 0, 1], bool), 0.95) == pytest.approx((0.75, 0.10897), abs=1e-5)


def test_what_psr_passes_of_noise_with_memory_by_hand():
    # the mean's variance is 1.1 / .9 = 1.2222 that of independent bars: P(Z > 1.6449 / 1.1055) = P(Z > 1.4879)
    assert pytest.approx(0.0684, abs=1e-4) == calibrate.INDEPENDENT


def test_every_figure_is_measured_and_none_shares_random_numbers():
    found = list(calibrate.figures(SMALL))
    assert len(found) == len({figure.name for figure in found}) == 28
    assert sum("PSR" in figure.name for figure in found) == 3
    assert sum("DSR" in figure.name for figure in found) == 3
    assert sum("interval" in figure.name for figure in found) == 10
    assert sum("EDGE" in figure.name for figure in found) == 12
    assert found == list(calibrate.figures(SMALL))


def test_figures_do_not_depend_on_the_number_of_processes():
    psr, subject = calibrate.psr_passes, "normal"
    with calibrate.workers(1) as one, calibrate.workers(2) as two:
        alone = calibrate.run_trials(one, psr, subject, 60, SMALL)
        np.testing.assert_array_equal(calibrate.run_trials(two, psr, subject, 60, SMALL), alone)
    assert 0 < alone.sum() < 20


def test_the_command_prints_a_line_for_each_figure(capsys):
    code = calibrate.main([*FLAGS.split(), "--quick"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30
    assert lines[0].split() == ["figure", "value", "+-", "nominal", "bounds", "result"]
    assert code == 0, "\n".join(lines)
    assert lines[-1] == "all within bounds"
    assert "known: not the nominal 5 %: PSR takes bars as independent, with this memory theory says 6.8%" in lines[3]


def test_broken_statistics_are_found(capsys, monkeypatch):
    # an annual Sharpe with the number of hours: the trap of the old system, which passed 45 % of noise
    def annual(r):
        return float(ndtr(r.mean() / r.std() * math.sqrt(8760) * math.sqrt(len(r) - 1)))

    monkeypatch.setattr(calibrate, "probabilistic_sharpe", annual)
    monkeypatch.setattr(calibrate, "deflated_sharpe", lambda r, trials: annual(r))
    monkeypatch.setattr(calibrate, "interval", lambda samples: interval(samples, 0.7))
    assert calibrate.main(FLAGS.split()) == 1
    lines = capsys.readouterr().out.splitlines()
    of_statistics = [line for line in lines[1:-1] if not line.startswith("EDGE")]
    assert len(of_statistics) == 16
    assert all(line.endswith("OUTSIDE") for line in of_statistics)
    assert lines[-1].endswith("outside their bounds")
    assert 40 < float(lines[1].split("%")[0].split()[-1]) < 55


def test_a_figure_reads_as_a_line():
    figure = Figure("PSR", 0.0533, 0.0022, "5 % +- 1", 0.04, 0.06)
    assert calibrate.line(figure, True).split() == "PSR 5.33% 0.22% 5 % +- 1 4.0% to 6.0% ok".split()
    assert calibrate.line(figure, False).endswith("OUTSIDE")


def test_quick_only_cuts_down():
    quick = calibrate.check(CalibrateConfig(quick=True, series=50))
    assert quick.series == 50
    assert quick.bars < CalibrateConfig().bars
    assert calibrate.check(CalibrateConfig()) == CalibrateConfig()


@pytest.mark.parametrize(
    ("flag", "value"), [("series", 9), ("samples", 39), ("trial-bars", 0), ("seed", -1), ("processes", 0)]
)
def test_numbers_too_small_to_measure_with_are_refused(flag, value):
    with pytest.raises(InputError, match=rf"--{flag} {value}: at least \d+"):
        calibrate.main([f"--{flag}", str(value)])


@pytest.mark.slow
def test_all_figures_are_within_bounds():
    assert calibrate.main([]) == 0
