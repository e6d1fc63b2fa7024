"""Laws of the account: what a plain ledger says, what no trade may do, numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accounts import play
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.market import align_prices
from himari_jax.account import Account, Costs, liquidated_gain, open_account, step_account
from himari_jax.features.observation import account_features

LAW = settings(max_examples=60, derandomize=True, deadline=None)


def play64(target, to_fill, to_mark, tradable=None, rate=0.001, min_trade=0.0):
    """`play` in float64, numpy in and out."""
    tradable = np.ones(target.shape, bool) if tradable is None else tradable
    with jax.enable_x64(True):
        floats = (jnp.asarray(x, jnp.float64) for x in (target, to_fill, to_mark))
        costs = Costs(jnp.float64(rate), jnp.float64(min_trade))
        return jax.tree.map(np.asarray, play(*floats, jnp.asarray(tradable), costs))


step32 = jax.jit(step_account)


def step64(weights, target, to_fill=None, to_mark=None, tradable=None, ratio=None, rate=0.001, min_trade=0.0):
    """One step in float64 from given weights; what is not given moves nothing and may trade."""
    weights = np.asarray(weights, float)
    nothing = np.zeros_like(weights)
    tradable = np.ones(weights.shape, bool) if tradable is None else tradable
    rows = (target, nothing if to_fill is None else to_fill, nothing if to_mark is None else to_mark)
    with jax.enable_x64(True):
        account = Account(
            jnp.asarray(weights, jnp.float64),
            jnp.asarray(nothing + 1 if ratio is None else ratio, jnp.float64),
            jnp.zeros((), jnp.float64),
        )
        costs = Costs(jnp.float64(rate), jnp.float64(min_trade))
        floats = (jnp.asarray(x, jnp.float64) for x in rows)
        return jax.tree.map(np.asarray, step32(account, *floats, jnp.asarray(tradable), costs))


def shares(rng, rows, assets):
    """Long-only targets (L, N): a third with a gross of 1, where fees do not fit in; many zeros."""
    gross = np.where(rng.random(rows) < 1 / 3, 1.0, rng.random(rows))
    split = rng.dirichlet(np.ones(assets), rows) * (rng.random((rows, assets)) < 0.7)
    return split / np.maximum(split.sum(1, keepdims=True), 1e-9) * gross[:, None]


def prices(candles):
    """Fill and mark prices (T - 1, N) of next-open trades."""
    return candles.open[1:], candles.close[1:]


moves = arrays(float, 3, elements=st.floats(-0.4, 0.6))
fractions = arrays(float, 3, elements=st.floats(0, 1))
flags = arrays(bool, 3)
rates = st.sampled_from([0.0, 0.0005, 0.001, 0.05])


@st.composite
def holdings(draw):
    """Weights of up to the whole equity."""
    part = draw(fractions)
    return part / max(1.0, part.sum())


@pytest.mark.parametrize("assets", [1, 3])
@pytest.mark.parametrize(("rate", "min_trade"), [(0.0, 0.0), (0.001, 0.0), (0.01, 0.05)])
def test_the_account_equals_a_ledger_of_units_and_cash(candles, ledger, assets, rate, min_trade):
    market = candles(assets, 2001, seed=assets)
    rng = np.random.default_rng(7)
    target, tradable = shares(rng, 2000, assets), rng.random((2000, assets)) < 0.9
    to_fill, to_mark, _ = align_prices(market, "next-open")
    account, _ = play64(target, to_fill[:-1], to_mark[:-1], tradable, rate, min_trade)
    pages = ledger(*prices(market), target, tradable, rate, min_trade)
    assert rate == 0 or pages["limited"].sum() > 100
    np.testing.assert_allclose(account.log_equity, np.log(pages["equity"]), rtol=0, atol=1e-10)
    np.testing.assert_allclose(account.weights, pages["weights"], rtol=0, atol=1e-12)
    held = pages["weights"] > 1e-9  # what cash of 1e-17 buys has an entry price in one of them alone
    np.testing.assert_allclose(account.entry_ratio[held], pages["entry_ratio"][held], rtol=1e-11)


def test_float32_follows_the_ledger_to_1e_5(candles, ledger):
    market = candles(3, 5001, seed=5)
    target = shares(np.random.default_rng(5), 5000, 3)
    to_fill, to_mark, tradable = align_prices(market, "next-open")
    rows = (jnp.asarray(x[:5000], jnp.float32) for x in (target, to_fill, to_mark))
    account, _ = play(*rows, jnp.asarray(tradable[:5000]), Costs(jnp.float32(1e-4), jnp.float32(0)))
    log_equity = np.log(ledger(*prices(market), target, tradable[:5000], 1e-4)["equity"])
    near = np.abs(log_equity) < 2
    assert near.sum() > 1000
    np.testing.assert_allclose(account.log_equity[near], log_equity[near], rtol=0, atol=1e-5)


@LAW
@given(holdings(), fractions, moves, flags, rates, st.sampled_from([0.0, 0.1]))
def test_buys_never_make_cash_negative(weights, target, to_fill, tradable, rate, min_trade):
    target = target / max(1.0, target.sum())
    _, trade = step64(weights, target, to_fill, None, tradable, rate=rate, min_trade=min_trade)
    assert 1 - trade.held.sum() - trade.cost >= -1e-14
    assert (trade.held >= -1e-15).all()


def test_a_sale_of_everything_leaves_exactly_nothing():
    # A rest of 1e-9 would be an allocation of 1 and keep the entry price of a position that is gone.
    rng = np.random.default_rng(0)
    nothing, costs = jnp.zeros(3), Costs(jnp.float32(0.001), jnp.float32(0))
    for weights, to_fill in zip(rng.dirichlet(np.ones(4), 50)[:, :3], rng.normal(0, 0.01, (50, 3)), strict=True):
        account = Account(jnp.asarray(weights, jnp.float32), jnp.full(3, 1.25), jnp.zeros(()))
        after, _ = step32(account, nothing, jnp.asarray(to_fill, jnp.float32), nothing, nothing == 0, costs)
        np.testing.assert_array_equal(after.weights, np.zeros(3))
        np.testing.assert_array_equal(account_features(*after[:2]), np.zeros((3, 4)))


@LAW
@given(holdings(), fractions, moves, rates)
def test_sells_reach_their_target_whatever_cash_says(weights, target, to_fill, rate):
    target = target / max(1.0, target.sum())
    _, trade = step64(weights, target, to_fill, rate=rate)
    drifted = weights * (1 + to_fill) / (1 + weights @ to_fill)
    down = target < drifted
    np.testing.assert_allclose(trade.held[down], target[down], rtol=0, atol=1e-15)
    assert (trade.held[~down] <= target[~down] + 1e-15).all()


@LAW
@given(holdings(), fractions, moves, moves, flags, rates)
def test_what_is_not_tradable_is_not_traded(weights, target, to_fill, to_mark, tradable, rate):
    target = target / max(1.0, target.sum())
    after, trade = step64(weights, target, to_fill, to_mark, tradable, rate=rate)
    assert (trade.delta[~tradable] == 0).all()
    if not tradable.any():  # then only prices move the account
        worth = 1 - weights.sum() + weights @ ((1 + to_fill) * (1 + to_mark))
        assert after.log_equity == pytest.approx(np.log(worth), abs=1e-13)
        assert trade.cost == 0


@LAW
@given(holdings(), fractions, moves, moves, flags, rates, st.permutations(range(3)))
def test_the_order_of_the_assets_changes_nothing(weights, target, to_fill, to_mark, tradable, rate, order):
    target = target / max(1.0, target.sum())
    rows = (weights, target, to_fill, to_mark, tradable)
    here = step64(*rows, rate=rate)
    there = step64(*(x[order] for x in rows), rate=rate)
    (here, trade), (there, other) = here, there
    pairs = [(here.weights, there.weights), (trade.delta, other.delta), (trade.held, other.held)]
    held = trade.held[order] > 1e-12  # a rest of nothing has no entry price
    pairs.append((np.where(held, here.entry_ratio[order], 0)[np.argsort(order)], np.where(held, there.entry_ratio, 0)))
    for a, b in pairs:
        np.testing.assert_allclose(a[order], b, rtol=1e-12, atol=1e-15)
    assert here.log_equity == pytest.approx(there.log_equity, rel=1e-12, abs=1e-15)
    assert trade.cost == pytest.approx(other.cost, rel=1e-12, abs=1e-15)


def test_the_unit_of_prices_changes_nothing(candles):
    market = candles(2, 300, seed=1)
    scaled = {name: getattr(market, name) * np.array([1e-7, 3e5]) for name in ("open", "high", "low", "close")}
    for here, there in zip(
        align_prices(market, "next-open"),
        align_prices(type(market)(**{**vars(market), **scaled}), "next-open"),
        strict=True,
    ):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-14)


def test_a_trade_smaller_than_min_trade_is_not_made_and_one_as_large_is():
    # from (.25, .25, .25): wanted changes are +.0625, -.125, +.125 at a smallest trade of .125
    _, trade = step64([0.25] * 3, [0.3125, 0.125, 0.375], min_trade=0.125)
    np.testing.assert_allclose(trade.delta, [0, -0.125, 0.125], rtol=0, atol=1e-15)


def higher_fee_is_never_richer(target, moves, tradable, low, high):
    to_fill, to_mark = moves
    poor, _ = play64(target, to_fill, to_mark, tradable, high)
    rich, _ = play64(target, to_fill, to_mark, tradable, low)
    assert (poor.log_equity <= rich.log_equity + 1e-12).all()


wild = arrays(float, (2, 12, 1), elements=st.floats(-0.4, 0.6))


@LAW
@given(
    arrays(float, (12, 1), elements=st.floats(0, 1)),
    wild,
    arrays(bool, (12, 1)),
    st.floats(0, 0.02),
    st.floats(0, 0.02),
)
def test_a_higher_fee_never_ends_richer_with_one_asset(target, moves, tradable, fee, more):
    # With equal targets and no smallest trade the account that pays more has neither more units nor more cash.
    higher_fee_is_never_richer(target, moves, tradable, fee, fee + more)


@LAW
@given(
    arrays(float, (12, 3), elements=st.floats(0, 0.3)),
    arrays(float, (2, 12, 3), elements=st.floats(-0.4, 0.6)),
    st.floats(0, 0.02),
    st.floats(0, 0.02),
)
def test_a_higher_fee_never_ends_richer_with_several_assets_that_trade_and_fit(target, moves, fee, more):
    # A gross of at most .9 leaves cash for fees up to 4 %. The law needs it, and needs every bar to trade: of two
    # accounts that differ in an asset which cannot be sold, the richer one buys more of the next asset to crash.
    higher_fee_is_never_richer(target, moves, None, fee, fee + more)


def test_entry_ratio_after_buy_add_sell_and_flat_by_hand():
    # Bar 1: cash buys .5 without fee, the price rises by a quarter: price / entry = 1.25,
    # equity 1.125, weight .625 / 1.125 = 5/9.
    first, _ = step64([0.0], [0.5], to_mark=[0.25], rate=0.0)
    assert first.entry_ratio[0] == pytest.approx(1.25)
    assert first.weights[0] == pytest.approx(5 / 9)
    # Bar 2: from 5/9 to 7/9 of equity at the same price. In units of the entry price 5/9 is worth (5/9)/1.25 = 4/9;
    # 4/9 + 2/9 = 6/9 were paid for 7/9: ratio 7/6. Then the price falls by a seventh: 7/6 * 6/7 = 1.
    more, _ = step64([5 / 9], [7 / 9], to_mark=[-1 / 7], ratio=[1.25], rate=0.0)
    assert more.entry_ratio[0] == pytest.approx(1.0)
    # A sale leaves the average entry alone: 1.25 before the fill, 10 % up at the fill, 20 % down to the mark.
    less, _ = step64([0.5], [0.2], to_fill=[0.1], to_mark=[-0.2], ratio=[1.25], rate=0.001)
    assert less.entry_ratio[0] == pytest.approx(1.25 * 1.1 * 0.8)
    flat, _ = step64([0.5], [0.0], to_fill=[0.1], to_mark=[-0.2], ratio=[1.25])
    assert flat.entry_ratio[0] == 1
    assert flat.weights[0] == 0


def test_the_fee_is_not_part_of_the_entry_price():
    # A fee of 5 % on a purchase of half the equity: bought at the fill, so price / entry is 1 at an unmoved mark.
    account, trade = step64([0.0], [0.5], rate=0.05)
    assert account.entry_ratio[0] == pytest.approx(1.0, abs=1e-15)
    assert trade.cost == pytest.approx(0.025)
    assert account.log_equity == pytest.approx(np.log(0.975))


def test_one_step_by_hand():
    # weights (.4, .2); prices move to the fill by +50 % and 0: equity 1.2, weights (.6, .2) / 1.2 = (.5, 1/6).
    # Target (.2, .6), fee 10 %: sell .3, want to buy 13/30.
    # Cash: 1 - 2/3 + .9 * .3 = 181/300; the buy costs 1.1 * 13/30 = 143/300: all of it fits.
    # cost = .1 * (.3 + 13/30) = 11/150; marks 0 and +25 %: gain = .6 * .25 - 11/150 = 23/300.
    # Equity 1.2 * 323/300 = 1.292; weights .2 / (323/300) = 60/323 and .75 / (323/300) = 225/323.
    account, trade = step64([0.4, 0.2], [0.2, 0.6], to_fill=[0.5, 0.0], to_mark=[0.0, 0.25], rate=0.1)
    np.testing.assert_allclose(trade.delta, [-0.3, 13 / 30])
    np.testing.assert_allclose(trade.cost, 11 / 150)
    np.testing.assert_allclose(np.exp(account.log_equity), 1.292)
    np.testing.assert_allclose(account.weights, [60 / 323, 225 / 323])


def test_the_cash_limit_scales_buys_together_by_hand():
    # Cash alone, target (.75, .25), fee 25 %: 1.25 * 1 is wanted, 1 is there: k = .8, held (.6, .2), cost .2, cash 0.
    account, trade = step64([0.0, 0.0], [0.75, 0.25], rate=0.25)
    np.testing.assert_allclose(trade.held, [0.6, 0.2])
    assert trade.cost == pytest.approx(0.2)
    np.testing.assert_allclose(account.weights, [0.75, 0.25])


def test_small_moves_keep_their_digits_in_float32():
    # Half the equity in a price that gains 2e-6: log(1 + 1e-6) = 1e-6 - 5e-13. 1 + 1e-6 in float32 is off by 5 %.
    after, _ = step32(
        Account(jnp.array([0.5]), jnp.ones(1), jnp.zeros(())),
        jnp.array([0.5]),
        jnp.zeros(1),
        jnp.array([2e-6]),
        jnp.array([True]),
        Costs(jnp.float32(0), jnp.float32(0)),
    )
    assert float(after.log_equity) == pytest.approx(1e-6 - 5e-13, rel=1e-6)


def test_liquidation_sells_all_at_the_mark_with_the_fee_by_hand():
    # .5 and .1 of equity rise by 10 % and 20 % to .55 and .12, equity to 1.07; a fee of 1 % of .67 is due.
    _, trade = step64([0.5, 0.1], [0.5, 0.1], to_mark=[0.1, 0.2], rate=0.01)
    assert trade.gain == pytest.approx(0.07)
    assert float(liquidated_gain(trade, 0.01)) == pytest.approx(0.07 - 0.0067)


def test_account_features_by_hand():
    # .3 bought at 1 / 1.2 of the price: paid .25, gained .05. .1 at 1 / .8: paid .125, lost .025. Nothing of the third.
    account = Account(jnp.array([0.3, 0.1, 0.0]), jnp.array([1.2, 0.8, 1.0]), jnp.zeros(()))
    expected = [[0.3, 0.2, 0.05, 0.75], [0.1, -0.2, -0.025, 0.25], [0, 0, 0, 0]]
    np.testing.assert_allclose(account_features(*account[:2]), expected, atol=1e-7)
    assert (account_features(*open_account(jnp.zeros(3))[:2]) == 0).all()
