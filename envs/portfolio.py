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
    log_return: jax.Array  # () log return of equity from close to close


def open_account(num_assets: int, dtype=jnp.float32) -> Account:
    """An account of cash: weights 0, entry ratios 1, log equity 0."""
    return Account(jnp.zeros(num_assets, dtype), jnp.ones(num_assets, dtype), jnp.zeros((), dtype))


def cash_limit(weights: jax.Array, buy: jax.Array, sell: jax.Array, rate: jax.Array) -> jax.Array:
    """Share of the buys that cash pays for.

    `k = min(1, (1 - sum(w) + (1 - c) sum(sell)) / ((1 + c) sum(buy)))`, 1 without buys.
    """
    cash = 1 - weights.sum(-1) + (1 - rate) * sell.sum(-1)
    wanted = (1 + rate) * buy.sum(-1)
    return jnp.where(wanted > 0, jnp.clip(cash / jnp.where(wanted > 0, wanted, 1), 0, 1), 1)


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

    Args:
        account: as of the close of bar t.
        target: (N,) weights wanted at the fill.
        to_fill: (N,) f = fill / close[t] - 1.
        to_mark: (N,) g = close[t+1] / fill - 1.
        tradable: (N,) bool, whether the fill can happen.
        costs: rate and smallest trade.
    """
    drift = (account.weights * to_fill).sum(-1)
    weights = account.weights * (1 + to_fill) / (1 + drift)
    ratio = account.entry_ratio * (1 + to_fill)

    wanted = target - weights
    wanted = jnp.where(tradable & (jnp.abs(wanted) >= costs.min_trade), wanted, 0)
    buy, sell = jnp.maximum(wanted, 0), jnp.maximum(-wanted, 0)
    delta = cash_limit(weights, buy, sell, costs.rate) * buy - sell
    held = jnp.where(sell > 0, target, weights + delta)  # a sale reaches its target without a rest
    cost = costs.rate * jnp.abs(delta).sum(-1)

    entry_value = weights / ratio + jnp.maximum(delta, 0)
    ratio = jnp.where(delta > 0, held / jnp.where(delta > 0, entry_value, 1), ratio)
    gain = (held * to_mark).sum(-1) - cost
    log_return = jnp.log1p(drift) + jnp.log1p(gain)
    after = Account(
        weights=held * (1 + to_mark) / (1 + gain),
        entry_ratio=jnp.where(held > 0, ratio * (1 + to_mark), 1),
        log_equity=account.log_equity + log_return,
    )
    return after, Trade(delta, held, cost, log_return)


def liquidation_return(account: Account, rate: jax.Array) -> jax.Array:
    """Log return of selling everything at the mark: `log1p(-c sum(w))`."""
    return jnp.log1p(-rate * account.weights.sum(-1))


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
