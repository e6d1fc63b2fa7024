"""Synthetic candles: correlated assets with clustered volatility, fat tails and a trend of known strength.

The close-to-close return of asset i in bar t is

    r[t, i] = s[t] (p g[t, i] + z[t, i])
    g[t, i] = phi g[t-1, i] + sqrt(1 - phi^2) z[t-1, i]

with `s` a volatility that all assets share (its log is an AR(1), sd `clustering`), `z` a Student t shock of unit
variance and pair correlation `correlation`, `p` the `predictability`. `g` is a decaying sum of past shocks with unit
variance: the market trends, and whoever reads past candles can see it. There is no drift: holding earns nothing on
average. Over spans much longer than a trend, paths are `1 + p sqrt((1 + phi) / (1 - phi))` = 1.66 times as wide as `s`
says.

**What a perfect policy could earn.** Who knows the mean `m = p s g` and the deviation `s` of the next bar, and pays
nothing, holds `max(m, 0) / s^2`. Per bar `E[w r] = p^2 / 2` and `E[(w r)^2] = (p^2 + p^4 E[g^4]) / 2`, so its annual
Sharpe ratio over A bars is

    sqrt(A) p / sqrt(2 + (2 E[g^4] - 1) p^2),    E[g^4] = 3 + 6 / (tail - 4) * (1 - phi^2) / (1 + phi^2)

**1.98** at the defaults for one asset; 2.81 if it may also go short. See `perfect_sharpe`. Costs take their part: half
of equity held or not held by the sign of g, at 10 bp a trade, keeps 0.8; 1.3 if |g| < 0.5 changes nothing.
"""

import math
import re
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from himari_jax.candles import RawCandles
from himari_jax.command import require
from himari_jax.errors import InputError
from himari_jax.sources.request import SourceRequest
from himari_jax.times import HOUR_MS, YEAR_MS, span

START_MS = 946_684_800_000  # 2000-01-01 UTC, early enough for 25 years of bars that lie in the past
START_PRICE = 100.0
MEAN_VOLUME = 1_000.0
MOST_BARS = 100_000_000
MOST_MS = 10_000 * YEAR_MS
MAX_MOVE = 0.5  # no bar moves further, up or down: a price stays positive under any setting


@dataclass(frozen=True)
class Options:
    """Parameters of the synthetic market; equal options make equal candles."""

    num_bars: int = 43_800
    """Length in bars; five years of hours by default."""
    seed: int = 0
    """Seed of every random number, 0 or more."""
    volatility: float = 0.6
    """Annual deviation of the bar returns of each asset; 0.6 is 60 % a year."""
    correlation: float = 0.6
    """Correlation of the bar returns of any two assets, 0 to below 1."""
    clustering: float = 0.5
    """Deviation of the log of the volatility; 0 is one volatility for ever."""
    clustering_half_life: float = 120.0
    """Hours in which a burst of volatility halves (in logs)."""
    tail: float = 6.0
    """Degrees of freedom of the Student t shocks, above 4; lower is fatter."""
    predictability: float = 0.03
    """Deviation of the expected return of an hour as a share of its volatility; 0 is a market with nothing to find."""
    predictability_half_life: float = 168.0
    """Hours in which a trend halves."""

    def __post_init__(self) -> None:
        """Refuses values that make no market."""
        most = isinstance(self.num_bars, int) and 2 <= self.num_bars <= MOST_BARS
        _check("num-bars", self.num_bars, most, f"an integer >= 2, at most {MOST_BARS:,}")
        _check("seed", self.seed, isinstance(self.seed, int) and self.seed >= 0, "an integer >= 0")
        _check("volatility", self.volatility, 0 < self.volatility <= 5, "above 0 and at most 5 (a year)")
        _check("correlation", self.correlation, 0 <= self.correlation < 1, "from 0 to below 1")
        _check("clustering", self.clustering, 0 <= self.clustering <= 1, "from 0 to 1")
        _check("tail", self.tail, 4 < self.tail < math.inf, "above 4, so that the kurtosis is finite")
        _check("predictability", self.predictability, 0 <= self.predictability <= 0.5, "from 0 to 0.5")
        for name in ("clustering_half_life", "predictability_half_life"):
            value = getattr(self, name)
            _check(name.replace("_", "-"), value, 0 < value < math.inf, "a number of hours above 0")


