"""The account: trade to a target, mark to market. Pure, relative to equity, for any number of assets.

State is relative, so float32 is enough at any price level. The same functions serve training,
validation, backtest and baselines; there is no second simulator.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Account(NamedTuple):
    """What is held, in shares of equity, as of the close of a bar."""

    weights: jax.Array  # (N,) drifted weights
    entry_ratio: jax.Array  # (N,) price / average entry price, fees excluded; 1 when flat
    log_equity: jax.Array  # () log of equity / initial equity


class Costs(NamedTuple):
    """What a trade costs and which trades are too small to make."""

    rate: jax.Array  # () commission + slippage, share of the traded value
    min_trade: jax.Array  # () smallest |change of weight| that is traded


class Trade(NamedTuple):
    """What one step did."""

    delta: jax.Array  # (N,) change of weights at the fill, after the cash limit
    held: jax.Array  # (N,) weights after the fill
    cost: jax.Array  # () share of equity at the fill
    worth: jax.Array  # (N,) positions at the mark, in units of equity at close[t]
    gain: jax.Array  # () simple return of equity from close to close
    log_return: jax.Array  # () its logarithm


def open_account(num_assets: int, dtype=jnp.float32) -> Account:
    """An account of cash: weights 0, entry ratios 1, log equity 0."""
    return Account(jnp.zeros(num_assets, dtype), jnp.ones(num_assets, dtype), jnp.zeros((), dtype))


def cash_limit(cash: jax.Array, bill: jax.Array) -> jax.Array:
    """Share of the buys that cash pays for: `k = min(1, cash / bill)`, 1 without buys."""
    return jnp.where(bill > cash, jnp.maximum(cash, 0) / jnp.where(bill > 0, bill, 1), 1)


def step_account(
    account: Account,
    target: jax.Array,
    to_fill: jax.Array,
    to_mark: jax.Array,
    tradable: jax.Array,
    costs: Costs,
) -> tuple[Account, Trade]:
    """Drift to the fill, trade towards the target, mark at the next close.

    With `r1 = sum(w f)` and `r2 = sum(held g) - cost`: equity grows by `(1 + r1)(1 + r2)`.
    Buys never make cash negative, and sells are never scaled.

    Inside, everything is in units of equity at close[t], so that the chain from weights to weights holds one division.

    Args:
        account: as of the close of bar t.
        target: (N,) weights wanted at the fill.
        to_fill: (N,) f = fill / close[t] - 1.
        to_mark: (N,) g = close[t+1] / fill - 1.
        tradable: (N,) bool, whether the fill can happen.
        costs: rate c and smallest trade.
    """
    rate, weights = costs.rate, account.weights
    drift = (weights * to_fill).sum(-1)
    equity, moved = 1 + drift, weights * (1 + to_fill)  # at the fill
    wanted = target * equity
    order = wanted - moved
    order = jnp.where(tradable & (jnp.abs(order) >= costs.min_trade * equity), order, 0)
    buy, sell = jnp.where(order > 0, order, 0), jnp.where(order < 0, -order, 0)
    cash = 1 - weights.sum(-1) + (1 - rate) * sell.sum(-1)
    traded = cash_limit(cash, (1 + rate) * buy.sum(-1)) * buy - sell
    kept = jnp.where(order < 0, wanted, moved + traded)  # a sale reaches its target without a rest
    paid = rate * jnp.abs(traded).sum(-1)
    gain = drift + (kept * to_mark).sum(-1) - paid
    worth, log_return = kept * (1 + to_mark), jnp.log1p(gain)

    bought = jnp.where(traded > 0, weights / account.entry_ratio + traded, 1)  # at entry prices
    ratio = jnp.where(traded > 0, kept / bought, account.entry_ratio * (1 + to_fill))
    after = Account(
        weights=worth / (1 + gain),
        entry_ratio=jnp.where(kept > 0, ratio * (1 + to_mark), 1),
        log_equity=account.log_equity + log_return,
    )
    held = jnp.where(order < 0, target, kept / equity)
    return after, Trade(traded / equity, held, paid / equity, worth, gain, log_return)


def liquidated_gain(trade: Trade, rate: jax.Array) -> jax.Array:
    """Simple return of the bar where everything is sold at the mark: `gain - c sum(worth)`."""
    return trade.gain - rate * trade.worth.sum(-1)


def account_features(account: Account) -> jax.Array:
    """Position, entry distance, unrealised P&L and allocation of each asset, (N, 4); 0 when flat."""
    weights, ratio = account.weights, account.entry_ratio
    held = weights > 0
    gross = weights.sum(-1, keepdims=True)
    columns = (
        weights,
        jnp.where(held, ratio - 1, 0),
        jnp.where(held, weights * (1 - 1 / ratio), 0),
        weights / jnp.where(gross > 0, gross, 1),
    )
    return jnp.stack(columns, axis=-1)
