"""Random candles, the account over many bars, and one of units and cash to compare with."""

import numpy as np

from himari_jax.candles import Candles
from train.diagnosis.references import keep_ledger, play

__all__ = ["keep_ledger", "make_candles", "play"]

HOUR_MS = 3_600_000
START_MS = 1_577_836_800_000  # 2020-01-01T00:00Z


def make_candles(num_assets: int = 1, rows: int = 1000, seed: int = 0, bar_ms: int = HOUR_MS) -> Candles:
    """Random walks of 1 % a bar with opens that leave the previous close, highs and lows around both."""
    rng = np.random.default_rng(seed)
    shape = (rows, num_assets)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    before = np.concatenate([close[:1], close[:-1]])
    opens = before * np.exp(rng.normal(0, 0.003, shape))
    return Candles(
        symbols=tuple("ABCDEFGH"[:num_assets]),
        bar_ms=bar_ms,
        calendar="continuous",
        time=START_MS + bar_ms * np.arange(rows, dtype=np.int64),
        open=opens,
        high=np.maximum(opens, close) * np.exp(rng.exponential(0.004, shape)),
        low=np.minimum(opens, close) * np.exp(-rng.exponential(0.004, shape)),
        close=close,
        volume=rng.lognormal(5, 1, shape),
        tradable=np.ones(shape, bool),
        segment=np.zeros(rows, np.int32),
    )
