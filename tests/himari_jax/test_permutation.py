"""The null market: what a permutation of bars keeps, what it breaks, and that it moves all assets alike."""

from dataclasses import replace

import numpy as np
import pytest
from accounts import HOUR_MS, make_candles
from hypothesis import given, settings
from hypothesis import strategies as st

from himari_jax.candles import COLUMNS, Candles
from himari_jax.checking.candles import check_candles
from himari_jax.errors import InputError
from himari_jax.permutation import default_block, permute_candles, regimes
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest
from train.data.members import join_candles

DAY_MS = 24 * HOUR_MS
ROWS = 400
KINDS = ("bars", "blocks")


def rows(candles: Candles, start: int, stop: int, symbol: str = "A") -> Candles:
    """One asset of candles that exists in [start, stop)."""
    columns = {name: getattr(candles, name)[start:stop] for name in (*COLUMNS, "tradable", "time", "segment")}
    return replace(candles, symbols=(symbol,), **columns)


def make_pool(starts, seed: int = 0) -> list[Candles]:
    """Members that begin at different bars and end together; volume is the number of the bar: it names the source."""
    parts = []
    for n, start in enumerate(starts):
        one = make_candles(1, ROWS, seed + n)
        parts.append(rows(replace(one, volume=np.arange(ROWS, dtype=float)[:, None]), start, ROWS, "ABCDEFGH"[n]))
    return parts


def break_up(candles: Candles, at) -> Candles:
    """The candles in several segments."""
    row = np.arange(len(candles.time))
    return replace(candles, segment=np.searchsorted(np.sort(at), row, side="right").astype(np.int32))


def draw(parts, seed: int = 0, kind="bars", block: int | None = None):
    return permute_candles(parts, np.random.default_rng(seed), kind, block)


def numbered(candles: Candles) -> Candles:
    """Volume of all assets is the number of the bar."""
    return replace(candles, volume=np.broadcast_to(np.arange(float(len(candles.time)))[:, None], candles.close.shape))


def log_moves(candles: Candles) -> np.ndarray:
    return np.diff(np.log(candles.close), axis=0)


def bar_of(candles: Candles) -> np.ndarray:
    """Ratios of a bar that do not depend on its price: gap, shape, move and tradable, (T - 1, N, 5)."""
    before, later = candles.close[:-1], slice(1, None)
    gap, close = candles.open[later] / before, candles.close[later] / before
    high, low = (x[later] / candles.open[later] for x in (candles.high, candles.low))
    return np.stack([gap, high, low, close, candles.tradable[later].astype(float)], axis=-1)


def autocorrelation(series: np.ndarray) -> float:
    centered = series - series.mean()
    return float(centered[1:] @ centered[:-1] / (centered @ centered))


def one_asset(returns: np.ndarray) -> Candles:
    """Daily candles of these log returns, each bar from close to close."""
    close = 100 * np.exp(np.concatenate([[0], np.cumsum(returns)]))[:, None]
    opens = np.concatenate([close[:1], close[:-1]])
    candles = make_candles(1, len(close), bar_ms=DAY_MS)
    return replace(candles, open=opens, high=np.maximum(opens, close), low=np.minimum(opens, close), close=close)


starts = st.lists(st.integers(0, ROWS - 50), min_size=1, max_size=4)
seeds = st.integers(0, 1000)


@settings(max_examples=40, deadline=None)
@given(starts, seeds, st.sampled_from(KINDS))
def test_each_regime_keeps_its_multiset_of_bars_for_each_asset(starts, seed, kind):
    pool = make_pool(starts)
    found = regimes(pool)
    for old, new in zip(pool, draw(pool, seed, kind), strict=True):
        label = found.label[np.searchsorted(found.time, old.time)]
        for one in np.unique(label[1:]):
            inside = label[1:] == one
            assert np.array_equal(np.sort(new.volume[1:][inside], axis=0), np.sort(old.volume[1:][inside], axis=0))
            assert np.allclose(np.sort(log_moves(new)[inside], axis=0), np.sort(log_moves(old)[inside], axis=0))


@settings(max_examples=40, deadline=None)
@given(starts, seeds, st.sampled_from(KINDS))
def test_members_that_coexist_move_by_one_permutation(starts, seed, kind):
    pool = make_pool(starts)
    joined = join_candles(draw(pool, seed, kind))
    begins = joined.time[:, None] == np.array([each.time[0] for each in pool])  # does not move
    source = np.where(begins, np.nan, joined.volume)
    spread = np.nanmax(source, axis=1, initial=-1) - np.nanmin(source, axis=1, initial=ROWS)
    assert np.all(spread <= 0)


@pytest.mark.parametrize("kind", KINDS)
def test_gap_shape_move_volume_and_tradable_of_a_bar_move_together(candles, kind):
    old = numbered(candles(3, ROWS))
    old = replace(old, tradable=np.random.default_rng(1).random(old.close.shape) < 0.8)
    (new,) = draw([old], kind=kind)
    source = new.volume[1:, 0].astype(int)
    assert np.array_equal(np.sort(source), np.arange(1, ROWS))
    assert np.allclose(bar_of(new), bar_of(old)[source - 1], rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, ROWS - 1), max_size=5), seeds, st.sampled_from(KINDS))
