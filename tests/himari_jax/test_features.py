"""Laws of the features: each against an independent computation, the look-back, the windows, the layout."""

from dataclasses import replace

import numpy as np
import pytest
import talib

from himari_jax.features.market import (
    ACCOUNT_FEATURES,
    MARKET_FEATURES,
    Features,
    market_features,
    named_set,
    newest_features,
    observation_names,
    observation_width,
)
from himari_jax.features.observation import assemble
from himari_jax.features.windows import Lookbacks, lookbacks
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import SizingRules

HOUR_MS = 3_600_000
PRICES = ("open", "high", "low", "close")
ROWS = (400, 517, 999)  # rows that are looked at, past the look-back


def column(candles, name):
    """One feature of the first asset, (T,)."""
    return market_features(candles)[0][:, 0, MARKET_FEATURES.index(name)]


def cut(candles, start, stop):
    """The candles of rows [start, stop) and no others."""
    names = ("time", *PRICES, "volume", "tradable", "segment")
    return replace(candles, **{name: getattr(candles, name)[start:stop] for name in names})


def with_prices(candles, close):
    """Candles that open and stay at their close, (T,) or (T, N)."""
    return replace(candles, **dict.fromkeys(PRICES, np.asarray(close, float).reshape(len(close), -1)))


@pytest.fixture(scope="module")
def market(candles):
    return candles(1, 1000, seed=3)


def test_price_is_the_log_distance_to_the_weekly_average(market):
    close = market.close[:, 0]
    for t in ROWS:
        expected = np.log(close[t] / close[t - 167 : t + 1].mean())
        assert column(market, "price")[t] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("name", "bars"), [("return_1h", 1), ("return_4h", 4), ("return_24h", 24)])
def test_returns_are_log_changes(market, name, bars):
    close = market.close[:, 0]
    for t in ROWS:
        assert column(market, name)[t] == pytest.approx(np.log(close[t] / close[t - bars]), abs=1e-14)


@pytest.mark.parametrize(("name", "bars"), [("volatility_1h", 1), ("volatility_4h", 4), ("volatility_24h", 24)])
def test_volatility_is_garman_klass_per_bar(market, name, bars):
    for t in ROWS:
        squares = []
        for i in range(t - bars + 1, t + 1):
            open_, high, low, close = (getattr(market, price)[i, 0] for price in PRICES)
            squares.append(np.log(high / low) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(close / open_) ** 2)
        assert column(market, name)[t] == pytest.approx(np.sqrt(sum(squares) / bars), abs=1e-13)


def test_volatility_of_one_candle_by_hand(candles):
    # high / low = e^.04, close / open = e^.02: .5 * .0016 - .38629436 * .0004 = 6.4548226e-4, root .025406343
    one = candles(1, 500)
    market = replace(one, open=one.close * np.exp(-0.02), high=one.close * np.exp(0.01), low=one.close * np.exp(-0.03))
    for name in ("volatility_1h", "volatility_4h", "volatility_24h"):
        assert column(market, name)[-1] == pytest.approx(0.025406343, rel=1e-7)


def test_rsi_is_wilders_recursion(market):
    change = np.diff(market.close[:, 0])
    gain, loss = np.maximum(change, 0), np.maximum(-change, 0)
    up, down = gain[:14].mean(), loss[:14].mean()
    expected = []
    for t in range(15, 1000):
        up, down = (13 * up + gain[t - 1]) / 14, (13 * down + loss[t - 1]) / 14
        expected.append(up / (up + down))
    rsi = column(market, "rsi")[400:]
    np.testing.assert_allclose(rsi, expected[400 - 15 :], atol=1e-11)
    np.testing.assert_allclose(rsi, talib.RSI(market.close[:, 0], 14)[400:] / 100, atol=1e-11)


def test_rsi_of_what_never_moved_is_one_half_and_of_what_only_rose_is_one(candles):
    flat = candles(1, 600)
    assert (column(with_prices(flat, np.full(600, 7.0)), "rsi")[400:] == 0.5).all()
    assert column(with_prices(flat, np.arange(1, 601)), "rsi")[400:] == pytest.approx(1.0)
    fell_once = np.where(np.arange(600) < 450, 7.0, 6.0)
    assert column(with_prices(flat, fell_once), "rsi")[450:470] == pytest.approx(0.0)


