"""Performance metrics of one account: pure functions, one series in, one number out.

`returns` are simple returns per bar, (T,); `bars_per_year` A turns them annual (8,760 for hours that never close).
`held` are weights after the trade of a bar, (T, N), long only. Whatever is undefined (no deviation, no drawdown,
nothing held, fewer than two bars, a number that is not finite) is nan, which reports write as null; nothing here warns.
"""

import math

import numpy as np

FLAT = 1e-6  # a weight up to here, a millionth of equity, is rounding and not a position


def sharpe(returns: np.ndarray, bars_per_year: float) -> float:
    """Reward for risk: `mean(r) / std(r, ddof=1) * sqrt(A)`, over cash at 0.

    Source: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management, 1994.
    """
    r = _series(returns)
    return _ratio(r.mean(), deviation(r)) * math.sqrt(bars_per_year) if len(r) else math.nan


def sharpe_or_zero(returns: np.ndarray, bars_per_year: float) -> float:
    """Annual Sharpe ratio of returns (T,); 0 where it is undefined, as that of cash."""
    return zero_if_nan(sharpe(returns, bars_per_year))


def deviation(returns: np.ndarray) -> float:
    """Sample deviation, `std(r, ddof=1)`; exactly 0 for equal numbers, where the float mean would leave 1e-18."""
    r = _series(returns)
    if not len(r):
        return math.nan
    return 0.0 if r.min() == r.max() else float(r.std(ddof=1))


def sortino(returns: np.ndarray, bars_per_year: float) -> float:
    """Reward for the risk of losing: `mean(r) A / (sqrt(mean(min(r, 0)^2)) sqrt(A))`, the mean over all bars.

    Source: Sortino and Price, "Performance Measurement in a Downside Risk Framework", Journal of Investing, 1994.
    """
    r = _series(returns)
    if not len(r):
        return math.nan
    downside = math.sqrt(np.mean(np.minimum(r, 0) ** 2))
    return _ratio(r.mean(), downside) * math.sqrt(bars_per_year)


def cagr(returns: np.ndarray, bars_per_year: float) -> float:
    """Compound growth per year: `E_T^(A/T) - 1`, `E_T = prod(1 + r)`; nan where it overflows or equity is negative."""
    r = _series(returns)
    if not len(r):
        return math.nan
    with np.errstate(over="ignore", invalid="ignore"):
        final = np.prod(1 + r)
        return _finite(final ** (bars_per_year / len(r)) - 1) if final >= 0 else math.nan


def max_drawdown(returns: np.ndarray) -> float:
    """Deepest fall from a peak: `min(E / cummax(E) - 1)`, at most 0; the start, `E_0 = 1`, can be the peak."""
    r = _series(returns)
    if not len(r):
        return math.nan
    with np.errstate(over="ignore", invalid="ignore"):
        equity = np.concatenate([[1.0], np.cumprod(1 + r)])
        return _finite(np.min(equity / np.maximum.accumulate(equity) - 1))


def calmar(returns: np.ndarray, bars_per_year: float) -> float:
    """Growth for the deepest fall: `cagr / abs(max_drawdown)`; nan without a fall.

    Source: Young, "Calmar Ratio: A Smoother Tool", Futures, 1991.
    """
    return calmar_of(cagr(returns, bars_per_year), max_drawdown(returns))


def calmar_of(growth: float, fall: float) -> float:
    """The Calmar ratio of a CAGR and a maximum drawdown that are known."""
    return _ratio(growth, -fall)


def cvar_5(returns: np.ndarray) -> float:
    """Expected return of a bad bar: the mean of the `int((T - 1) .05) + 1` worst.

    Source: Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", Journal of Risk, 2000.
    """
    r = _series(returns)
    if not len(r):
        return math.nan
    worst = int((len(r) - 1) * 0.05)
    return float(np.mean(np.partition(r, worst)[: worst + 1]))


def win_rate_bar(returns: np.ndarray, held: np.ndarray) -> float:
    """Share of the bars with exposure, `sum(held) > 0`, whose return is > 0; nan without any.

    A bar that only sells the last position counts as flat: nothing is held over its close.
    """
    r, invested = _series(returns), _gross(_weights(held)) > FLAT
    if not len(r) or not invested.any():
        return math.nan
    return float(np.mean(r[invested] > 0))


def win_rate_trip(held: np.ndarray, pnl: np.ndarray, liquidated: np.ndarray | None = None) -> float:
    """Share of round trips that made money, see `trip_profits`; nan without any."""
    profits = trip_profits(held, pnl, liquidated)
    return float(np.mean(profits > 0)) if len(profits) else math.nan


