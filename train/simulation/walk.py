"""One kernel for all bars of given weights: each of its threads walks an account through time, weights in registers.

The arithmetic is that of every other simulation, `replay_bar`. Pallas compiles it for a GPU by Triton, whose arrays
have sizes that are powers of two: assets and lanes are padded with accounts that cannot trade.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from himari_jax.account import Costs
from train.simulation.engine import Bar, Tape
from train.simulation.given import Inputs, replay_bar, window_bars

LEAST = 8.0  # compute capability of a card that Triton compiles for
THREADS = 64  # accounts that a block of the kernel walks side by side
AHEAD = 8  # bars that are read before they are played, so that the memory answers while the account computes


def walk_lanes(
    targets: jax.Array, orders: jax.Array, tape: Tape, start: jax.Array, costs: Costs, interpret: bool = False
) -> jax.Array:
    """Computes the returns of `run_returns`, (S, B), by one kernel.

    Args:
        targets, orders, tape, start, costs: see there.
        interpret: interpret the kernel on any device, slowly, for tests.
    """
    from jax.experimental import pallas as pl  # a second of imports that nothing else needs
    from jax.experimental.pallas import triton

    steps, assets, lots = targets.shape
    bars, first = window_bars(targets, orders, tape, start)
    wide = 1 << (assets - 1).bit_length()
    sizes = (-(-steps // AHEAD) * AHEAD, wide, -(-lots // THREADS) * THREADS)
    inputs = [pad_to(flags_as_bytes(x), sizes) for x in (*bars, first)]
    rate, least = jnp.pad(costs.rate, (0, sizes[2] - lots)), jnp.reshape(costs.min_trade, 1)

    def block(x: Any) -> Any:
        lanes = min(x.shape[-1], THREADS)
        return pl.BlockSpec((*x.shape[:-1], lanes), lambda i: (*(0,) * (x.ndim - 1), i if lanes == THREADS else 0))

    returns = jax.ShapeDtypeStruct((sizes[0], sizes[2]), targets.dtype)
    walk = pl.pallas_call(
        partial(walk_block, sizes[0], wide),
        out_shape=returns,
        grid=(sizes[2] // THREADS,),
        in_specs=[block(x) for x in (*inputs, rate, least)],
        out_specs=block(returns),
        compiler_params=triton.CompilerParams(num_warps=THREADS // 32),
        interpret=interpret,
    )
    return walk(*inputs, rate, least)[:steps, :lots]


def kernel_fault(device: Any) -> str:
    """Words why a device cannot run the kernel; empty where it can."""
    if device.platform != "gpu":
        return f"{device.device_kind} is no GPU"
    text = str(getattr(device, "compute_capability", "none"))  # of other makers' cards a name
    capability = float(text) if text.replace(".", "").isdigit() else 0.0
    return "" if capability >= LEAST else f"{device.device_kind} has compute capability {text}; needed: {LEAST} or more"


def walk_block(steps: int, assets: int, *refs: Any) -> None:
    """The kernel: walks the accounts of one block through all bars.

    Args:
        steps: S.
        assets: N.
        refs: inputs of `walk_lanes`, the bars (S, ..., THREADS or 1) first; the returns (S, THREADS) last.
    """
    *inputs, rate, least, returns = refs
    costs = Costs(rate[...], least[0])

    def several(k: jax.Array, weights: jax.Array) -> jax.Array:
        rows = [bar_of([x[k * AHEAD + j] for x in inputs]) for j in range(AHEAD)]
        for j, row in enumerate(rows):
            weights, (_, _, gained) = replay_bar(costs, weights, row)
            returns[k * AHEAD + j] = gained
        return weights

    jax.lax.fori_loop(0, steps // AHEAD, several, jnp.zeros((assets, THREADS), costs.rate.dtype))


def bar_of(row: list[jax.Array]) -> Inputs:
    """Restores a bar of `window_bars`, flags from bytes."""
    target, to_fill, to_mark, may, end, first = row
    return Bar(target, to_fill, to_mark, may != 0, end != 0), first != 0


def flags_as_bytes(x: jax.Array) -> jax.Array:
    """Converts flags to bytes, which the kernel reads; numbers stay."""
    return x.astype(jnp.int8) if x.dtype == bool else x


def pad_to(x: jax.Array, sizes: tuple[int, int, int]) -> jax.Array:
    """Appends zeros to the axes of (S, N, B) or (S, B); an axis of assets or lanes of length 1 stays."""
    wanted = sizes if x.ndim == 3 else (sizes[0], sizes[2])
    after = [size - n if axis == 0 or n > 1 else 0 for axis, (n, size) in enumerate(zip(x.shape, wanted, strict=True))]
    return jnp.pad(x, [(0, number) for number in after])
