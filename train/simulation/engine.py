"""Evaluation: accounts side by side over the decision rows of a span, in one scan, for policies and for given weights.

The account is the one that training uses; ruin is off. A stretch starts from cash with a fresh memory and
ends in cash: its last bar sells everything at the mark, with cost. So does a window, a part of the span.

A lane is one account's way: where it begins, how late it sees the market, what trading costs it. Lanes lie
along the last axis, which is what vector units like.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market, delayed
from himari_jax.account import Account, Costs, liquidated_gain, open_account, step_account
from himari_jax.candles import Candles
from himari_jax.observation import assemble
from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Policy, act, mean_action
from himari_jax.sizing import cap_targets
from himari_jax.splits import Stretches, decision_rows
from himari_jax.trees import select_tree

BATCH_BYTES = 2**26  # of the paths that are on the device at once
AXES: Any = cast(Any, Account)(-1, -1, -1)  # lanes are the last axis of every leaf of an account, and of a bar


class Tape(NamedTuple):
    """The decision rows of a span in order, L of them, and the market that they point into."""

    market: Market  # leaves (T, ...), as a policy sees it that is not late
    rows: jax.Array  # (L,) int32
    to_fill: jax.Array  # (L, N) of those rows, side by side, so that a window of them is one piece
    to_mark: jax.Array  # (L, N)
    tradable: jax.Array  # (L, N) bool
    seen: jax.Array  # (R, L) int32, rows whose features, correlations and base are seen, by delay
    first: jax.Array  # (L,) bool, first row of a stretch
    last: jax.Array  # (L,) bool, last row of a stretch


class Lanes(NamedTuple):
    """Accounts that are played side by side, B of them."""

    start: jax.Array  # (B,) int32, position on the tape
    delay: jax.Array  # (B,) int32, index into `Tape.seen`
    rate: jax.Array  # (B,) share of the traded value that a trade costs


class Limits(NamedTuple):
    """What may be held and traded, whatever the policy says."""

    max_position_pct: Any  # () largest weight of one asset
    max_gross: Any  # () largest sum of weights
    min_trade: Any  # () smallest |change of weight| that is traded

    @classmethod
    def of(cls, named: Any) -> "Limits":
        """Those of flags or of an environment's parameters, which have the same names."""
        return cls(*(jnp.float32(getattr(named, name)) for name in cls._fields))


class Bar(NamedTuple):
    """What one bar asks of an account and does to it."""

    target: jax.Array  # (N,) weights wanted
    to_fill: jax.Array  # (N,)
    to_mark: jax.Array  # (N,)
    may: jax.Array  # (N,) bool, whether an order is given and can be filled
    end: jax.Array  # () bool, the last bar of a stretch or window


class Path(NamedTuple):
    """What happened to B accounts over S bars; a leading axis (K,) where K policies were played."""

    multiplier: Any  # (S, N, B) of the policy; None for given weights
    held: Any  # (S, N, B) weights after the fill
    delta: Any  # (S, N, B) traded weights
    returns: Any  # (S, B) simple return of equity from close to close, liquidation included


class AccountHistory(NamedTuple):
    """What happened to one account over S bars, on the host."""

    multiplier: np.ndarray | None  # (S, N) of the policy, in [0, 2]; None where weights were given
    held: np.ndarray  # (S, N) weights after the fill
    delta: np.ndarray  # (S, N) traded weights
    cost: np.ndarray  # (S,) share of equity at the fill, liquidation included
    pnl: np.ndarray  # (S, N) earned by each asset, costs included, in shares of equity at the start of the bar
    returns: np.ndarray  # (S,) simple return of equity, liquidation included, float64
    given: np.ndarray | None = None  # (S, N) target weights of a strategy; None where a policy's multiplier made them

    @property
    def decision(self) -> np.ndarray:
        """What was decided at each row: the multiplier of a policy, the target weights of a strategy, (S, N)."""
        found = self.given if self.multiplier is None else self.multiplier
        assert found is not None
        return found

    @property
    def equity(self) -> np.ndarray:
        """Equity at each mark, 1.0 before the first, (S,)."""
        return np.cumprod(1 + self.returns)


