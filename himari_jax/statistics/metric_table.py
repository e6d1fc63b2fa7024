"""The table of metrics: name, label, unit and direction of each, for result.json, tables, gates and intervals."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from himari_jax.statistics import metrics


@dataclass(frozen=True)
class AccountSeries:
    """The series per bar from which the metrics of an account are computed."""

    returns: np.ndarray  # (T,) simple returns of equity
    gross: np.ndarray  # (T,) sum of the weights held
    shares: np.ndarray  # (T,) sum of squared shares of the weights held, nan while flat
    traded: np.ndarray  # (T,) share of equity
    cost: np.ndarray  # (T,) share of equity
    bars_per_year: float
    win_rate_trip: float = math.nan  # share of round trips that made money; nan where bars are drawn anew
    inside: np.ndarray | None = None  # (T, D - 1) equity at the bars between decisions, 1 at the decision before them

    @classmethod
    def of(
        cls,
        returns: np.ndarray,
        held: np.ndarray,
        traded: np.ndarray,
        cost: np.ndarray,
        bars_per_year: float,
        inside: np.ndarray | None = None,
    ) -> "AccountSeries":
        """The series of an account, without its round trips.

        Args:
            returns: (T,) simple returns of equity.
            held: (T, N) weights after the trade.
            traded: (T,) share of equity traded in the bar, final sales included.
            cost: (T,) share of equity.
            bars_per_year: A.
            inside: (T, D - 1) equity at the bars between decisions that lie D bars apart, for the drawdown.
        """
        held = np.asarray(held, float)
        return cls(
            returns=np.asarray(returns, float),
            gross=held @ np.ones(held.shape[1]),
            shares=metrics.concentration(held),
            traded=np.asarray(traded, float),
            cost=np.asarray(cost, float),
            bars_per_year=bars_per_year,
            inside=inside,
        )

    @property
    def usable(self) -> bool:
        """Whether there is anything to resample."""
        return len(self.returns) > 1 and bool(np.isfinite(self.returns).all())

    def drawn(self, bars: np.ndarray) -> "AccountSeries":
        """A history of the same bars in another order, (S,) rows."""
        return AccountSeries(
            returns=self.returns[bars],
            gross=self.gross[bars],
            shares=self.shares[bars],
            traded=self.traded[bars],
            cost=self.cost[bars],
            bars_per_year=self.bars_per_year,
            inside=None if self.inside is None else self.inside[bars],
        )

    @cached_property
    def growth(self) -> float:
        """CAGR."""
        return metrics.cagr(self.returns, self.bars_per_year)

    @cached_property
    def fall(self) -> float:
        """Maximum drawdown at the close of every bar, at most 0."""
        return metrics.max_drawdown(self.bar_returns)

    @property
    def bar_returns(self) -> np.ndarray:
        """Simple returns of every bar, those between decisions too, (T D,)."""
        if self.inside is None:
            return self.returns
        equity = np.concatenate([np.ones((len(self.returns), 1)), self.inside, 1 + self.returns[:, None]], 1)
        return (equity[:, 1:] / equity[:, :-1] - 1).ravel()

    @cached_property
    def herfindahl(self) -> float:
        """Mean concentration while invested."""
        return metrics.herfindahl_of(self.shares)

    @property
    def whole(self) -> np.ndarray:
        """The weights as if they were of one asset, (T, 1)."""
        return self.gross[:, None]


class Metric(NamedTuple):
    """A metric of an account."""

    name: str  # in result.json and backtest.parquet
    label: str  # heading of its column
    form: str  # of its value in a table, as `format` takes it
    unit: str
    higher_is_better: bool | None  # None: neither
    of: Callable[[AccountSeries], float]
    resampled: bool = True  # whether its interval is found by drawing bars anew
    by_size: bool = False  # at most 0, and a gate takes it by its size: a drawdown of -0.15 is 0.15


def _rows() -> tuple[Metric, ...]:
    """The rows of the table, in the order of every output."""
    m = metrics
    year = "per year"
    return (
        # The interval of the Sharpe ratio is paired with those of the baselines, on draws of its own.
        Metric("sharpe", "Sharpe", ".2f", year, True, lambda a: m.sharpe(a.returns, a.bars_per_year), False),
        Metric("sortino", "Sortino", ".2f", year, True, lambda a: m.sortino(a.returns, a.bars_per_year)),
        Metric("cagr", "CAGR", ".1%", year, True, lambda a: a.growth),
        Metric("calmar", "Calmar", ".2f", year, True, lambda a: m.calmar_of(a.growth, a.fall)),
        Metric("max_drawdown", "max DD", ".1%", "share of the peak", True, lambda a: a.fall, by_size=True),
        Metric("cvar_5", "CVaR 5 %", ".2%", "return per bar", True, lambda a: m.cvar_5(a.returns)),
        Metric("win_rate_bar", "win rate", ".1%", "share of bars", True, lambda a: m.win_rate_bar(a.returns, a.whole)),
        Metric("win_rate_trip", "win rate, trips", ".1%", "share of trips", True, lambda a: a.win_rate_trip, False),
        Metric("turnover", "turnover/y", ".1f", year, None, lambda a: m.turnover(a.traded, a.bars_per_year)),
        Metric("cost_drag", "cost drag/y", ".2%", year, False, lambda a: m.cost_drag(a.cost, a.bars_per_year)),
        Metric("exposure", "exposure", ".2f", "share of equity", None, lambda a: m.exposure(a.whole)),
        Metric("herfindahl", "Herfindahl", ".2f", "1/N to 1", False, lambda a: a.herfindahl),
        Metric("diversification", "divers.", ".2f", "0 to 1 - 1/N", True, lambda a: 1 - a.herfindahl),
        # The order of the bars has no say in it, and the interval of its growth per year stands above.
        Metric("final_equity", "final equity", ".3f", "of 1", True, lambda a: float(np.prod(1 + a.returns)), False),
    )


METRICS = {metric.name: metric for metric in _rows()}


def measure(series: AccountSeries, resampled: bool = False) -> dict[str, float]:
    """Metrics by name, nan where undefined; all, or those that bars drawn anew say something of."""
    return {name: metric.of(series) for name, metric in METRICS.items() if metric.resampled or not resampled}