def test_macd_is_the_distance_of_two_averages_over_the_close(market):
    def average(x, period):
        out = [x[0]]
        for value in x[1:]:
            out.append(out[-1] + 2 / (period + 1) * (value - out[-1]))
        return np.array(out)

    close = market.close[:, 0]
    macd = average(close, 12) - average(close, 26)
    signal = average(macd, 9)
    for name, value in (("macd", macd), ("macd_signal", signal), ("macd_histogram", macd - signal)):
        np.testing.assert_allclose(column(market, name)[400:], (value / close)[400:], atol=1e-12)
    theirs = talib.MACD(close, 12, 26, 9)[1] / close
    np.testing.assert_allclose(column(market, "macd_signal")[33:], theirs[33:], atol=1e-14)


def test_volume_ratio_compares_with_the_average_day(market):
    volume = market.volume[:, 0]
    for t in ROWS:
        expected = np.log((0.05 + volume[t] / volume[t - 23 : t + 1].mean()) / 1.05)
        assert column(market, "volume_ratio")[t] == pytest.approx(expected, abs=1e-12)
    assert column(replace(market, volume=np.full((1000, 1), 3.7)), "volume_ratio")[23:] == pytest.approx(0, abs=1e-12)


def test_volume_ratio_is_exactly_zero_after_a_day_without_volume(market):
    volume = market.volume * 1e9 + 0.1  # sums that a running total would not take back to 0
    volume[500:560] = 0
    ratio = column(replace(market, volume=volume), "volume_ratio")
    assert (ratio[523:560] == 0).all()
    np.testing.assert_allclose(ratio[500:523], np.log(0.05 / 1.05))


def test_correlations_are_those_of_the_windows_in_symbol_order(candles):
    market = candles(3, 600, seed=8)
    blend = market.close[:, :1] ** 0.7 * market.close**0.3  # correlated, not perfectly
    _, corr = market_features(with_prices(market, blend))
    returns = np.diff(np.log(blend), axis=0)
    for t in (400, 599):
        matrix = np.corrcoef(returns[t - 24 : t].T)
        np.testing.assert_allclose(corr[t], [matrix[0, 1], matrix[0, 2], matrix[1, 2]], atol=1e-10)
    assert corr[400:].min() > 0.2


@pytest.mark.parametrize("growth", [0.0, 0.001])
def test_a_correlation_with_a_flat_window_is_zero(candles, growth):
    market = candles(2, 600, seed=1)
    close = market.close.copy()
    close[450:500, 1] = close[450, 1] * (1 + growth) ** np.arange(50)
    _, corr = market_features(with_prices(market, close))
    assert (corr[474:500] == 0).all()  # rows whose last 24 returns are all the same
    assert (corr[400:474] != 0).all()
    assert (np.abs(corr) <= 1).all()


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        # 400 h; RSI and MACD of bars that are longer fade over ceil(400 / 14 rsi) or ceil(400 / 26 slow) bars
        (15, Lookbacks(4, 16, 96, 672, 1600, 56, 48, 104, 36)),
        (60, Lookbacks(1, 4, 24, 168, 400, 14, 12, 26, 9)),
        (240, Lookbacks(1, 1, 6, 42, 115, 4, 3, 7, 2)),
        (1440, Lookbacks(1, 1, 1, 7, 58, 2, 2, 3, 2)),
    ],
)
def test_windows_are_durations_and_at_least_a_bar(candles, minutes, expected):
    assert lookbacks(minutes * 60_000) == expected
    market = candles(1, expected.lookback + 10, bar_ms=minutes * 60_000)
    close, volume, t = market.close[:, 0], market.volume[:, 0], expected.lookback + 5
    assert column(market, "return_24h")[t] == pytest.approx(np.log(close[t] / close[t - expected.day]))
    assert column(market, "price")[t] == pytest.approx(np.log(close[t] / close[t - expected.week + 1 : t + 1].mean()))
    mean = volume[t - expected.day + 1 : t + 1].mean()
    assert column(market, "volume_ratio")[t] == pytest.approx(np.log((0.05 + volume[t] / mean) / 1.05))


def test_bars_that_do_not_divide_an_hour_are_refused():
    with pytest.raises(ValueError, match="420000 ms"):
        lookbacks(7 * 60_000)


def everything_at(candles, t):
    """Features, correlations and vol-target of a row."""
    features, corr = market_features(candles)
    base = base_positions("vol-target", candles, SizingRules(max_position_pct=1.0))
    return np.concatenate([features[t].reshape(-1), corr[t], base[t]])