@dataclass(frozen=True)
class _Hidden:
    """Latent variables of the market, which no candle shows; row t of mean and sd is known before bar t opens."""

    mean: np.ndarray  # (T, N) expected simple return of bar t
    sd: np.ndarray  # (T, N) deviation of that return, given what is known before the bar
    shock: np.ndarray  # (T, N) z, unit variance
    scale: np.ndarray  # (T,) deviation of the path within bar t: sd times the size of the bar's common shock


def load(request: SourceRequest) -> list[RawCandles]:
    """Makes the candles of SYN1, SYN2, ...; a symbol's candles do not depend on the others or on how many bars follow.

    Args:
        request: `symbols` (tuple of str, empty: SYN1), `bar_ms` (None: one hour), `options` (None: the defaults).

    Raises:
        InputError: a symbol that is not SYN1, SYN2, ..., one named twice, or a bar length that is not positive.
    """
    symbols = tuple(request.symbols) or ("SYN1",)
    bar_ms = HOUR_MS if request.bar_ms is None else request.bar_ms
    options = request.options or Options()
    if not isinstance(options, Options):
        raise TypeError(f"options of the synthetic source are Options, not {type(options).__name__}")
    numbers = _numbers(symbols)
    if options.num_bars * bar_ms > MOST_MS:
        raise InputError(f"--synthetic.num-bars {options.num_bars} of {span(bar_ms)}: longer than 10,000 years")
    hidden = _hidden(options, numbers, bar_ms)
    return [
        _candles(symbol, number, bar_ms, options, hidden, column)
        for column, (symbol, number) in enumerate(zip(symbols, numbers, strict=True))
    ]