def make_tape(market: Market, span: Stretches, candles: Candles | None = None, delays: Sequence[int] = (0,)) -> Tape:
    """Lays out the rows of a span.

    Args:
        market: arrays on the host or the device; they are not copied.
        span: stretches of decision rows.
        candles: of the market; needed for delays.
        delays: bars by which a policy may be late, on top of the market's own.
    """
    rows = decision_rows(span)
    everything = np.arange(len(market.base))
    seen = [delayed(everything, candles, d)[rows] if d and candles else rows for d in delays]
    first = np.isin(rows, [start for start, _ in span])
    last = np.isin(rows, [stop - 1 for _, stop in span])
    to_fill, to_mark, tradable = (jnp.asarray(x[rows]) for x in (market.to_fill, market.to_mark, market.tradable))
    known = jnp.asarray(np.stack(seen), jnp.int32)
    return Tape(market, jnp.asarray(rows), to_fill, to_mark, tradable, known, jnp.asarray(first), jnp.asarray(last))


def whole_span(tape: Tape, rate: Any) -> tuple[int, Lanes]:
    """Length and lane of one account over the whole tape, on time."""
    return len(tape.rows), make_lanes([0], [0], [rate])


def make_lanes(starts: Sequence[int], delays: Sequence[int], rates: Sequence[float]) -> Lanes:
    """Lanes of three columns of equal length; `delays` are indices into `Tape.seen`."""
    return Lanes(jnp.asarray(starts, jnp.int32), jnp.asarray(delays, jnp.int32), jnp.asarray(rates, jnp.float32))


def play_bar(account: Account, bar: Bar, costs: Costs) -> tuple[Account, tuple[jax.Array, jax.Array, jax.Array]]:
    """One bar of one account: held (N,), traded (N,), return (); at the end of a stretch or window all is sold."""
    after, done = step_account(account, *bar[:4], costs)
    return after, (done.held, done.delta, jnp.where(bar.end, liquidated_gain(done, costs.rate), done.gain))


play_lanes = jax.vmap(play_bar, (AXES, -1, cast(Any, Costs)(0, None)), (AXES, -1))


def fresh_where(first: jax.Array, account: Account) -> Account:
    """Cash at the first row of a stretch."""
    return select_tree(first, open_account(jnp.zeros_like(account.weights)), account)


@partial(jax.jit, static_argnums=(0, 1))
def run_policy(policy: Policy, steps: int, variables: dict, tape: Tape, lanes: Lanes, limits: Limits) -> Path:
    """Deterministic policies over windows of a tape, K of them on B lanes each; leaves (K, S, ...).

    Args:
        policy: the module.
        steps: S, bars of a window.
        variables: leaves (K, ...).
        tape: the rows.
        lanes: (B,) windows, delays, costs.
        limits: caps and smallest trade.
    """
    market, lots = tape.market, lanes.start.shape[0]
    refresh = jax.vmap(fresh_where, (0, AXES), AXES)
    observe = jax.vmap(assemble, (0, 0, -1, -1))
    costs = Costs(lanes.rate, limits.min_trade)

    def one(variables: dict) -> Path:
        def step(state: tuple[Account, Any], i: jax.Array) -> tuple[tuple[Account, Any], Path]:
            account, carry = state
            at = lanes.start + i
            seen, first = tape.seen[lanes.delay, at], tape.first[at]
            account, carry = refresh(first, account), reset_carry(carry, first)
            carry, output = act(
                policy, variables, carry, observe(market.features[seen], market.corr[seen], *account[:2])
            )
            multiplier = mean_action(output)
            target = cap_targets(multiplier, market.base[seen], limits.max_position_pct, limits.max_gross)
            moves = tape.to_fill[at].T, tape.to_mark[at].T
            bar = Bar(target.T, *moves, tape.tradable[at].T, (i == steps - 1) | tape.last[at])
            account, done = play_lanes(account, bar, costs)
            return (account, carry), Path(multiplier.T, *done)

        start = cash(policy.num_assets, lots, lanes.rate.dtype), policy.initial_carry(lots)
        return jax.lax.scan(step, start, jnp.arange(steps))[1]

    # One seed after the other is faster on a CPU, all at once on everything else.
    at_once = 1 if jax.default_backend() == "cpu" else jax.tree.leaves(variables)[0].shape[0]
    return jax.lax.map(one, variables, batch_size=at_once)


@jax.jit
def run_weights(targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array, costs: Costs) -> Path:
    """Given target weights over a window of a tape, without caps.

    Args:
        targets: (S, N, B) wanted weights, long only, sum <= 1.
        orders: (S, N, B) bool, whether an order is given; any axis may be 1.
        tape: the rows.
        start: () position on the tape at which the window begins.
        costs: rates (B,), smallest trade ().
    """
    inputs, step = replayed(targets, orders, tape, start, costs)
    return Path(None, *jax.lax.scan(step, jnp.zeros(targets.shape[1:], targets.dtype), inputs)[1])


