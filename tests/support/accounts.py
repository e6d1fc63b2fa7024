"""Random candles, the account over many bars, and one of units and cash to compare with."""

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.account import open_account, step_account
from himari_jax.candles import Candles

HOUR_MS = 3_600_000
START_MS = 1_577_836_800_000  # 2020-01-01T00:00Z


def make_candles(num_assets: int = 1, rows: int = 1000, seed: int = 0, bar_ms: int = HOUR_MS) -> Candles:
    """Random walks of 1 % a bar with opens that leave the previous close, highs and lows around both."""
    rng = np.random.default_rng(seed)
    shape = (rows, num_assets)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    before = np.concatenate([close[:1], close[:-1]])
    opens = before * np.exp(rng.normal(0, 0.003, shape))
    return Candles(
        symbols=tuple("ABCDEFGH"[:num_assets]),
        bar_ms=bar_ms,
        calendar="continuous",
        time=START_MS + bar_ms * np.arange(rows, dtype=np.int64),
        open=opens,
        high=np.maximum(opens, close) * np.exp(rng.exponential(0.004, shape)),
        low=np.minimum(opens, close) * np.exp(-rng.exponential(0.004, shape)),
        close=close,
        volume=rng.lognormal(5, 1, shape),
        tradable=np.ones(shape, bool),
        segment=np.zeros(rows, np.int32),
    )


def keep_ledger(fill, mark, target, tradable, rate, min_trade=0.0, capital=1.0):
    """An account of units and cash, kept with prices alone: the reference of every account test.

    Args:
        fill: (L, N) prices of the trades.
        mark: (L, N) prices at which the bars end.
        target: (L, N) wanted shares of equity.
        tradable: (L, N) bool.
        rate: fee, share of the traded value.
        min_trade: smallest order, share of equity.
        capital: cash at the start.

    Returns:
        by name: `equity` (L,), `weights` and `entry_ratio` (L, N) at the marks, `cash` (L,) after the trades,
        `limited` (L,) whether cash cut the buys.
    """
    fill, mark, target, tradable = (np.asarray(x).tolist() for x in (fill, mark, target, tradable))
    assets = range(len(fill[0]))
    cash, units, entry = float(capital), [0.0 for _ in assets], [0.0 for _ in assets]
    pages = []
    for price, close, want, may in zip(fill, mark, target, tradable, strict=True):
        worth = cash + sum(units[n] * price[n] for n in assets)
        order = [want[n] * worth - units[n] * price[n] for n in assets]
        order = [order[n] if may[n] and abs(order[n]) >= min_trade * worth else 0.0 for n in assets]
        for n in assets:
            if order[n] < 0:
                sold = -order[n] / (units[n] * price[n])
                cash += -order[n] * (1 - rate)
                units[n] *= 1 - sold
        bill = sum(max(order[n], 0.0) for n in assets) * (1 + rate)
        share = min(1.0, max(cash, 0.0) / bill) if bill > 0 else 1.0
        for n in assets:
            if share * order[n] > 0:
                bought = share * order[n] / price[n]
                entry[n] = (units[n] * entry[n] + bought * price[n]) / (units[n] + bought)
                units[n] += bought
        cash -= share * bill
        equity = cash + sum(units[n] * close[n] for n in assets)
        weights = [units[n] * close[n] / equity for n in assets]
        ratio = [close[n] / entry[n] if units[n] > 0 else 1.0 for n in assets]
        pages.append((equity, weights, ratio, cash, share < 1))
    names = ("equity", "weights", "entry_ratio", "cash", "limited")
    return {name: np.array(column) for name, column in zip(names, zip(*pages, strict=True), strict=True)}


@jax.jit
def play(target, to_fill, to_mark, tradable, costs):
    """The account over (L, N) rows from cash: accounts after and trades of each row."""

    def bar(account, row):
        after, trade = step_account(account, *row, costs)
        return after, (after, trade)

    start = open_account(jnp.zeros(target.shape[-1], target.dtype))
    return jax.lax.scan(bar, start, (target, to_fill, to_mark, tradable))[1]
