"""The account: trade to a target, mark to market. Pure, relative to equity, for any number of assets.

State is relative, so float32 is enough at any price level. The same functions serve training, validation, backtest,
baselines, server and peers; there is no second simulator. They work on numpy and on jax arrays: an array names its
own functions by `__array_namespace__` (Python array API standard).
"""

from typing import Any, NamedTuple

Array = Any  # of numpy or jax; `...` stands for axes of accounts side by side


class Account(NamedTuple):
    """State of an account at the close of a bar, relative to equity."""

    weights: Array  # (..., N) drifted weights
    entry_ratio: Array  # (..., N) price / average entry price, fees excluded; 1 when flat
    log_equity: Array  # (...) log of equity / initial equity


class Costs(NamedTuple):
    """Transaction costs, and the smallest trade that is made."""

    rate: Array  # () commission + slippage, share of the traded value
    min_trade: Array  # () smallest |change of weight| that is traded


class Trade(NamedTuple):
    """Result of one step of the account: the trade, its cost and the return of the bar."""

    delta: Array  # (..., N) change of weights at the fill, after the cash limit
    held: Array  # (..., N) weights after the fill
    cost: Array  # (...) share of equity at the fill
    worth: Array  # (..., N) positions at the mark, in units of equity at close[t]
    gain: Array  # (...) simple return of equity from close to close
    log_return: Array  # (...) its logarithm


def open_account(weights: Array) -> Account:
    """An account of cash: weights 0, entry ratios 1, log equity 0.

    Args:
        weights: (..., N) zeros, which say shape, type and library.
    """
    xp = weights.__array_namespace__()
    return Account(weights, xp.ones_like(weights), xp.zeros_like(weights[..., 0]))


def cash_limit(cash: Array, bill: Array) -> Array:
    """Share of the buys that cash pays for: `k = min(1, cash / bill)`, 1 without buys."""
    xp = cash.__array_namespace__()
    return xp.where(bill > cash, xp.maximum(cash, 0) / xp.where(bill > 0, bill, 1), 1)


def step_account(
    account: Account, target: Array, to_fill: Array, to_mark: Array, tradable: Array, costs: Costs
) -> tuple[Account, Trade]:
    """Drift to the fill, trade towards the target, mark at the next close.

    With `r1 = sum(w f)` and `r2 = sum(held g) - cost`: equity grows by `(1 + r1)(1 + r2)`.
    Buys never make cash negative, and sells are never scaled.

    Inside, everything is in units of equity at close[t], so that the chain from weights to weights holds one division.

    Args:
        account: as of the close of bar t.
        target: (..., N) weights wanted at the fill.
        to_fill: (..., N) f = fill / close[t] - 1.
        to_mark: (..., N) g = close[t+1] / fill - 1.
        tradable: (..., N) bool, whether the fill can happen.
        costs: rate c and smallest trade.
    """
    rate, weights = costs.rate, account.weights
    xp = weights.__array_namespace__()
    drift = (weights * to_fill).sum(-1)
    equity, moved = per_asset(1 + drift), weights * (1 + to_fill)  # at the fill
    wanted = target * equity
    order = wanted - moved
    order = xp.where(tradable & (xp.abs(order) >= costs.min_trade * equity), order, 0)
    buy, sell = xp.where(order > 0, order, 0), xp.where(order < 0, -order, 0)
    cash = 1 - weights.sum(-1) + (1 - rate) * sell.sum(-1)
    traded = per_asset(cash_limit(cash, (1 + rate) * buy.sum(-1))) * buy - sell
    kept = xp.where(order < 0, wanted, moved + traded)  # a sale reaches its target without a rest
    paid = rate * xp.abs(traded).sum(-1)
    gain = drift + (kept * to_mark).sum(-1) - paid
    worth, log_return = kept * (1 + to_mark), xp.log1p(gain)

    bought = xp.where(traded > 0, weights / account.entry_ratio + traded, 1)  # at entry prices
    ratio = xp.where(traded > 0, kept / bought, account.entry_ratio * (1 + to_fill))
    after = Account(
        weights=worth / per_asset(1 + gain),
        entry_ratio=xp.where(kept > 0, ratio * (1 + to_mark), 1),
        log_equity=account.log_equity + log_return,
    )
    held = xp.where(order < 0, target, kept / equity)
    return after, Trade(traded / equity, held, paid / (1 + drift), worth, gain, log_return)


def per_asset(x: Array) -> Array:
    """Adds an axis of assets to a number of each account, (...) -> (..., 1); a single account broadcasts as is."""
    return x[..., None] if x.ndim else x


def liquidated_gain(trade: Trade, rate: Array) -> Array:
    """Simple return of the bar where everything is sold at the mark: `gain - c sum(worth)`."""
    return trade.gain - rate * trade.worth.sum(-1)
