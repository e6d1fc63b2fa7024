"""Durations as numbers of bars: a window of so many hours is the same stretch of time at every bar length."""

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple, TypeVar

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.times import HOUR_MS

BASE_HOURS = 400  # of the look-back of `base`: the tails of RSI and MACD are below 1e-9 by then
F = TypeVar("F", bound=Callable[..., Any])


class Lookbacks(NamedTuple):
    """Lengths of the windows of the set `base`, in bars."""

    one_hour: int
    four_hours: int
    day: int
    week: int
    lookback: int  # rows that a feature of the set may depend on
    rsi: int = 14
    fast: int = 12  # periods of MACD
    slow: int = 26
    signal: int = 9


def bars_of(hours: float, bar_ms: int, least: int = 1) -> int:
    """The number of bars nearest to a duration, at least one: a window shorter than a bar becomes one bar."""
    return max(least, int(hours * HOUR_MS / bar_ms + 0.5))


def per_hour(bar_ms: int) -> int:
    """Bars of an hour, 1 where a bar is longer: the unit of windows that need many bars whatever their length."""
    return max(1, HOUR_MS // bar_ms)


def check_bar(bar_ms: int) -> None:
    """Refuses a bar that has no windows.

    Raises:
        ValueError: it is shorter than an hour and does not divide it.
    """
    if bar_ms < HOUR_MS and HOUR_MS % bar_ms:
        raise ValueError(f"bars of {bar_ms} ms do not divide an hour")


def refuse_odd_bar(candles: Candles) -> None:
    """Refuses bars that features have no windows for.

    Raises:
        InputError: names the symbols and the bar.
    """
    try:
        check_bar(candles.bar_ms)
    except ValueError as error:
        raise InputError(f"{', '.join(candles.symbols)}: {error}; allowed bars divide an hour or are longer") from error


def lookbacks(bar_ms: int) -> Lookbacks:
    """Windows of the set `base`: durations, but RSI and MACD need two bars, and the fast average fewer than the slow.

    The look-back is 400 h, and as many periods of RSI and MACD as that is of an hour.

    Raises:
        ValueError: the bar is shorter than an hour and does not divide it.
    """
    check_bar(bar_ms)
    rsi, fast = bars_of(14, bar_ms, 2), bars_of(12, bar_ms, 2)
    slow, signal = max(bars_of(26, bar_ms), fast + 1), bars_of(9, bar_ms, 2)
    faded = max(ceil(BASE_HOURS * rsi / 14), ceil(BASE_HOURS * slow / 26))
    lookback = max(bars_of(BASE_HOURS, bar_ms), faded)
    one, four, day, week = (bars_of(hours, bar_ms) for hours in (1, 4, 24, 168))
    return Lookbacks(one, four, day, week, lookback, rsi, fast, slow, signal)


def feature_set(*names: str, lookback: Callable[[int], int]) -> Callable[[F], F]:
    """Decorates the function of a feature set with its names and its look-back.

    Args:
        names: of its features, in their order.
        lookback: rows that they may depend on, by the length of a bar in milliseconds.
    """

    def declare(function: F) -> F:
        function.names, function.lookback = names, lookback  # type: ignore[attr-defined]
        return function

    return declare