def test_a_segment_keeps_its_first_bar_and_its_last_close(cuts, seed, kind):
    old = break_up(make_candles(2, ROWS), cuts)
    (new,) = draw([old], seed, kind)
    begin = np.flatnonzero(np.diff(old.segment, prepend=-1))
    end = np.flatnonzero(np.diff(old.segment, append=ROWS))
    for name in (*COLUMNS, "tradable"):
        assert np.array_equal(getattr(new, name)[begin], getattr(old, name)[begin])
    assert np.allclose(new.close[end], old.close[end], rtol=1e-9, atol=0)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(KINDS))
def test_the_range_of_a_bar_holds_its_ends_exactly(seed, kind):
    old = one_asset(np.random.default_rng(seed).normal(0, 0.05, ROWS))  # ends at the edge of the range: rounding shows
    (new,) = draw([old], seed, kind)
    assert np.all(new.high >= np.maximum(new.open, new.close))
    assert np.all(new.low <= np.minimum(new.open, new.close))
    assert np.all(new.low > 0)


def test_a_filled_bar_stays_flat_untradable_and_without_volume_wherever_it_goes(candles):
    old = candles(2, ROWS)
    filled = np.zeros((ROWS, 2), bool)
    filled[[50, 51, 200], 0] = True
    close = 100 * np.exp(np.cumsum(np.where(filled, 0, np.diff(np.log(old.close), axis=0, prepend=0)), axis=0))
    before = np.concatenate([close[:1], close[:-1]])
    prices = {name: np.where(filled, before, getattr(old, name) / old.close * close) for name in COLUMNS[:4]}
    volume = np.where(filled, 0.0, old.volume)
    (new,) = draw([replace(old, **prices, volume=volume, tradable=~filled)])
    assert np.array_equal((~new.tradable).sum(axis=0), [3, 0])
    moved = np.flatnonzero(~new.tradable[:, 0])
    assert set(moved) != {50, 51, 200}
    assert np.all(new.volume[moved, 0] == 0)
    for name in COLUMNS[:4]:
        assert np.array_equal(getattr(new, name)[moved, 0], new.close[moved - 1, 0])


@given(st.floats(1e-6, 1e6))
def test_prices_that_stand_still_stay_to_the_last_digit(price):
    old = make_candles(1, 5)
    (new,) = draw([replace(old, **dict.fromkeys(COLUMNS[:4], np.full((5, 1), price)))])
    assert all(np.all(getattr(new, name) == price) for name in COLUMNS[:4])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_joined_on_one_axis_with_nan_is_permuted_like_its_members(kind):
    pool = make_pool([0, 120, 250])
    joined, apart = draw([join_candles(pool)], 3, kind)[0], join_candles(draw(pool, 3, kind))
    for name in (*COLUMNS, "tradable"):
        assert np.allclose(getattr(joined, name), getattr(apart, name), rtol=1e-12, atol=0, equal_nan=True)


def test_a_member_that_pauses_goes_on_at_its_own_price_and_moves_nothing_into_the_pause():
    first, second = make_pool([0, 0])
    kept = np.r_[0:150, 190:ROWS]
    columns = {name: getattr(second, name)[kept] for name in (*COLUMNS, "tradable", "time")}
    second = replace(second, **columns, segment=(kept >= 190).astype(np.int32))
    one, two = draw([first, second])
    assert np.array_equal(two.close[150], second.close[150])
    assert np.allclose(two.close[[149, -1]], second.close[[149, -1]], rtol=1e-9, atol=0)
    assert set(one.volume[150:191, 0]) == set(first.volume[150:191, 0])


def test_what_is_no_bar_stays():
    old = break_up(make_candles(2, ROWS), [100])
    (new,) = draw([old])
    for name in ("symbols", "bar_ms", "calendar"):
        assert getattr(new, name) == getattr(old, name)
    assert np.array_equal(new.time, old.time)
    assert np.array_equal(new.segment, old.segment)
    assert new.tradable.dtype == bool
    assert new.synthetic


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_draw_equal_markets_and_others_differ(candles, kind):
    old = candles(2, ROWS)
    prints = [draw([old], seed, kind)[0].fingerprint for seed in (1, 1, 2, 3)]
    assert prints[0] == prints[1]
    assert len({*prints, old.fingerprint}) == 4


def test_blocks_keep_the_order_inside_and_cut_elsewhere_in_each_draw(candles):
    old = numbered(candles(1, ROWS))
    borders = []
    for seed in range(5):
        source = draw([old], seed, "blocks", 20)[0].volume[1:, 0].astype(int)
        cuts = np.flatnonzero(np.diff(source) != 1) + 1
        # 399 bars: 20 blocks or one more, two of them cut short; neighbors that meet again make a longer one
        assert len(cuts) <= 20
        assert sum(len(part) == 20 for part in np.split(source, cuts)) >= 10
        borders.append(frozenset(part[0] % 20 for part in np.split(source, cuts) if part[0] > 1))
    assert all(len(each) == 1 for each in borders)
    assert len(set(borders)) > 1


