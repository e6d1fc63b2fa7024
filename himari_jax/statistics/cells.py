"""Series too long to be drawn anew bar by bar, cut into cells of equal numbers of bars that are drawn as a whole.

A resample of cells is one of their bars: its metrics are computed from what is known of each cell, without a look at
the bars again, but for their order. Cells only keep together what blocks of bars would keep together, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.statistics.metric_table import AccountSeries

MOST_BARS = 2**17  # of a series that is drawn bar by bar: 15 years of hours
MOST_CELLS = 2**16  # of a longer one: as many as another long series has bars, drawn within seconds


def bars_of_cell(num_bars: int) -> int:
    """Bars of a cell of a series: 1 up to MOST_BARS bars, else so many that there are up to MOST_CELLS cells."""
    return 1 if num_bars <= MOST_BARS else -(-num_bars // MOST_CELLS)


def sums(x: np.ndarray, size: int) -> np.ndarray:
    """Sums over cells of `size` rows, (C, ...), of x (T, ...); the last cell may be shorter."""
    return x if size == 1 else np.add.reduceat(x, np.arange(0, len(x), size))


class Moments(NamedTuple):
    """Sums over the cells of K series of T returns: enough for the Sharpe ratio of every resample of cells."""

    middle: np.ndarray  # (K,) mean of each series
    still: np.ndarray  # (K,) bool, whether it never moves
    bars: np.ndarray  # (C,) bars of each cell
    first: np.ndarray  # (C, K) sums of the returns minus their mean, so that the sum of squares cancels nothing
    second: np.ndarray  # (C, K) of their squares

    @classmethod
    def of(cls, r: np.ndarray, size: int = 1) -> "Moments":
        """Sums returns r, (T, K), over cells of `size` bars."""
        middle = r.mean(axis=0)
        x = r - middle
        still = r.min(axis=0) == r.max(axis=0)
        return cls(middle, still, sums(np.ones(len(r)), size), sums(x, size), sums(x**2, size))

    def sharpes(self, counts: np.ndarray) -> np.ndarray:
        """Sharpe ratios per bar, (S, K), of resamples that hold cell c `counts[s, c]` times, (S, C)."""
        n = (counts @ self.bars)[:, None]
        mean = counts @ self.first / n
        variance = np.maximum(counts @ self.second / n - mean**2, 0) * n / (n - 1)
        usual = self.second.sum(axis=0) / self.bars.sum()
        still = self.still | (variance <= 1e-12 * usual)
        return np.where(still, 0.0, (mean + self.middle) / np.sqrt(np.where(still, 1.0, variance)))


@dataclass(frozen=True)
class AccountCells:
    """Sums over the cells of an account: enough for the metrics of every resample of cells."""

    bars_per_year: float
    bars: np.ndarray  # (C,) of each cell
    totals: dict[str, np.ndarray]  # (C,) sums over the bars of each cell, by name
    growth: np.ndarray  # (C,) equity at its end; 1 at its beginning, as for those below
    highest: np.ndarray  # (C,)
    lowest: np.ndarray  # (C,)
    fall: np.ndarray  # (C,) maximum drawdown inside, at most 0
    returns: np.ndarray  # (T,) from the worst to the best
    cell: np.ndarray  # (T,) of each of them

    @classmethod
    def of(cls, a: AccountSeries, size: int) -> "AccountCells":
        """Sums an account's series over cells of `size` bars."""
        invested, bars = a.gross > metrics.FLAT, np.ones(len(a.returns))
        known = ~np.isnan(a.shares)
        totals = {
            "return": a.returns,
            "downside": np.minimum(a.returns, 0) ** 2,
            "gross": a.gross,
            "traded": a.traded,
            "cost": a.cost,
            "invested": invested.astype(float),
            "won": (invested & (a.returns > 0)).astype(float),
            "known": known.astype(float),
            "shares": np.where(known, a.shares, 0.0),
        }
        inside = a.bar_returns
        per_cell = size * (len(inside) // len(a.returns))
        padded = np.concatenate([inside, np.zeros(-len(inside) % per_cell)]).reshape(-1, per_cell)
        equity = np.cumprod(1 + padded, axis=1)
        peak = np.maximum(np.maximum.accumulate(equity, axis=1), 1.0)
        order = np.argsort(a.returns, kind="stable")
        return cls(
            bars_per_year=a.bars_per_year,
            bars=sums(bars, size),
            totals={name: sums(x, size) for name, x in totals.items()},
            growth=equity[:, -1],
            highest=equity.max(axis=1),
            lowest=equity.min(axis=1),
            fall=(equity / peak - 1).min(axis=1),
            returns=a.returns[order],
            cell=order // size,
        )

    def measure(self, drawn: np.ndarray) -> dict[str, float]:
        """`metric_table.measure` of the account whose bars are those of the cells drawn, (C,), in this order."""
        counts = np.bincount(drawn, minlength=len(self.bars)).astype(float)
        bars, year = float(counts @ self.bars), self.bars_per_year
        total = {name: float(counts @ x) for name, x in self.totals.items()}
        ends = np.cumprod(self.growth[drawn])
        final, fall = float(ends[-1]), self.deepest_fall(drawn, ends)
        growth = final ** (year / bars) - 1 if final >= 0 else np.nan
        downside = (total["downside"] / bars) ** 0.5
        shares = ratio(total["shares"], total["known"])
        return {
            "sortino": ratio(total["return"] / bars, downside) * year**0.5,
            "cagr": growth,
            "calmar": metrics.calmar_of(growth, fall),
            "max_drawdown": fall,
            "cvar_5": self.bad_bar(counts, int(bars)),
            "win_rate_bar": ratio(total["won"], total["invested"]),
            "turnover": total["traded"] / bars * year,
            "cost_drag": total["cost"] / bars * year,
            "exposure": total["gross"] / bars,
            "herfindahl": shares,
            "diversification": 1 - shares,
        }

    def deepest_fall(self, drawn: np.ndarray, ends: np.ndarray) -> float:
        """Maximum drawdown of the cells drawn, inside one or from before it, with equity `ends` after each, (C,)."""
        begins = np.concatenate([[1.0], ends[:-1]])
        peaks = np.maximum.accumulate(np.concatenate([[1.0], begins * self.highest[drawn]]))[:-1]
        return float(min(self.fall[drawn].min(), (begins * self.lowest[drawn] / peaks).min() - 1))

    def bad_bar(self, counts: np.ndarray, bars: int) -> float:
        """CVaR 5 % of a resample of `bars` bars that draws cell c `counts[c]` times, (C,)."""
        worst = int((bars - 1) * 0.05) + 1
        # They are nearly always among the worst eighth of all bars.
        number = next(n for n in map(np.cumsum, self.drawn_of_worst(counts)) if n[-1] >= worst)
        last = int(np.searchsorted(number, worst))
        drawn = np.diff(np.minimum(number[: last + 1], worst), prepend=0.0)
        return float(drawn @ self.returns[: last + 1] / worst)

    def drawn_of_worst(self, counts: np.ndarray) -> Iterator[np.ndarray]:
        """Yields how often each bar is drawn, from the worst return on: of the worst eighth, then of all, (T,)."""
        yield counts[self.cell[: -(-len(self.cell) // 8)]]
        yield counts[self.cell]


def ratio(numerator: float, denominator: float) -> float:
    """The ratio; nan where the denominator is not positive."""
    return numerator / denominator if denominator > 0 else np.nan
