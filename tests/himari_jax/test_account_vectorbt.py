"""The account is what another engine says on real hours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accounts import HOUR_MS, play

from himari_jax.account import Costs
from himari_jax.checking.candles import check_candles
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest


@pytest.fixture(scope="module")
def real(data_folder):
    """The last 17,520 hours of three coins as `check_candles` lays them out, without the gaps."""
    symbols = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
    raws = load_candles("files", SourceRequest(symbols, (str(data_folder / "spot"),), HOUR_MS, False, None))
    return check_candles(raws)[0].close[-17_520:]


def from_orders(close, target, rate, **options):
    """Equity (T,) of vectorbt after the order of each bar."""
    vectorbt = pytest.importorskip("vectorbt")
    import pandas as pd

    portfolio = vectorbt.Portfolio.from_orders(
        pd.DataFrame(close),
        pd.DataFrame(target),
        size_type="targetpercent",
        fees=rate,
        init_cash=100_000,
        direction="longonly",
        freq="1h",
        **options,
    )
    return np.asarray(portfolio.value()).reshape(-1) / 100_000


def after_each_order(close, target, rate, dtype):
    """Equity (T - 1,) after the order at the close of each bar, and |log equity|, by `play`."""
    to_mark = close[1:] / close[:-1] - 1
    rows = (jnp.asarray(x, dtype) for x in (target[:-1], np.zeros_like(to_mark), to_mark))
    account, trade = play(*rows, jnp.ones(to_mark.shape, bool), Costs(dtype(rate), dtype(0)))
    before = np.concatenate([[0.0], np.asarray(account.log_equity, np.float64)[:-1]])
    return before + np.log1p(-np.asarray(trade.cost, np.float64))


@pytest.mark.parametrize(
    ("assets", "most", "options"),
    [
        (1, 0.95, {}),
        (1, 1.0, {}),
        (3, 0.95, {"cash_sharing": True, "group_by": True, "call_seq": "auto"}),
    ],
    ids=["one asset", "one asset, cash limit binds", "three assets"],
)
def test_equals_vectorbt_on_real_hours(real, assets, most, options):
    close = real[:, :assets]
    rng = np.random.default_rng(assets)
    target = rng.dirichlet(np.ones(assets), len(close)) * np.minimum(1.3 * rng.random((len(close), 1)), most)
    # held for 24 bars in a row, so that the fees of 17,520 random orders do not eat the account
    target = target[np.arange(len(close)) // 24 * 24]
    theirs = np.log(from_orders(close, target, 1e-4, **options))[:-1]
    with jax.enable_x64(True):
        ours = after_each_order(close, target, 1e-4, jnp.float64)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    single = after_each_order(close, target, 1e-4, jnp.float32)
    near = np.abs(theirs) < 2
    assert near.mean() > 0.5
    np.testing.assert_allclose(single[near], theirs[near], rtol=0, atol=1e-5)
