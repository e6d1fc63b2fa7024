"""Laws of the caps and of the three base sizings."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from himari_jax.errors import InputError
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import SizingRules, cap_targets, constant_position, constant_position_on_cap

LAW = settings(max_examples=80, derandomize=True, deadline=None)
PRICES = ("open", "high", "low", "close")
batches = arrays(float, (4, 3), elements=st.floats(0, 2))
bases = arrays(float, (4, 3), elements=st.floats(0, 1))
caps = st.floats(0.05, 1)
grosses = st.floats(0.1, 2)


def with_returns(candles, returns):
    """Candles of one asset whose closes follow the simple returns (T - 1,)."""
    close = 100 * np.cumprod(np.concatenate([[1.0], 1 + np.asarray(returns)]))[:, None]
    return replace(candles(1, len(close)), **dict.fromkeys(PRICES, close))


@LAW
@given(batches, bases, caps, grosses)
def test_targets_respect_both_caps(multiplier, base, cap, gross):
    target = cap_targets(multiplier, base, cap, gross)
    assert (target >= 0).all()
    assert (target <= cap * (1 + 1e-15)).all()
    assert (target.sum(-1) <= gross * (1 + 1e-14)).all()


@LAW
@given(batches, bases, caps, grosses)
def test_targets_inside_the_caps_are_multiplier_times_base_to_the_bit(multiplier, base, cap, gross):
    wanted = multiplier * base
    free = (wanted <= cap).all(-1) & (wanted.sum(-1) <= gross)
    np.testing.assert_array_equal(cap_targets(multiplier, base, cap, gross)[free], wanted[free])


@LAW
@given(st.integers(1, 200), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_the_constant_base_lies_inside_both_caps_for_any_number_of_assets(assets, cap, gross):
    each = constant_position(SizingRules(max_position_pct=cap, max_gross=gross), assets)
    assert 0 < each < cap
    assert np.full(assets, each).sum() < gross


@LAW
@given(st.integers(1, 12), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_the_constant_base_is_that_of_before_where_its_sum_leaves_an_assets_share_free(assets, cap, gross):
    rules = SizingRules(max_position_pct=cap, max_gross=gross)
    if cap / 2 <= gross / (assets + 1):
        assert constant_position(rules, assets) == constant_position_on_cap(rules, assets) == cap / 2
    if assets <= 3:
        assert constant_position(SizingRules(), assets) == 0.25


@LAW
@given(batches, bases, caps, grosses)
def test_the_gross_cap_keeps_the_proportions(multiplier, base, cap, gross):
    alone = np.minimum(multiplier * base, cap)
    target = cap_targets(multiplier, base, cap, gross)
    np.testing.assert_allclose(target * alone[:, ::-1], target[:, ::-1] * alone, rtol=1e-12, atol=1e-15)
    over = alone.sum(-1) > gross
    np.testing.assert_allclose(target[over].sum(-1), gross, rtol=1e-14)


@LAW
@given(batches, bases, caps, grosses)
def test_numpy_and_jax_agree_on_the_caps(multiplier, base, cap, gross):
    rounded = [np.asarray(x, np.float32) for x in (multiplier, base, cap, gross)]
    ours = jax.jit(cap_targets)(*(jnp.asarray(x) for x in rounded))
    np.testing.assert_allclose(ours, cap_targets(*rounded), rtol=1e-6, atol=1e-7)
    one = cap_targets(jnp.asarray(rounded[0][0]), jnp.asarray(rounded[1][0]), *rounded[2:])
    np.testing.assert_allclose(one, ours[0], rtol=1e-6, atol=1e-7)


def test_caps_by_hand():
    # .5 * 2 = 1 is cut to .5; (.5, .5, .25) sums to 1.25 and a gross of 1 leaves (.4, .4, .2).
    target = cap_targets(np.array([2.0, 1.0, 0.5]), np.array([0.5, 0.5, 0.5]), 0.5, 1.0)
    np.testing.assert_allclose(target, [0.4, 0.4, 0.2], rtol=1e-15)


def test_a_flat_multiplier_has_a_finite_gradient():
    gradient = jax.grad(lambda m: cap_targets(m, jnp.full(3, 0.25), 0.5, 1.0).sum())(jnp.zeros(3))
    np.testing.assert_array_equal(gradient, [0.25] * 3)


@pytest.mark.parametrize(("assets", "expected"), [(1, 0.25), (3, 0.25), (4, 0.2)])
def test_constant_is_half_the_cap_or_less_than_an_equal_share_of_the_gross(candles, assets, expected):
    base = base_positions("constant", candles(assets, 10), SizingRules())
    assert base.shape == (10, assets)
    assert (base == expected).all()


def test_constant_at_multiplier_one_lies_inside_the_caps(candles):
    for assets in range(1, 9):
        rules = SizingRules(max_position_pct=0.7, max_gross=0.9)
        base = base_positions("constant", candles(assets, 1), rules)
        np.testing.assert_allclose(cap_targets(np.ones_like(base), base, 0.7, 0.9), base, rtol=1e-15)


def test_vol_target_by_hand(candles):
    # Returns of +-1 % each bar: sigma is .01, a year has 8760 bars: .20 / (.01 * sqrt(8760)) = .213688 for one asset.
    market = with_returns(candles, 0.01 * (-1.0) ** np.arange(500))
    assert base_positions("vol-target", market, SizingRules())[-1, 0] == pytest.approx(0.20 / (0.01 * 8760**0.5))
    # A last return of 5 % after 399 rows of 1 %, weights (1 - a)^i, a = 2/169, of which 399 returns lie in 400 rows:
    # sigma^2 = (.0025 + .0001 * sum_1^398 (1-a)^i) / sum_0^398 (1-a)^i
    market = with_returns(candles, [*(0.01 * (-1.0) ** np.arange(499)), 0.05])
    keep = 1 - 2 / 169
    total = (1 - keep**399) / (1 - keep)
    sigma = ((0.0025 + 0.0001 * (total - 1)) / total) ** 0.5
    assert base_positions("vol-target", market, SizingRules())[-1, 0] == pytest.approx(0.20 / (sigma * 8760**0.5))


def test_vol_target_forgets_a_return_that_leaves_the_400_rows(candles):
    # 400 rows hold 399 returns: the crash stands in row 101 and counts up to row 499.
    crash = np.where(np.arange(700) == 100, -0.5, 0.01 * (-1.0) ** np.arange(700))
    calm = np.where(np.arange(700) == 100, 0.01, crash)
    base = [
        base_positions("vol-target", with_returns(candles, r), SizingRules(max_position_pct=9)) for r in (crash, calm)
    ]
    np.testing.assert_allclose(base[0][500:], base[1][500:], rtol=1e-9)
    assert (base[0][101:500] < 0.99 * base[1][101:500]).all()


def test_vol_target_is_shared_among_assets_and_capped(candles):
    market = candles(1, 600, seed=1)
    pair = replace(market, symbols=("A", "B"), **{name: getattr(market, name).repeat(2, 1) for name in PRICES})
    rules = SizingRules(max_position_pct=0.9)
    one, two = (base_positions("vol-target", x, rules) for x in (market, pair))
    np.testing.assert_allclose(two[400:], one[400:].repeat(2, 1) / 2, rtol=1e-12)
    still = with_returns(candles, np.zeros(500))
    assert (base_positions("vol-target", still, SizingRules(max_position_pct=0.4)) == 0.4).all()
    assert (base_positions("vol-target", market, SizingRules(max_position_pct=0.1))[400:] <= 0.1).all()


FOREVER = {"kelly_half_life_days": np.inf}


def test_kelly_by_hand(candles):
    # Returns .02 and -.01, prior worth 4 bars of variance v = .6^2 / 8760, never forgets, c = 1.
    # n = 2, s1 = .01, s2 = .0005: E[mu] = .01/6; a - 1 = 2; b = 2 v + (.0005 - .0001/6) / 2; E[sigma^2] = b / 2.
    market = with_returns(candles, [0.02, -0.01])
    rules = SizingRules(max_position_pct=99, kelly_fraction=1, kelly_prior_bars=4, **FOREVER)
    v = 0.36 / 8760
    variance = (2 * v + (0.0005 - 0.0001 / 6) / 2) / 2
    expected = 0.01 / 6 / (variance * (1 + 1 / 6))
    assert base_positions("kelly", market, rules)[-1, 0] == pytest.approx(expected, rel=1e-12)
    assert base_positions("kelly", market, rules)[0, 0] == 0


def test_kelly_is_zero_without_evidence_and_never_short(candles):
    rules = SizingRules()
    assert (base_positions("kelly", with_returns(candles, np.zeros(900)), rules) == 0).all()
    assert (base_positions("kelly", with_returns(candles, np.full(900, -0.001)), rules) == 0).all()
    up = base_positions("kelly", with_returns(candles, np.full(3, 0.001)), rules)[1:, 0]
    assert (np.diff(up) > 0).all()
    assert up[0] < 0.02 * rules.max_position_pct + 0.01


def test_kelly_reaches_its_fraction_of_mu_over_variance_with_endless_data(candles):
    # Returns mu +- sigma in turn, mu .001, sigma .05: c mu / sigma^2 = .25 * .001 / .0025 = .1
    market = with_returns(candles, 0.001 + 0.05 * (-1.0) ** np.arange(200_000))
    base = base_positions("kelly", market, SizingRules(**FOREVER))[:, 0]
    assert base[-1] == pytest.approx(0.1, rel=0.01)
    assert abs(base[-1] - 0.1) < abs(base[20_000] - 0.1) < abs(base[2_000] - 0.1)


def test_kelly_forgets_towards_zero_by_its_half_life(candles):
    # 500 bars of +.2 % each, then nothing moves: after 30 half-lives of a day a billionth of the evidence is left.
    market = with_returns(candles, np.where(np.arange(500 + 30 * 24) < 500, 0.002, 0.0))
    rules = SizingRules(max_position_pct=99, kelly_half_life_days=1)
    base = base_positions("kelly", market, rules)[:, 0]
    assert base[500] > 0.1
    assert (np.diff(base[500:]) < 0).all()
    assert base[-1] < 1e-8 * base[500]


def test_kelly_does_not_take_a_gap_for_a_bar(candles):
    market = candles(1, 600, seed=3)
    close = market.close.copy()
    close[300:] *= 5  # the price after the gap
    segment = (np.arange(600) >= 300).astype(np.int32)
    apart = [
        base_positions("kelly", replace(market, close=x, segment=segment), SizingRules()) for x in (market.close, close)
    ]
    np.testing.assert_allclose(apart[0], apart[1], rtol=0, atol=1e-12)


def test_an_unknown_sizing_is_refused_with_the_names(candles):
    with pytest.raises(InputError, match="constant, vol-target, kelly"):
        base_positions("martingale", candles(1, 5), SizingRules())
