"""The members of a run: candles that share an account, all symbols of a run, or one symbol of a pool."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from himari_jax.candles import Candles, common_kind
from himari_jax.positions.base_positions import Base
from himari_jax.splits import Stretches, decision_rows


@dataclass(frozen=True)
class Member:
    """Candles that share an account, with their decisions: all symbols of a run, or one symbol of a pool."""

    candles: Candles
    span: Stretches
    base: Base = "constant"

    @property
    def times(self) -> np.ndarray:
        """Times of the decisions, (L,), epoch milliseconds."""
        return self.candles.time[decision_rows(self.span)] + self.candles.bar_ms


def union_times(members: Sequence[Member]) -> np.ndarray:
    """Returns every time at which some member decides, (L,), in order."""
    return members[0].times if len(members) == 1 else np.unique(np.concatenate([each.times for each in members]))


def join_candles(parts: Sequence[Candles]) -> Candles:
    """Joins the candles of a pool on all of their times; NaN where a symbol has none, a new segment after each gap."""
    if len(parts) == 1:
        return parts[0]
    time = np.unique(np.concatenate([each.time for each in parts]))
    first = parts[0]

    def laid(name: str, blank: float | bool) -> np.ndarray:
        out = np.full((len(time), len(parts)), blank)
        for n, each in enumerate(parts):
            out[np.searchsorted(time, each.time), n] = getattr(each, name)[:, 0]
        return out

    gaps = np.diff(time) != first.bar_ms
    return Candles(
        symbols=tuple(symbol for each in parts for symbol in each.symbols),
        bar_ms=first.bar_ms,
        calendar=first.calendar,
        time=time,
        **{name: laid(name, np.nan) for name in ("open", "high", "low", "close", "volume")},
        tradable=laid("tradable", False),
        segment=np.concatenate([[0], np.cumsum(gaps)]).astype(np.int32),
        synthetic=any(each.synthetic for each in parts),
        kind=common_kind({each.symbols[0]: each.kind for each in parts}),
    )
