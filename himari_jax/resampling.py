"""Where the metrics of one account would lie with other luck: intervals by stationary bootstrap over its bars."""

import numpy as np

from himari_jax import metrics
from himari_jax.statistics import block_length, interval, resampled_bars

Interval = tuple[float, float]


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
    r = np.asarray(returns, float)
    if len(r) < 2 or not np.isfinite(r).all():
        return {}
    shares = metrics.concentration(held)  # (T,), nan while flat
    total = np.asarray(held, float) @ np.ones(np.shape(held)[1])
    samples: list[dict[str, float]] = []
    for bars in resampled_bars(len(r), block_length(r[:, None]), num_samples, seed):
        drawn = r[bars]
        fall, growth = metrics.max_drawdown(drawn), metrics.cagr(drawn, bars_per_year)
        invested, share = total[bars] > metrics.FLAT, shares[bars]
        wins, mixed = drawn[invested] > 0, share[np.isfinite(share)]
        samples.append(
            {
                "sortino": metrics.sortino(drawn, bars_per_year),
                "cagr": growth,
                "calmar": metrics.calmar_of(growth, fall),
                "max_drawdown": fall,
                "cvar_5": metrics.cvar_5(drawn),
                "win_rate_bar": float(wins.mean()) if len(wins) else np.nan,
                "turnover": metrics.turnover(traded[bars], bars_per_year),
                "cost_drag": metrics.turnover(cost[bars], bars_per_year),
                "exposure": float(total[bars].mean()),
                "herfindahl": float(mixed.mean()) if len(mixed) else np.nan,
            }
        )
    found = {name: interval(np.array([sample[name] for sample in samples])) for name in samples[0]}
    low, high = found["herfindahl"]
    return found | {"diversification": (1 - high, 1 - low)}
