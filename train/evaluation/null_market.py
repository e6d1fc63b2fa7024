"""A market without drift, and what a policy earns on it."""

import math

import numpy as np

from himari_jax.candles import Candles
from train.evaluation.result import AuditResult
from train.simulation.history import AccountHistory

NULL_ROWS = 12_000  # of the market without drift, after the look-back
NULL_DECISIONS = (4, 250)  # that these rows hold at least: few candles ask for few
NULL_BEFORE_MS = 7 * 365 * 24 * 3_600_000  # whole weeks
NULL_SIGMAS = 4.0  # deviations of the mean P&L on it that chance does not explain


def null_market(candles: Candles, look_back: int, step: int = 1, seed: int = 0) -> Candles:
    """Candles of the same bar without any drift: simple returns are normal, independent, with mean 0.

    Args:
        candles: whose symbols, bar and volatility it has.
        look_back: rows before the first decision; so many more follow as decisions need, but hardly more than the
            candles have.
        step: bars from decision to decision.
        seed: of the returns.
    """
    rng = np.random.default_rng(seed)
    fewest, most = NULL_DECISIONS
    rows = look_back + max(NULL_ROWS, step * min(most, max(fewest, len(candles.time) // step)))
    shape = (rows, len(candles.symbols))
    sigma = np.clip(np.std(candles.close[1:] / candles.close[:-1] - 1, axis=0), 1e-5, 0.05)
    close = 100 * np.cumprod(1 + np.clip(rng.normal(0, 1, shape), -6, 6) * sigma, axis=0)
    opens = np.vstack([np.full((1, shape[1]), 100.0), close[:-1]])
    wick = np.exp(np.abs(rng.normal(0, 1, (2, *shape))) * sigma / 2)
    return Candles(
        symbols=candles.symbols,
        bar_ms=candles.bar_ms,
        calendar="continuous",
        # Long before the candles: what a rule knows by the clock of those does not help it here.
        time=candles.time[0] - NULL_BEFORE_MS + candles.bar_ms * np.arange(rows, dtype=np.int64),
        open=opens,
        high=np.maximum(opens, close) * wick[0],
        low=np.minimum(opens, close) / wick[1],
        close=close,
        volume=rng.lognormal(5, 1, shape),
        tradable=np.ones(shape, bool),
        segment=np.zeros(rows, np.int32),
        synthetic=True,
    )


def audit_null_market(history: AccountHistory) -> AuditResult:
    """Whether the mean P&L on a market without drift is minus the cost."""
    gross = history.returns + history.cost
    error = gross.std(ddof=1) / math.sqrt(len(gross))
    z = gross.mean() / error if error > 0 else 0.0
    detail = (
        f"on a market without drift {1e4 * gross.mean():+.3f} bp a bar before costs ({z:+.1f} standard errors), "
        f"costs {1e4 * history.cost.mean():.3f} bp"
    )
    return AuditResult("null market", bool(abs(z) < NULL_SIGMAS), detail)