def trip_profits(held: np.ndarray, pnl: np.ndarray, liquidated: np.ndarray | None = None) -> np.ndarray:
    """Profits of an account's round trips, (K,) shares of its equity at the start; none where values are not finite.

    A trip is one asset's way from flat to flat, whatever is bought or sold in between: what vectorbt calls a position
    (its trades end at every partial sale). It runs from the first bar with `held > 0` to the bar that sells the rest,
    that bar included: it carries the drift up to the sale and the fee. An open trip counts at the last mark.

    A trip's profit is money, `sum_t E_t pnl[t, i]`, with the account's equity `E_t = prod_{u<t} (1 + sum_i pnl[u, i])`.

    Args:
        held: (T, N) weights after the trade of bar t.
        pnl: (T, N) what asset i brought in bar t, after its costs, as a share of the equity before that bar; a row
            sums to the bar's return. In the account's letters `w to_fill + (1 + r1) (held to_mark - c abs(delta))`.
        liquidated: (T,) bool, bars after whose mark everything is sold (the end of a segment): trips end there.
    """
    held, pnl = _weights(held), np.asarray(pnl, float).reshape(np.shape(held))
    if len(held) < 2 or not np.isfinite(pnl).all() or not np.isfinite(held).all():
        return np.zeros(0)
    ended = np.zeros(len(held), bool) if liquidated is None else np.asarray(liquidated, bool)
    equity = np.concatenate([[1.0], np.cumprod(1 + pnl.sum(axis=1))[:-1]])
    return np.concatenate([_trips(held[:, i] > FLAT, equity * pnl[:, i], ended) for i in range(held.shape[1])])


def turnover(traded: np.ndarray, bars_per_year: float) -> float:
    """Equity traded per year, `mean(traded) A`, buys and sales alike.

    Args:
        traded: (T,) what costs are paid for: `sum(abs(delta))` of the bar, and of a stretch's last bar the final sale.
        bars_per_year: A.
    """
    traded = _series(traded)
    return float(traded.mean() * bars_per_year) if len(traded) else math.nan


def cost_drag(cost: np.ndarray, bars_per_year: float) -> float:
    """Share of equity that fees and slippage take per year, `mean(cost) A`; cost (T,) as a share of equity."""
    return turnover(cost, bars_per_year)


def exposure(held: np.ndarray) -> float:
    """Mean share of equity at risk, `mean(sum(held))`."""
    total = _series(_gross(_weights(held)))
    return float(total.mean()) if len(total) else math.nan


def herfindahl(held: np.ndarray) -> float:
    """Concentration while invested, `mean(sum(a^2))`, `a = held / sum(held)`: 1/N is even, 1 is a single asset."""
    return herfindahl_of(concentration(held))


def herfindahl_of(shares: np.ndarray) -> float:
    """The Herfindahl index of concentrations by bar that are known, (T,)."""
    invested = shares[~np.isnan(shares)]
    return float(np.mean(invested)) if len(shares) > 1 and len(invested) and np.isfinite(invested).all() else math.nan


def concentration(held: np.ndarray) -> np.ndarray:
    """`sum(a^2)` of every bar, (T,): nan while flat, inf where a weight is not finite."""
    held = _weights(held)
    total = _gross(held)
    finite = np.isfinite(total)
    invested = finite & (total > FLAT)
    squares = np.einsum("tn,tn->t", held, held)
    shares = np.divide(squares, total**2, out=np.full(len(held), np.nan), where=invested)
    shares[~finite] = np.inf
    return shares


def diversification(held: np.ndarray) -> float:
    """`1 - herfindahl`: 0 is a single asset, 1 - 1/N is even."""
    return 1 - herfindahl(held)


def _trips(invested: np.ndarray, money: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Profit of each trip of one asset, (trips,), from its positions, money made and ends, each (T,)."""
    before = np.concatenate([[False], (invested & ~ended)[:-1]])  # bar t opens with a position
    number = np.cumsum(invested & ~before)  # of the trip that a bar belongs to, if any
    on_trip = invested | before
    return np.bincount(number[on_trip], weights=money[on_trip], minlength=1)[1:]


def _series(x: np.ndarray) -> np.ndarray:
    """The series as float64, (T,); empty where nothing can be said: fewer than two numbers, or one not finite."""
    x = np.asarray(x, float)
    if x.ndim != 1:
        raise ValueError(f"a series has one axis, this array has shape {x.shape}")
    return x if len(x) > 1 and np.isfinite(x).all() else x[:0]


def _weights(held: np.ndarray) -> np.ndarray:
    """Weights as float64, (T, N)."""
    held = np.asarray(held, float)
    if held.ndim != 2:
        raise ValueError(f"weights have two axes, bars and assets, this array has shape {held.shape}")
    return held


def _gross(held: np.ndarray) -> np.ndarray:
    """Sum of the weights of every bar, (T,); a product with ones, since numpy sums short rows slowly."""
    return np.asarray(held @ np.ones(held.shape[1]))


def _ratio(numerator: float, denominator: float) -> float:
    """The ratio as a float, nan where the denominator is not positive."""
    return float(numerator / denominator) if denominator > 0 else math.nan


def _finite(x: float) -> float:
    """The number, nan where it is infinite."""
    return float(x) if math.isfinite(x) else math.nan


def zero_if_nan(x: float) -> float:
    """A Sharpe ratio without deviation (cash) counts as 0."""
    return 0.0 if math.isnan(x) else x
