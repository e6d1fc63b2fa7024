import dataclasses

import numpy as np
import pytest

from himari_jax.errors import InputError
from himari_jax.sources.request import SourceRequest
from himari_jax.sources.synthetic import START_MS, Options, hidden_moments, load, perfect_sharpe
from himari_jax.times import HOUR_MS

SEEDS = range(10)
THREE = ("SYN1", "SYN2", "SYN3")


def candles(symbols=THREE, bar_ms=None, **options):
    return load(SourceRequest(symbols=symbols, bar_ms=bar_ms, options=Options(**options)))


def simple_returns(series):
    return np.column_stack([s.close / s.open - 1 for s in series])


@pytest.fixture(scope="module")
def ten():
    """Simple returns of three assets on ten seeds, (10, T, 3)."""
    return np.stack([simple_returns(candles(seed=seed)) for seed in SEEDS])


def test_tails_are_fat_on_every_seed(ten):
    z = ten - ten.mean(axis=1, keepdims=True)
    kurtosis = np.mean(z**4, axis=1) / np.mean(z**2, axis=1) ** 2
    assert kurtosis.min() > 6


def test_volatility_clusters_a_day_apart_on_every_seed(ten):
    a = np.abs(ten) - np.abs(ten).mean(axis=1, keepdims=True)
    autocorrelation = np.mean(a[:, 24:] * a[:, :-24], axis=1) / np.mean(a**2, axis=1)
    assert autocorrelation.min() > 0.1


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_pair_correlations_are_the_flag(ten, correlation):
    for seed in SEEDS if correlation == 0.6 else range(3):
        r = ten[seed] if correlation == 0.6 else simple_returns(candles(seed=seed, correlation=correlation))
        pairs = np.corrcoef(r.T)[np.triu_indices(3, 1)]
        np.testing.assert_allclose(pairs, correlation, atol=0.05)


def test_mean_volatility_is_the_flag(ten):
    assert np.sqrt(np.mean(ten**2) * 8760) == pytest.approx(0.6, rel=0.03)


def test_no_drift_holding_earns_nothing_beyond_chance():
    # 200 independent paths of five years; trends widen them to 0.6 * (1 + .03 sqrt(1.99588 / .00412)) = 1.00 a year,
    # so the mean annual return has a deviation of 1.00 / sqrt(5 * 200) = 0.032
    symbols = tuple(f"SYN{i}" for i in range(1, 21))
    annual = [simple_returns(candles(symbols, seed=seed, correlation=0.0)).mean() * 8760 for seed in SEEDS]
    assert abs(np.mean(annual)) < 3 * 0.032


@pytest.mark.parametrize("long_only", [True, False])
def test_perfect_policy_earns_what_the_docstring_says(long_only):
    # scored by the moments that the simulator knows; 200 independent paths leave a deviation below 1 %
    symbols, mean, square = tuple(f"SYN{i}" for i in range(1, 21)), 0.0, 0.0
    for seed in SEEDS:
        m, s = hidden_moments(Options(seed=seed, correlation=0.0), symbols)
        w = (np.maximum(m, 0) if long_only else m) / s**2
        mean += np.mean(w * m) / len(SEEDS)
        square += np.mean(w**2 * (s**2 + m**2)) / len(SEEDS)
    earned = mean / np.sqrt(square - mean**2) * np.sqrt(8760)
    said = perfect_sharpe(Options(), long_only=long_only)
    assert said == pytest.approx(1.98 if long_only else 2.81, abs=0.006)
    assert earned == pytest.approx(said, rel=0.05)


def test_the_formula_also_holds_where_the_trend_is_strong():
    # p = 0.5: the fourth-order term counts (33.1 without it, 25.6 with it)
    options = Options(num_bars=400_000, predictability=0.5, predictability_half_life=12.0)
    m, s = hidden_moments(options)
    w = np.maximum(m, 0) / s**2
    earned = np.mean(w * m) / np.sqrt(np.mean(w**2 * (s**2 + m**2)) - np.mean(w * m) ** 2) * np.sqrt(8760)
    assert earned == pytest.approx(perfect_sharpe(options), rel=0.02)


def test_hidden_moments_are_the_moments_of_the_returns(ten):
    # slope of r/s on m/s: deviation 1 / sqrt(10 * 43,800 * .0009) = .05 for one asset, a little less for three
    slope_top = slope_bottom = 0.0
    for seed in SEEDS:
        m, s = hidden_moments(Options(seed=seed), THREE)
        slope_top += np.sum(ten[seed] * m / s**2)
        slope_bottom += np.sum(m**2 / s**2)
        np.testing.assert_allclose(np.mean(((ten[seed] - m) / s) ** 2, axis=0), 1.0, rtol=0.05)
    assert slope_top / slope_bottom == pytest.approx(1.0, abs=0.15)