@pytest.mark.parametrize("minutes", [15, 60])
def test_a_row_knows_nothing_older_than_the_look_back(candles, minutes):
    lookback = lookbacks(minutes * 60_000).lookback
    market = candles(2, lookback + 700, seed=6, bar_ms=minutes * 60_000)
    for stop in (lookback + 1, lookback + 350, lookback + 700):
        window = cut(market, stop - lookback, stop)
        np.testing.assert_allclose(everything_at(window, -1), everything_at(market, stop - 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("calm", [24, 99, 100, 101, 250, 390, 399, 400])
def test_a_row_knows_nothing_older_than_the_look_back_after_a_calm(candles, calm):
    # Nothing moves for `calm` bars: what the averages of gains and losses keep of the time before shrinks alike.
    market = candles(1, 1000, seed=6)
    still = market.close[:, 0].copy()
    still[1000 - calm :] = still[1000 - calm - 1]
    market = with_prices(market, still)
    np.testing.assert_allclose(everything_at(cut(market, 600, 1000), -1), everything_at(market, -1), rtol=0, atol=1e-9)


def test_a_segment_knows_nothing_of_the_one_before(candles):
    market = candles(2, 1200, seed=4)
    split = replace(market, segment=(np.arange(1200) >= 500).astype(np.int32))
    alone = cut(market, 500, 1200)
    for ours, theirs in zip(market_features(split), market_features(alone), strict=True):
        np.testing.assert_array_equal(ours[500:], theirs)


def test_the_unit_of_prices_and_volumes_changes_nothing(candles):
    market = candles(2, 700, seed=2)
    unit = np.array([1e-7, 3e5])
    scaled = replace(market, **{name: getattr(market, name) * unit for name in (*PRICES, "volume")})
    for ours, theirs in zip(market_features(scaled), market_features(market), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("assets", "width"), [(1, 16), (2, 34), (3, 52), (4, 71)])
def test_the_observation_has_the_named_numbers_in_their_order(candles, assets, width):
    market = candles(assets, 500, seed=9)
    features, corr = (x.astype(np.float32) for x in market_features(market))
    names = observation_names(market.symbols)
    weights = np.linspace(0.1, 0.2, assets)
    values = assemble(features[-1], corr[-1], weights, np.ones(assets))
    assert observation_width(assets) == len(names) == len(values) == width
    assert len(set(names)) == width
    named = dict(zip(names, values.tolist(), strict=True))
    for n, symbol in enumerate(market.symbols):
        for k, feature in enumerate(MARKET_FEATURES):
            assert named[f"{symbol}.{feature}"] == features[-1, n, k]
        assert named[f"{symbol}.position"] == weights[n]
    pairs = [(a, b) for i, a in enumerate(market.symbols) for b in market.symbols[i + 1 :]]
    assert [named[f"correlation.{a}.{b}"] for a, b in pairs] == corr[-1].tolist()
    if assets > 1:
        allocation = weights / weights.sum()
        assert named["herfindahl"] == pytest.approx((allocation**2).sum(), rel=1e-6)


def test_the_features_are_those_of_the_contract():
    hours = ("price", "return_1h", "return_4h", "return_24h", "volatility_1h", "volatility_4h", "volatility_24h")
    assert list(MARKET_FEATURES) == [*hours, "rsi", "macd", "macd_signal", "macd_histogram", "volume_ratio"]
    assert list(ACCOUNT_FEATURES) == ["position", "entry_distance", "unrealized_pnl", "allocation"]


@pytest.mark.parametrize("name", ["base", "trend"])
@pytest.mark.parametrize("assets", [1, 3])
@pytest.mark.parametrize("rows", [1, 2, 30])
def test_the_newest_rows_alone_are_those_of_all_rows_bit_for_bit(candles, name, assets, rows):
    market = candles(assets, 9000 if name == "trend" else 700, seed=assets)
    market = replace(market, segment=(np.arange(len(market.time)) >= 150).astype(np.int32))
    features = Features((named_set(name),))
    for found, whole in zip(newest_features(market, features, rows), market_features(market, features), strict=True):
        assert found.shape == whole[-rows:].shape
        assert found.tobytes() == np.ascontiguousarray(whole[-rows:]).tobytes()