def hidden_moments(
    options: Options, symbols: tuple[str, ...] = ("SYN1",), bar_ms: int = HOUR_MS
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each bar's simple return, given everything before the bar.

    Row t belongs to `close[t] / close[t-1] - 1`, so a policy that decides at row t-1 would need row t.

    Returns:
        mean (T, N), sd (T, N), per bar.
    """
    hidden = _hidden(options, _numbers(symbols), bar_ms)
    return hidden.mean, hidden.sd


def perfect_sharpe(options: Options, bar_ms: int = HOUR_MS, long_only: bool = True) -> float:
    """Annual Sharpe ratio of the policy that knows `hidden_moments` of one asset and pays no costs.

    Long only: `sqrt(A) p / sqrt(2 + (2 k - 1) p^2)`; long and short: `sqrt(A) p / sqrt(1 + (k - 1) p^2)`; `p` is the
    predictability of a bar, `k = E[g^4]`, A the bars of a year of 365 days.
    """
    p, phi = _bar_predictability(options, bar_ms), _decay(options.predictability_half_life, bar_ms)
    k = 3 + 6 / (options.tail - 4) * (1 - phi**2) / (1 + phi**2)
    spread = 2 + (2 * k - 1) * p**2 if long_only else 1 + (k - 1) * p**2
    return math.sqrt(YEAR_MS / bar_ms) * p / math.sqrt(spread)


def _hidden(options: Options, numbers: list[int], bar_ms: int) -> _Hidden:
    """Draws shocks, volatility and trend; every stream is read in time order, so more bars only extend it."""
    if not bar_ms > 0:
        raise InputError(f"synthetic bars of {bar_ms} ms: the bar must be longer than 0")
    size = options.num_bars
    log_volatility, common, tail = _streams(options.seed, 0, 3)
    rho, first = options.correlation, slice(0, 1)
    own = np.column_stack([_streams(options.seed, n, 4)[0].standard_normal(size + 1) for n in numbers])
    normal = math.sqrt(rho) * common.standard_normal(size + 1)[:, None] + math.sqrt(1 - rho) * own  # (T+1, N)
    fatness = np.sqrt((options.tail - 2) / tail.chisquare(options.tail, size))  # (T,) E[fatness^2] = 1
    shock = normal[1:] * fatness[:, None]

    h = options.clustering * _ar1(log_volatility.standard_normal(size), _decay(options.clustering_half_life, bar_ms))
    # E[exp(2h)] = exp(2 var): the shift keeps the mean variance where the flag puts it
    sd = options.volatility * math.sqrt(bar_ms / YEAR_MS) * np.exp(h - options.clustering**2)
    phi = _decay(options.predictability_half_life, bar_ms)
    known = np.concatenate([normal[first], shock[:-1]])  # row t holds the shock of bar t-1
    trend = np.column_stack([_ar1(column, phi) for column in known.T])
    mean = _bar_predictability(options, bar_ms) * sd[:, None] * trend
    return _Hidden(mean, np.broadcast_to(sd[:, None], mean.shape).copy(), shock, sd * fatness)


def _candles(symbol: str, number: int, bar_ms: int, options: Options, hidden: _Hidden, column: int) -> RawCandles:
    """Candles of one asset around its returns.

    High and low are extremes of a Brownian bridge of the bar's deviation `s` from 0 to its log return c
    (u, v uniform): `(c + sqrt(c^2 - 2 s^2 ln u)) / 2` and `(c - sqrt(c^2 - 2 s^2 ln v)) / 2`.
    """
    _, up, down, activity = _streams(options.seed, number, 4)
    size = options.num_bars
    r = np.clip(hidden.mean[:, column] + hidden.sd[:, column] * hidden.shock[:, column], -MAX_MOVE, MAX_MOVE)
    c, s = np.log1p(r), hidden.scale
    close = START_PRICE * np.exp(np.cumsum(c))
    opens = np.concatenate([[START_PRICE], close[:-1]])
    high = opens * np.exp((c + np.sqrt(c**2 + 2 * s**2 * up.standard_exponential(size))) / 2)
    low = opens * np.exp((c - np.sqrt(c**2 + 2 * s**2 * down.standard_exponential(size))) / 2)
    move = np.abs(c) / (options.volatility * math.sqrt(bar_ms / YEAR_MS))
    volume = MEAN_VOLUME * (0.2 + move) ** 0.7 * np.exp(0.3 * activity.standard_normal(size))
    return RawCandles(
        symbol=symbol,
        origin="synthetic",
        row=np.arange(1, size + 1, dtype=np.int64),
        time=START_MS + bar_ms * np.arange(size, dtype=np.int64),
        open=opens,
        high=np.maximum(high, np.maximum(opens, close)),  # rounding must not put an end outside the range
        low=np.minimum(low, np.minimum(opens, close)),
        close=close,
        volume=volume,
        notes=(f"SYNTHETIC: made by chance, {options}",),
        synthetic=True,
    )


def _ar1(innovation: np.ndarray, phi: float) -> np.ndarray:
    """`x[0] = e[0]`, `x[t] = phi x[t-1] + sqrt(1 - phi^2) e[t]`, (T,): unit variance where e has it."""
    fresh = innovation * math.sqrt(1 - phi**2)
    fresh[0] = innovation[0]
    return np.fromiter(accumulate(fresh.tolist(), lambda x, e: phi * x + e), float, len(fresh))


def _decay(half_life_hours: float, bar_ms: int) -> float:
    """Decay factor per bar of a quantity with this half-life: `0.5^(bar hours / half-life)`."""
    return 0.5 ** (bar_ms / HOUR_MS / half_life_hours)


def _bar_predictability(options: Options, bar_ms: int) -> float:
    """Means grow with time, deviations with its root: the share of a bar is the share of an hour times sqrt(hours)."""
    return options.predictability * math.sqrt(bar_ms / HOUR_MS)


def _streams(seed: int, number: int, count: int) -> list[np.random.Generator]:
    """Independent generators of one asset (number 1, 2, ...) or of the market (0)."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence([seed, number]).spawn(count)]


def _numbers(symbols: tuple[str, ...]) -> list[int]:
    """The number in each name."""
    for symbol in symbols:
        if not re.fullmatch(r"SYN[1-9]\d{0,5}", symbol):
            raise InputError(f"symbol {symbol}: synthetic symbols are SYN1, SYN2, SYN3, ...")
    if len(set(symbols)) < len(symbols):
        raise InputError(f"symbols {' '.join(symbols)}: each may be named once")
    return [int(symbol[3:]) for symbol in symbols]


def _check(flag: str, value: object, good: bool, allowed: str) -> None:
    """Refuses a value out of range in one line."""
    require(good, f"--synthetic.{flag}", value, allowed)
