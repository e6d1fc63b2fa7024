"""Simulates given target weights: many lanes over one window of a tape, in one scan."""

from functools import partial

import jax
import jax.numpy as jnp

from himari_jax.account import Costs
from train.simulation.engine import Bar, LaneHistories, Tape, cash, play_lanes
from train.simulation.placement import Form, form_of

Inputs = tuple[Bar, jax.Array]  # of bars, and whether a stretch begins with them


@partial(jax.jit, static_argnames="form")
def run_weights(
    targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array, costs: Costs, form: Form | None = None
) -> LaneHistories:
    """Simulates given target weights over a window of a tape, without caps.

    Args:
        targets: (S, N, B) wanted weights, long only, sum <= 1.
        orders: (S, N, B) bool, whether an order is given; any axis may be 1.
        tape: the rows.
        start: () position on the tape at which the window begins.
        costs: rates (B,), smallest trade ().
        form: of the program; None: that for the default device.
    """
    inputs, begin = window_bars(targets, orders, tape, start), jnp.zeros(targets.shape[1:], targets.dtype)
    bars = (form or form_of()).account_bars
    return LaneHistories(None, *jax.lax.scan(partial(replay_bar, costs), begin, inputs, unroll=bars)[1])


def side_by_side(x: jax.Array, parts: int, back: bool = False) -> jax.Array:
    """Cuts (S, ..., B) in time into lanes (S / parts, ..., parts B), parts first; `back`: the inverse."""
    if back:
        return jnp.moveaxis(x.reshape(len(x), parts, -1), 1, 0).reshape(len(x) * parts, -1)
    missing = -len(x) % parts
    x = jnp.concatenate([x, jnp.zeros((missing, *x.shape[1:]), x.dtype)])
    x = jnp.moveaxis(x.reshape(parts, -1, *x.shape[1:]), 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def window_bars(targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array) -> Inputs:
    """Slices the bars of a window, leaves (S, N or none, B or 1), and whether a stretch begins with each (S, 1).

    Args:
        targets, orders, tape, start: see `run_weights`.
    """

    def window(x: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x, start, len(targets))[..., None]

    end = window(tape.last).at[-1].set(True)
    may = orders & window(tape.tradable)
    return Bar(targets, window(tape.to_fill), window(tape.to_mark), may, end), window(tape.first)


def cut_in_time(inputs: Inputs, lots: int, parts: int) -> Inputs:
    """Cuts the bars of `lots` rows of accounts into parts, which become lanes; leaves (S / parts, ..., parts lots)."""
    wide = jax.tree.map(lambda x: jnp.broadcast_to(x, (*x.shape[:-1], lots)), inputs)
    return jax.tree.map(lambda x: side_by_side(x, parts), wide)


def replay_bar(costs: Costs, weights: jax.Array, inputs: Inputs) -> tuple[jax.Array, tuple]:
    """Steps B accounts of given weights over one bar: weights (N, B) afterwards; held, traded and returns (B,).

    Args:
        costs: rates (B,), smallest trade ().
        weights: (N, B) before the bar.
        inputs: see `window_bars`, of one bar.
    """
    bar, first = inputs
    assets, lots = weights.shape
    bar = Bar(*(jnp.broadcast_to(x, (*x.shape[:-1], lots)) for x in bar))
    fresh = cash(assets, lots, weights.dtype)  # entry prices and equity are not used here
    after, done = play_lanes(fresh._replace(weights=jnp.where(first, 0, weights)), bar, costs)
    return after.weights, done
