"""The account over many bars, and an account of units and cash in float64 that it is compared with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.account import Account, Costs, Trade, open_account, step_account


def keep_ledger(
    fill: Any, mark: Any, target: Any, tradable: Any, rate: float, min_trade: float = 0.0, capital: float = 1.0
) -> dict[str, np.ndarray]:
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
def play(
    target: jax.Array, to_fill: jax.Array, to_mark: jax.Array, tradable: jax.Array, costs: Costs
) -> tuple[Account, Trade]:
    """The account over (L, N) rows from cash: accounts after and trades of each row."""

    def bar(account: Account, row: tuple) -> tuple[Account, tuple[Account, Trade]]:
        target, to_fill, to_mark, may = row
        after, trade = step_account(account, target, to_fill, to_mark, may, costs)
        return after, (after, trade)

    start = open_account(jnp.zeros(target.shape[-1], target.dtype))
    return jax.lax.scan(bar, start, (target, to_fill, to_mark, tradable))[1]
