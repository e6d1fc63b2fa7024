"""The simulation: accounts side by side over the decision rows of a span, in one scan, for policies and given weights.

The account is the one that training uses; ruin is off. A stretch starts from cash with a fresh memory and
ends in cash: its last bar sells everything at the mark, with cost. So does a window, a part of the span.

A lane is one account with its begin, delay and cost. Lanes lie along the last axis, for vector units.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Array, Market, delayed
from himari_jax.account import Account, Costs, liquidated_gain, open_account, step_account
from himari_jax.candles import Candles
from himari_jax.features.observation import assemble
from himari_jax.policies.core import reset_carry
from himari_jax.policies.policy import Policy, act, mean_action
from himari_jax.positions.sizing import cap_targets
from himari_jax.splits import Stretches, decision_rows
from himari_jax.trees import select_tree
from train.simulation.placement import Form, form_of

AXES: Any = cast(Any, Account)(-1, -1, -1)  # lanes are the last axis of every leaf of an account, and of a bar


class Tape(NamedTuple):
    """The decision rows of a span in order, L of them, and the market that they point into; on the host or a device."""

    market: Market  # leaves (T, ...), without a delay
    rows: Array  # (L,) int32
    to_fill: Array  # (L, N) of those rows, so that a window of them is one slice
    to_mark: Array  # (L, N)
    tradable: Array  # (L, N) bool
    seen: Array  # (R, L) int32, rows whose features, correlations and base are seen, by delay
    first: Array  # (L,) bool, first row of a stretch
    last: Array  # (L,) bool, last row of a stretch
    inside: Array | None = None  # (L, D - 1, N) close / fill - 1 of the bars between decisions, on the host alone


class Lanes(NamedTuple):
    """Accounts that are simulated side by side, B of them."""

    start: jax.Array  # (B,) int32, position on the tape
    delay: jax.Array  # (B,) int32, index into `Tape.seen`
    rate: jax.Array  # (B,) share of the traded value that a trade costs


class Limits(NamedTuple):
    """Position and trade limits."""

    max_position_pct: Any  # () largest weight of one asset
    max_gross: Any  # () largest sum of weights
    min_trade: Any  # () smallest |change of weight| that is traded

    @classmethod
    def of(cls, named: Any) -> "Limits":
        """Takes those of flags or of an environment's parameters, which have the same names."""
        return cls(*(np.float32(getattr(named, name)) for name in cls._fields))


class Bar(NamedTuple):
    """The inputs of an account's step over one bar."""

    target: jax.Array  # (N,) weights wanted
    to_fill: jax.Array  # (N,)
    to_mark: jax.Array  # (N,)
    may: jax.Array  # (N,) bool, whether an order is given and can be filled
    end: jax.Array  # () bool, the last bar of a stretch or window


class Rows(NamedTuple):
    """Rows of the tape that the lanes read for one decision; a leading axis (S,) for several."""

    features: jax.Array  # (B, N, k) seen
    corr: jax.Array  # (B, P) seen
    base: jax.Array  # (B, N) seen
    to_fill: jax.Array  # (N, B)
    to_mark: jax.Array  # (N, B)
    tradable: jax.Array  # (N, B) bool
    first: jax.Array  # (B,) bool, first row of a stretch
    end: jax.Array  # (B,) bool, the last bar of a stretch or window


class LaneHistories(NamedTuple):
    """Histories of B accounts over S bars; a leading axis (K,) where K policies were simulated."""

    multiplier: Any  # (S, N, B) of the policy; None for given weights
    held: Any  # (S, N, B) weights after the fill
    delta: Any  # (S, N, B) traded weights
    returns: Any  # (S, B) simple return of equity from close to close, liquidation included


def make_tape(market: Market, span: Stretches, candles: Candles | None = None, delays: Sequence[int] = (0,)) -> Tape:
    """Lays out the rows of a span, on the device.

    Args:
        market: arrays on the host or the device; on the device they are not copied.
        span: stretches of decision rows.
        candles: of the market; needed for delays.
        delays: bars by which a policy may be late, on top of the market's own.
    """
    return jax.device_put(lay_out(market, span, candles, delays))


def lay_out(market: Market, span: Stretches, candles: Candles | None = None, delays: Sequence[int] = (0,)) -> Tape:
    """Lays out the rows of a span where the market is, with row numbers on the host; see `make_tape`."""
    rows = decision_rows(span)
    everything = np.arange(len(market.base))
    seen = [delayed(everything, candles, d)[rows] if d and candles else rows for d in delays]
    first = np.isin(rows, [each[0] for each in span])
    last = np.isin(rows, [each[-1] for each in span])
    to_fill, to_mark, tradable = (x[rows] for x in (market.to_fill, market.to_mark, market.tradable))
    return Tape(market, rows.astype(np.int32), to_fill, to_mark, tradable, np.stack(seen).astype(np.int32), first, last)


def whole_span(tape: Tape, rate: Any) -> tuple[int, Lanes]:
    """Returns length and lane of one account over the whole tape, without delay."""
    return len(tape.rows), make_lanes([0], [0], [rate])


def make_lanes(starts: Sequence[int], delays: Sequence[int], rates: Sequence[float]) -> Lanes:
    """Makes lanes of three columns of equal length; `delays` are indices into `Tape.seen`."""
    lanes: Any = np.asarray(starts, np.int32), np.asarray(delays, np.int32), np.asarray(rates, np.float32)
    return Lanes(*lanes)


