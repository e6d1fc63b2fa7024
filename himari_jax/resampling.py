"""Where the metrics of one account would lie with other luck: intervals by stationary bootstrap over its bars."""

import numpy as np

from himari_jax import metrics
from himari_jax.statistics import block_length, interval, resampled_bars

Interval = tuple[float, float]
Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # returns, held, traded, cost


def metric_intervals(
    returns: np.ndarray,
    held: np.ndarray,
    traded: np.ndarray,
    cost: np.ndarray,
    bars_per_year: float,
    num_samples: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    """95 % intervals by the metric's name; what needs whole trips has none.

    The bars are drawn as they were: returns with the weights held over them. A resample is a history like this one in
    another order, so what the order decides (drawdown) is drawn as well. Nan where the metric is undefined.

    Args:
        returns: simple returns per bar, (T,).
        held: weights after the trade, (T, N).
        traded: sum |delta| per bar, (T,).
        cost: share of equity per bar, (T,).
        bars_per_year: A.
        num_samples: resamples.
        seed: of the draws.

    Source: Politis and Romano, "The Stationary Bootstrap", JASA, 1994.
    """
    history = History(returns, held, traded, cost)
    if not history.usable:
        return {}
    length = block_length(history.returns[:, None])
    draws = resampled_bars(len(history.returns), length, num_samples, seed)
    samples = [history.measure(bars, bars_per_year) for bars in draws]
    return {name: interval(np.array([sample[name] for sample in samples])) for name in samples[0]}


def paired_metric_differences(
    a: Columns, b: Columns, bars_per_year: float, num_samples: int = 500, seed: int = 0
) -> dict[str, tuple[float, Interval]]:
    """Value and 95 % interval of a's metrics minus b's, both on the same resampled bars.

    Args:
        a: returns, held, traded, cost, as in `metric_intervals`.
        b: the same of the other, over the same bars.
        bars_per_year: A.
        num_samples: resamples.
        seed: of the draws.
    """
    one, other = History(*a), History(*b)
    if not (one.usable and other.usable):
        return {}
    bars = np.arange(len(one.returns))
    now, then = one.measure(bars, bars_per_year), other.measure(bars, bars_per_year)
    length = block_length(np.stack([one.returns, other.returns], 1))
    samples = [
        {name: value - theirs[name] for name, value in one.measure(drawn, bars_per_year).items()}
        for drawn in resampled_bars(len(bars), length, num_samples, seed)
        for theirs in [other.measure(drawn, bars_per_year)]
    ]
    found = {name: interval(np.array([sample[name] for sample in samples])) for name in now}
    return {name: (now[name] - then[name], ends) for name, ends in found.items()}


class History:
    """What an account did, ready to be lived again in another order.

    Args:
        returns: (T,).
        held: (T, N).
        traded: (T,).
        cost: (T,).
    """

    def __init__(self, returns: np.ndarray, held: np.ndarray, traded: np.ndarray, cost: np.ndarray):
        self.returns, self.traded, self.cost = (np.asarray(x, float) for x in (returns, traded, cost))
        self.shares = metrics.concentration(held)  # (T,), nan while flat
        self.total = np.asarray(held, float) @ np.ones(np.shape(held)[1])

    @property
    def usable(self) -> bool:
        """Whether there is anything to resample."""
        return len(self.returns) > 1 and bool(np.isfinite(self.returns).all())

    def measure(self, bars: np.ndarray, bars_per_year: float) -> dict[str, float]:
        """Metrics of the bars in that order."""
        drawn = self.returns[bars]
        fall, growth = metrics.max_drawdown(drawn), metrics.cagr(drawn, bars_per_year)
        wins, shares = drawn[self.total[bars] > metrics.FLAT] > 0, self.shares[bars]
        mixed = shares[np.isfinite(shares)]
        concentration = float(mixed.mean()) if len(mixed) else np.nan
        return {
            "sortino": metrics.sortino(drawn, bars_per_year),
            "cagr": growth,
            "calmar": metrics.calmar_of(growth, fall),
            "max_drawdown": fall,
            "cvar_5": metrics.cvar_5(drawn),
            "win_rate_bar": float(wins.mean()) if len(wins) else np.nan,
            "turnover": metrics.turnover(self.traded[bars], bars_per_year),
            "cost_drag": metrics.turnover(self.cost[bars], bars_per_year),
            "exposure": float(self.total[bars].mean()),
            "herfindahl": concentration,
            "diversification": 1 - concentration,
        }