def test_a_block_does_not_reach_over_a_pause_of_its_regime():
    first, second = make_pool([0, 0])
    columns = {name: getattr(second, name)[100:200] for name in (*COLUMNS, "tradable", "time", "segment")}
    pool = [first, replace(second, **columns)]  # the first is alone before and after: one regime, two blocks
    after = {draw(pool, seed, "blocks", 10**9)[0].volume[1, 0] for seed in range(12)}
    assert after == {1, 200}


def test_blocks_of_one_bar_are_bars(candles):
    old = candles(2, ROWS)
    assert draw([old], 5, "blocks", 1)[0].fingerprint == draw([old], 5)[0].fingerprint


def test_a_planted_momentum_is_gone():
    rng = np.random.default_rng(0)
    shocks, returns = rng.normal(0, 0.01, 5000), np.zeros(5000)
    for t in range(1, 5000):
        returns[t] = 0.5 * returns[t - 1] + shocks[t]
    old = one_asset(returns)
    assert autocorrelation(log_moves(old)[:, 0]) > 0.45
    for seed in range(5):
        (new,) = draw([old], seed)
        assert abs(autocorrelation(log_moves(new)[:, 0])) < 4 / np.sqrt(5000)


def test_blocks_keep_clusters_of_volatility_that_bars_break():
    rng = np.random.default_rng(0)
    returns, variance = np.zeros(5000), 1e-4
    for t in range(5000):  # GARCH(1, 1) of persistence 0.97 and unconditional deviation 1 %
        returns[t] = np.sqrt(variance) * rng.normal()
        variance = 3e-6 + 0.15 * returns[t] ** 2 + 0.82 * variance
    old = one_asset(returns)
    clusters = {kind: autocorrelation(np.abs(log_moves(draw([old], 1, kind)[0])[:, 0])) for kind in KINDS}
    assert abs(clusters["bars"]) < 4 / np.sqrt(5000)
    assert clusters["blocks"] > 0.7 * autocorrelation(np.abs(returns)) > 8 / np.sqrt(5000)


def test_correlation_of_assets_stays():
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.01, (2000, 1)) + rng.normal(0, 0.005, (2000, 2))
    first, second = (one_asset(column) for column in returns.T)
    new = [log_moves(each)[:, 0] for each in draw([first, second])]
    assert np.isclose(np.corrcoef(new)[0, 1], np.corrcoef(returns.T)[0, 1], atol=1e-9)


@pytest.mark.parametrize(("bar_ms", "bars"), [(7 * DAY_MS, 20), (DAY_MS, 20), (4 * HOUR_MS, 20), (HOUR_MS, 24)])
def test_a_block_is_at_least_a_day_and_20_bars(candles, bar_ms, bars):
    assert default_block([candles(1, 1000, bar_ms=bar_ms)]) == bars


def test_what_makes_no_permutation_is_refused_by_name(candles):
    with pytest.raises(InputError, match="at least one part"):
        draw([])
    with pytest.raises(InputError, match="one length"):
        draw([candles(), candles(bar_ms=DAY_MS)])
    with pytest.raises(InputError, match="kind days"):
        draw([candles()], kind="days")
    with pytest.raises(InputError, match="block 0"):
        draw([candles()], kind="blocks", block=0)
    with pytest.raises(InputError, match="block 5: allowed for kind blocks"):
        draw([candles()], kind="bars", block=5)


@pytest.mark.parametrize("kind", KINDS)
def test_real_pool_of_coins_with_their_own_first_days(data_folder, kind):
    def load(symbol):
        return check_candles(load_candles("files", SourceRequest((symbol,), (str(data_folder / "daily"),))))[0]

    pool = [load(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
    for old, new in zip(pool, draw(pool, 1, kind), strict=True):
        assert np.allclose(new.close[[0, -1]], old.close[[0, -1]], rtol=1e-9, atol=0)
        assert np.all(new.high >= np.maximum(new.open, new.close))
        assert np.all((new.low > 0) & (new.low <= np.minimum(new.open, new.close)))
        assert np.array_equal(np.sort(new.volume, axis=0), np.sort(old.volume, axis=0))
        assert np.isfinite(new.high).all()


def test_real_hours_keep_their_segments(data_folder):
    request = SourceRequest(("BTC-USD", "ETHUSDT"), (str(data_folder / "spot"),))
    old, _ = check_candles(load_candles("files", request))
    (new,) = draw([old])
    end = np.flatnonzero(np.diff(old.segment, append=-1))
    assert len(end) == 3
    assert np.allclose(new.close[end], old.close[end], rtol=1e-9, atol=0)
    assert np.array_equal((~new.tradable).sum(axis=0), (~old.tradable).sum(axis=0))
