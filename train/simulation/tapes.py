"""Tapes of several accounts on one time axis: those of a pool's symbols, or the one account of all symbols."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from envs.market import Market
from himari_jax.candles import Candles
from himari_jax.splits import Stretches, decision_rows
from train.data.members import Member
from train.simulation.engine import Tape, lay_out


def active_rows(members: Sequence[Member], times: np.ndarray) -> np.ndarray:
    """Whether each member decides at each time, (A, L) bool."""
    return np.stack([np.isin(times, each.times) for each in members])


def lay_out_members(
    members: Sequence[Member], markets: Sequence[Market], times: np.ndarray, delays: Sequence[int], fill: str
) -> Tape:
    """Lays out one tape of A members, one after the other, with equally many rows each, on the host.

    Where a member does not decide, its account is cash and cannot trade.

    Args:
        members: with as many assets each.
        markets: of each, on the host.
        times: of the rows, (L,), epoch milliseconds.
        delays: bars by which a policy may be late.
        fill: next-open or same-close.
    """
    own = [
        lay_out(market, each.span, each.candles, delays)._replace(inside=inside_moves(each.candles, each.span, fill))
        for each, market in zip(members, markets, strict=True)
    ]
    if len(own) == 1:
        return own[0]
    offsets = [0, *accumulate(len(market.base) for market in markets)]
    spread = [
        spread_out(tape, np.searchsorted(times, each.times), len(times), offset)
        for tape, each, offset in zip(own, members, offsets, strict=False)
    ]
    market = Market(*(np.concatenate(columns) for columns in zip(*markets, strict=True)))
    leaves = [None if some[0] is None else np.concatenate(some) for some in zip(*(t[1:] for t in spread), strict=True)]
    seen = np.concatenate([tape.seen for tape in spread], axis=1)
    return Tape(market, *leaves)._replace(seen=seen)


def spread_out(tape: Tape, at: np.ndarray, length: int, offset: int) -> Tape:
    """Puts a member's tape on the common time axis.

    Args:
        tape: its own, l rows.
        at: (l,) positions on the axis.
        length: L.
        offset: of its market in the common one.
    """

    def laid(x: np.ndarray, blank: int) -> np.ndarray:
        out = np.full((length, *x.shape[1:]), blank, x.dtype)
        out[at] = x
        return out

    return Tape(
        market=tape.market,
        rows=laid(tape.rows + offset, offset).astype(np.int32),
        to_fill=laid(tape.to_fill, 0),
        to_mark=laid(tape.to_mark, 0),
        tradable=laid(tape.tradable, False),
        seen=laid(tape.seen.T + offset, offset).T.astype(np.int32),
        first=laid(tape.first, True),
        last=laid(tape.last, False),
        inside=None if tape.inside is None else laid(tape.inside, 0),
    )


def inside_moves(candles: Candles, span: Stretches, fill: str) -> np.ndarray | None:
    """Moves from the fill to the bars between decisions, (L, D - 1, N) float64: close[t+j] / fill - 1, 0 < j < D.

    None where every bar has a decision.
    """
    step = span[0].step if span else 1
    if step == 1:
        return None
    rows = decision_rows(span)
    price = candles.open[rows + 1] if fill == "next-open" else candles.close[rows]
    return candles.close[rows[:, None] + np.arange(1, step)] / price[:, None] - 1
