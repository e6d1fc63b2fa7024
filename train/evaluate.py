"""Evaluation: one pass over the decision rows of a span, in one scan, for policies and for given weights.

The account is the one that training uses; ruin is off. A stretch starts from cash with a fresh memory and
ends in cash: its last bar sells everything at the mark, with cost.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market
from envs.portfolio import Account, Costs, liquidation_return, open_account, step_account
from envs.trading import EnvParams, assemble_observation
from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Policy, act, squash
from himari_jax.sizing import cap_targets
from himari_jax.splits import Stretches, decision_rows


class Tape(NamedTuple):
    """The rows of a span in order, L of them."""

    market: Market  # leaves (L, ...)
    first: jax.Array  # (L,) bool, first row of a stretch
    last: jax.Array  # (L,) bool, last row of a stretch


class Path(NamedTuple):
    """What happened to one account; leaves of numpy or jax arrays."""

    multiplier: Any  # (L, N) what the policy said; target / base does not exist for weights: ones
    held: Any  # (L, N) weights after the fill
    delta: Any  # (L, N) traded weights
    cost: Any  # (L,) share of equity at the fill, liquidation included
    pnl: Any  # (L, N) earned by each asset, costs included, in shares of equity at the start of the bar
    log_return: Any  # (L,) of equity, liquidation included

    @property
    def returns(self) -> np.ndarray:
        """Simple returns per bar, (..., L), float64."""
        return np.expm1(np.asarray(self.log_return, np.float64))


def make_tape(market: Market, span: Stretches) -> Tape:
    """Cuts the rows of a span out of the market, on the host or the device."""
    rows = decision_rows(span)
    first = np.isin(rows, [start for start, _ in span])
    last = np.isin(rows, [stop - 1 for _, stop in span])
    return Tape(jax.tree.map(lambda x: x[rows], market), jnp.asarray(first), jnp.asarray(last))


def play_bar(account: Account, target: jax.Array, tape: Tape, trade: jax.Array, costs: Costs) -> tuple[Account, Path]:
    """One bar of one account; `tape` is one row of it."""
    market = tape.market
    drift = (account.weights * market.to_fill).sum(-1)
    may = market.tradable & trade
    after, done = step_account(account, target, market.to_fill, market.to_mark, may, costs)
    sale = jnp.where(tape.last, liquidation_return(after, costs.rate), 0)
    paid = costs.rate * jnp.abs(done.delta)
    gained = done.held * market.to_mark - paid
    sold = jnp.where(tape.last, costs.rate * done.held * (1 + market.to_mark), 0)
    path = Path(
        multiplier=jnp.ones_like(target),
        held=done.held,
        delta=done.delta,
        cost=paid.sum(-1) + sold.sum(-1),
        pnl=account.weights * market.to_fill + (1 + drift) * (gained - sold),
        log_return=done.log_return + sale,
    )
    return after._replace(log_equity=after.log_equity + sale), path


def fresh_where(first: jax.Array, account: Account) -> Account:
    """Cash at the first row of a stretch; equity is chained."""
    cash = open_account(account.weights.shape[-1], account.weights.dtype)
    weights, ratio = (jnp.where(first, new, old) for new, old in zip(cash[:2], account[:2], strict=True))
    return Account(weights, ratio, account.log_equity)


@partial(jax.jit, static_argnums=0)
def run_policy(policy: Policy, variables: dict, tape: Tape, params: EnvParams) -> Path:
    """The deterministic policy over a tape; leaves (K, L, ...) for the K seeds of `variables`."""
    caps = (params.max_position_pct, params.max_gross)

    def one(variables: dict) -> Path:
        def bar(state: tuple[Account, Any], row: Tape) -> tuple[tuple[Account, Any], Path]:
            account, carry = state
            account = fresh_where(row.first, account)
            carry = reset_carry(carry, row.first[None])
            obs = assemble_observation(row.market.features, row.market.corr, account)
            carry, output = act(policy, variables, carry, obs[None])
            multiplier = squash(output.mean[0])
            target = cap_targets(multiplier, row.market.base, *caps)
            account, path = play_bar(account, target, row, jnp.bool_(True), params.costs)
            return (account, carry), path._replace(multiplier=multiplier)

        start = (open_account(policy.num_assets), policy.initial_carry(1))
        return jax.lax.scan(bar, start, tape)[1]

    return jax.vmap(one)(variables)


@jax.jit
def run_weights(targets: jax.Array, trade: jax.Array, tape: Tape, costs: Costs) -> Path:
    """Given target weights over a tape, without caps; leaves (K, L, ...).

    Args:
        targets: (K, L, N) wanted weights, long only, sum <= 1.
        trade: (K, L, N) bool, whether an order is given.
        tape: the rows.
        costs: of the account.
    """

    def one(targets: jax.Array, trade: jax.Array) -> Path:
        def bar(account: Account, inputs: tuple[Tape, jax.Array, jax.Array]) -> tuple[Account, Path]:
            row, target, order = inputs
            return play_bar(fresh_where(row.first, account), target, row, order, costs)

        start = open_account(targets.shape[-1], targets.dtype)
        return jax.lax.scan(bar, start, (tape, targets, trade))[1]

    return jax.vmap(one)(targets, trade)


def member(path: Path, k: int) -> Path:
    """The k-th account of a batch, as numpy arrays."""
    return Path(*(np.asarray(leaf[k]) for leaf in path))