def play_bar(account: Account, bar: Bar, costs: Costs) -> tuple[Account, tuple[jax.Array, jax.Array, jax.Array]]:
    """Steps one account over one bar: held (N,), traded (N,), return (); sells all at an end."""
    after, done = step_account(account, *bar[:4], costs)
    return after, (done.held, done.delta, jnp.where(bar.end, liquidated_gain(done, costs.rate), done.gain))


play_lanes = jax.vmap(play_bar, (AXES, -1, cast(Any, Costs)(0, None)), (AXES, -1))


def fresh_where(first: jax.Array, account: Account) -> Account:
    """Replaces an account by one of cash at the first row of a stretch."""
    return select_tree(first, open_account(jnp.zeros_like(account.weights)), account)


@partial(jax.jit, static_argnums=(0, 1), static_argnames="form")
def run_policy(
    policy: Policy, steps: int, variables: dict, tape: Tape, lanes: Lanes, limits: Limits, form: Form | None = None
) -> LaneHistories:
    """Simulates K deterministic policies over windows of a tape, each on B lanes; leaves (K, S, ...).

    Args:
        policy: the module.
        steps: S, bars of a window.
        variables: leaves (K, ...).
        tape: the rows.
        lanes: (B,) windows, delays, costs.
        limits: caps and smallest trade.
        form: of the program; None: that for the default device.
    """
    form = form or form_of()
    # One seed after the other is faster on a CPU, all at once on everything else.
    at_once = jax.tree.leaves(variables)[0].shape[0] if form.seeds_at_once else 1
    play = partial(play_policy, policy, steps, tape=tape, lanes=lanes, limits=limits, bars=form.policy_bars)
    return jax.lax.map(play, variables, batch_size=at_once)


def play_policy(
    policy: Policy, steps: int, variables: dict, tape: Tape, lanes: Lanes, limits: Limits, bars: int = 1
) -> LaneHistories:
    """Simulates one policy as `run_policy` does K of them, traceable; leaves (S, ...).

    Args:
        policy, steps, variables, tape, lanes, limits: see there.
        bars: that a step of the loop plays, their rows of the tape read in one gather.
    """
    lots, costs = lanes.start.shape[0], Costs(lanes.rate, limits.min_trade)

    def decide(carry: Any, first: jax.Array, obs: jax.Array) -> tuple[Any, jax.Array]:
        carry, output = act(policy, variables, reset_carry(carry, first), obs)
        return carry, mean_action(output)

    def step(state: tuple[Account, Any], rows: Rows) -> tuple[tuple[Account, Any], LaneHistories]:
        return play_decision(decide, state, rows, limits, costs)

    def several(state: tuple[Account, Any], first: jax.Array) -> tuple[tuple[Account, Any], LaneHistories]:
        i = jnp.minimum(first + jnp.arange(bars), steps - 1)
        rows = jax.vmap(read_rows, (None, None, 0, None))(tape, lanes, i, steps)
        return jax.lax.scan(step, state, rows, unroll=bars)

    def single(state: tuple[Account, Any], i: jax.Array) -> tuple[tuple[Account, Any], LaneHistories]:
        return step(state, read_rows(tape, lanes, i, steps))

    start = cash(policy.num_assets, lots, lanes.rate.dtype), policy.initial_carry(lots)
    if bars == 1:
        return jax.lax.scan(single, start, jnp.arange(steps))[1]
    # A remainder is filled with the last row, played again and cut off.
    path = jax.lax.scan(several, start, jnp.arange(0, steps, bars))[1]
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:steps], path)


def read_rows(tape: Tape, lanes: Lanes, i: jax.Array, steps: int) -> Rows:
    """Reads the rows of every lane for bar i of a window of `steps` bars, after whose last one all is sold."""
    at = lanes.start + i
    seen, market = tape.seen[lanes.delay, at], tape.market
    moves = tape.to_fill[at].T, tape.to_mark[at].T, tape.tradable[at].T
    end = (i == steps - 1) | tape.last[at]
    return Rows(market.features[seen], market.corr[seen], market.base[seen], *moves, tape.first[at], end)


def play_decision(
    decide: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]],
    state: tuple[Account, Any],
    rows: Rows,
    limits: Limits,
    costs: Costs,
) -> tuple[tuple[Account, Any], LaneHistories]:
    """Plays one decision of every lane and the time until the next one; the histories have no axis of bars.

    Args:
        decide: from memory, whether a stretch begins (B,) and observations (B, D) to memory and multipliers (B, N).
        state: accounts and memory.
        rows: what the lanes read of the tape.
        limits: as `run_policy` has them.
        costs: rates (B,), smallest trade ().
    """
    account, carry = state
    account = jax.vmap(fresh_where, (0, AXES), AXES)(rows.first, account)
    obs = jax.vmap(assemble, (0, 0, -1, -1))(rows.features, rows.corr, *account[:2])
    carry, multiplier = decide(carry, rows.first, obs)
    target = cap_targets(multiplier, rows.base, limits.max_position_pct, limits.max_gross)
    bar = Bar(target.T, rows.to_fill, rows.to_mark, rows.tradable, rows.end)
    account, done = play_lanes(account, bar, costs)
    return (account, carry), LaneHistories(multiplier.T, *done)


def cash(assets: int, lots: int, dtype: Any) -> Account:
    """Opens `lots` accounts of cash, lanes last."""
    return jax.tree.map(lambda x: jnp.repeat(x[..., None], lots, -1), open_account(jnp.zeros(assets, dtype)))