def side_by_side(x: jax.Array, parts: int, back: bool = False) -> jax.Array:
    """(S, ..., B) cut in time into lanes: (S / parts, ..., parts B), parts first; the way `back` for (S / parts, B)."""
    if back:
        return jnp.moveaxis(x.reshape(len(x), parts, -1), 1, 0).reshape(len(x) * parts, -1)
    missing = -len(x) % parts
    x = jnp.concatenate([x, jnp.zeros((missing, *x.shape[1:]), x.dtype)])
    x = jnp.moveaxis(x.reshape(parts, -1, *x.shape[1:]), 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def replayed(
    targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array, costs: Costs, parts: int = 1
) -> tuple[Any, Any]:
    """Inputs of every bar of given weights, and the step that a scan takes over them; lanes cut into parts.

    The step goes from weights (N, B) to weights, and gives held (N, B), traded (N, B) and returns (B,).
    """
    steps, assets, lots = targets.shape

    def window(x: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x, start, steps)[..., None]

    end = window(tape.last).at[-1].set(True)
    may = orders & window(tape.tradable)
    bars = Bar(targets, window(tape.to_fill), window(tape.to_mark), may, end), window(tape.first)
    if parts > 1:
        wide = jax.tree.map(lambda x: jnp.broadcast_to(x, (*x.shape[:-1], lots)), bars)
        bars = jax.tree.map(lambda x: side_by_side(x, parts), wide)
    lots *= parts
    fresh = cash(assets, lots, targets.dtype)  # of entry prices and equity nothing is asked here

    def step(weights: jax.Array, inputs: tuple[Bar, jax.Array]) -> tuple[jax.Array, Any]:
        bar, first = inputs
        bar = Bar(*(jnp.broadcast_to(x, (*x.shape[:-1], lots)) for x in bar))
        after, done = play_lanes(fresh._replace(weights=jnp.where(first, 0, weights)), bar, costs)
        return after.weights, done

    return bars, step


def cash(assets: int, lots: int, dtype: Any) -> Account:
    """Accounts of cash, lanes last."""
    return jax.tree.map(lambda x: jnp.repeat(x[..., None], lots, -1), open_account(jnp.zeros(assets, dtype)))


def courses(path: Path, tape: Tape, starts: np.ndarray, rates: np.ndarray) -> Iterator[AccountHistory]:
    """The accounts of a batch one by one, on the host.

    Args:
        path: of B lanes, without an axis of policies.
        tape: that was played.
        starts: (B,) positions on it.
        rates: (B,) costs.
    """
    steps = path.returns.shape[0]
    by_account = [[None] * len(starts) if x is None else account_first(x) for x in path]
    last, to_fill, to_mark = np.asarray(tape.last), np.asarray(tape.to_fill), np.asarray(tape.to_mark)
    for multiplier, held, delta, returns, start, rate in zip(*by_account, starts, rates, strict=True):
        window = slice(int(start), int(start) + steps)
        end = last[window].copy()
        end[-1] = True
        cost, pnl = settle(held, delta, to_fill[window], to_mark[window], end, float(rate))
        yield AccountHistory(multiplier, held, delta, cost, pnl, np.asarray(returns, np.float64))


def account_first(x: Any) -> np.ndarray:
    """(S, ..., B) on the host as (B, S, ...)."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 0))


def settle(
    held: np.ndarray, delta: np.ndarray, to_fill: np.ndarray, to_mark: np.ndarray, end: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cost (S,) and profit by asset (S, N) that follow from what was held and traded, in float64.

    With w1 = held - delta, the weights that arrive at the fill: `1 + r1 = 1 / (1 - sum(w1 f / (1 + f)))`, because
    `w = w1 (1 + r1) / (1 + f)` and cash keeps its value.
    """
    held, delta, f, g = (np.asarray(x, np.float64) for x in (held, delta, to_fill, to_mark))
    arrived = (held - delta) * f / (1 + f)
    drift = 1 / (1 - arrived.sum(1, keepdims=True))  # (S, 1), 1 + r1
    paid = rate * np.abs(delta)
    sold = np.where(end[:, None], rate * held * (1 + g), 0)
    return (paid + sold).sum(1), drift * (arrived + held * g - paid - sold)
