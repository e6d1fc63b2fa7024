"""Performance figures of a paper account, brought up to date bar by bar."""

from dataclasses import dataclass
from math import exp, expm1, nan, sqrt

from himari_jax.statistics.metrics import FLAT


@dataclass
class AccountFigures:
    """Sums of one account over its bars, from which the figures of `himari_jax.statistics.metrics` follow.

    A bar costs the same however long the log is. A figure is nan where that module has nan.
    """

    bars: int = 0
    log_growth: float = 0.0
    mean: float = 0.0  # of the simple returns
    squares: float = 0.0  # of the simple returns, about their mean
    value: float = 1.0  # of one unit, as a product of the simple returns
    peak: float = 1.0  # of `value`
    deepest: float = 0.0  # fall from a peak
    traded: float = 0.0  # shares of equity
    paid: float = 0.0  # costs, shares of equity
    invested: int = 0  # bars with a position
    gains: int = 0  # of them, bars with a gain

    def add(self, log_return: float, held: float, traded: float, paid: float) -> None:
        """Adds a bar.

        Args:
            log_return: of the account.
            held: sum of the weights after the fill.
            traded: share of equity.
            paid: costs, share of equity.
        """
        simple = expm1(log_return)
        self.bars += 1
        self.log_growth += log_return
        apart = simple - self.mean
        self.mean += apart / self.bars
        self.squares += apart * (simple - self.mean)
        self.value *= 1 + simple
        self.peak = max(self.peak, self.value)
        self.deepest = min(self.deepest, self.value / self.peak - 1)
        self.traded, self.paid = self.traded + traded, self.paid + paid
        self.invested += held > FLAT
        self.gains += held > FLAT and simple > 0

    def figures(self, bars_per_year: float) -> dict[str, float]:
        """Returns the figures by the names of the loop's gauges; Sharpe ratio and win rate where they are defined."""
        known = self.bars > 1
        found = {
            "equity": exp(self.log_growth),
            "drawdown": self.deepest if known else nan,
            "turnover": self.traded / self.bars * bars_per_year if known else nan,
            "cost": self.paid / self.bars * bars_per_year if known else nan,
        }
        if self.bars > 2 and self.squares > 0:
            found["sharpe"] = self.mean / sqrt(self.squares / (self.bars - 1)) * sqrt(bars_per_year)
        if self.invested:
            found["win_rate"] = self.gains / self.invested if known else nan
        return found