def test_the_trend_can_be_read_off_past_returns():
    # an average of past returns over their volatility, half-life of a week, is the hidden trend itself
    options = Options(seed=4)
    m, s = hidden_moments(options)
    r = simple_returns(candles(("SYN1",), seed=4))
    phi = 0.5 ** (1 / 168)
    trend, read = 0.0, np.empty(len(r))
    for t, x in enumerate((r / s)[:, 0]):
        read[t], trend = trend, phi * trend + x
    assert np.corrcoef(read[1000:], (m / s)[1000:, 0])[0, 1] > 0.95


def test_mean_and_volatility_of_a_bar_do_not_depend_on_that_bar_or_later():
    short, long = Options(num_bars=500), Options(num_bars=700)
    for a, b in zip(hidden_moments(short), hidden_moments(long), strict=True):
        np.testing.assert_array_equal(a, b[:500])


def test_candles_are_consistent_and_follow_each_other():
    for s in candles(num_bars=5000):
        ends = np.stack([s.open, s.close])
        assert (s.high >= ends.max(axis=0)).all()
        assert (s.low <= ends.min(axis=0)).all()
        assert (s.low > 0).all()
        np.testing.assert_array_equal(s.open[1:], s.close[:-1])
        np.testing.assert_array_equal(np.diff(s.time), HOUR_MS)
        assert s.time[0] == START_MS
        assert s.time.dtype == np.int64
        assert s.synthetic
        assert "SYNTHETIC" in s.notes[0]


def test_garman_klass_volatility_is_close_to_close_volatility():
    for s in candles():
        range_variance = 0.5 * np.log(s.high / s.low) ** 2 - (2 * np.log(2) - 1) * np.log(s.close / s.open) ** 2
        assert np.mean(range_variance) == pytest.approx(np.mean(np.log(s.close / s.open) ** 2), rel=0.1)


def test_volume_is_positive_and_moves_with_the_size_of_the_return():
    for s in candles(num_bars=5000):
        assert (s.volume > 0).all()
        assert np.corrcoef(s.volume, np.abs(s.close / s.open - 1))[0, 1] > 0.5


def test_equal_options_make_equal_candles_and_another_seed_makes_others():
    one, same, other = (candles(num_bars=300, seed=seed)[1].close for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_an_asset_does_not_depend_on_the_others_asked_for_or_on_the_bars_that_follow():
    alone = candles(("SYN2",), num_bars=300)[0]
    among = candles(THREE, num_bars=900)[1]
    for name in ("time", "open", "high", "low", "close", "volume"):
        np.testing.assert_allclose(getattr(alone, name), getattr(among, name)[:300], rtol=1e-12)


def test_no_symbol_means_the_first_and_no_options_the_defaults():
    (only,) = load(SourceRequest(symbols=(), bar_ms=None, options=None))
    assert only.symbol == "SYN1"
    assert len(only.close) == 43_800


@pytest.mark.parametrize("bar_ms", [HOUR_MS // 4, 24 * HOUR_MS])
def test_other_bars_keep_the_year(bar_ms):
    # annual volatility and the annual Sharpe of the perfect policy are about those of hours
    symbols = tuple(f"SYN{i}" for i in range(1, 9))
    r = simple_returns(candles(symbols, bar_ms=bar_ms, correlation=0.0))
    assert r.std() * np.sqrt(365 * 24 * HOUR_MS / bar_ms) == pytest.approx(0.6, rel=0.1)
    assert perfect_sharpe(Options(), bar_ms) == pytest.approx(perfect_sharpe(Options()), rel=0.05)


@pytest.mark.parametrize("symbol", ["BTC-USD", "SYN0", "SYN", "syn1", "SYN1x", "SYN01"])
def test_other_symbols_are_refused(symbol):
    with pytest.raises(InputError, match=f"symbol {symbol}: .*SYN1, SYN2"):
        candles((symbol,), num_bars=10)


def test_a_symbol_named_twice_is_refused():
    with pytest.raises(InputError, match="SYN1 SYN1"):
        candles(("SYN1", "SYN1"), num_bars=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_bars", 1),
        ("num_bars", 10**20),
        ("seed", -1),
        ("volatility", 0.0),
        ("volatility", float("nan")),
        ("correlation", 1.0),
        ("correlation", -0.1),
        ("clustering", 1.5),
        ("clustering_half_life", 0.0),
        ("tail", 4.0),
        ("predictability", -0.1),
        ("predictability_half_life", float("inf")),
    ],
)
def test_options_out_of_range_name_flag_value_and_range_in_one_line(name, value):
    with pytest.raises(InputError) as caught:
        Options(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"--synthetic.{name.replace('_', '-')} {value}: must be")
    assert "\n" not in message


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().seed = 1
