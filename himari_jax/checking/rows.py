"""Checks of single rows: rows without a price, rounding, and rows that no market can have made (numpy only)."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from himari_jax.candles import COLUMNS, DataReport, RawCandles
from himari_jax.errors import Fault
from himari_jax.times import first_times, iso_minute

PRICE_RANGE = (1e-18, 1e18)  # the ratio of two prices stays a float32
MOST_VOLUME = 1e30
ROUNDING = 1e-9  # a billionth, share of the price by which rounding may put high or low inside the body


class Rule(NamedTuple):
    """A rule for one column, and the rows that break it."""

    column: str
    bad: np.ndarray  # (T,) bool
    allowed: str


def at(raw: RawCandles, index: int | np.integer, what: str) -> str:
    """Words a fault of a row, with file, row and time."""
    return f"{raw.place(index)}, {iso_minute(raw.time[index])}: {what}"


def take(raw: RawCandles, index: np.ndarray) -> RawCandles:
    """Selects rows by index (K,) or by mask (T,) bool."""
    return replace(raw, **{name: getattr(raw, name)[index] for name in ("row", "time", *COLUMNS)})


def drop_priceless(raw: RawCandles, report: DataReport) -> RawCandles:
    """Drops rows whose four prices are all NaN, whatever their volume: missing candles, which gaps are made of."""
    missing = np.asarray(np.isnan([getattr(raw, name) for name in COLUMNS[:4]]).all(axis=0))
    if not missing.any():
        return raw
    what = f"rows without any price, taken for missing candles: {first_times(raw.time[missing])}"
    report.add("no_price", raw.symbol, missing.sum(), what)
    return take(raw, ~missing)


def mend_rounding(raw: RawCandles, report: DataReport) -> RawCandles:
    """Raises highs and lowers lows to open and close where they miss them by rounding alone.

    Prices that were adjusted by a factor or converted miss by a last digit; more than that is no rounding.
    """
    top, bottom = np.maximum(raw.open, raw.close), np.minimum(raw.open, raw.close)
    below = (raw.high < top) & (raw.high >= top * (1 - ROUNDING))
    above = (raw.low > bottom) & (raw.low <= bottom * (1 + ROUNDING))
    mended = below | above
    if not mended.any():
        return raw
    what = "highs raised or lows lowered to open and close, by less than a billionth of the price"
    report.add("rounding", raw.symbol, mended.sum(), f"{what}: {first_times(raw.time[mended])}")
    return replace(raw, high=np.where(below, top, raw.high), low=np.where(above, bottom, raw.low))


def rules_of(raw: RawCandles) -> list[Rule]:
    """Applies every rule; a row that breaks several is reported under the first."""
    top, bottom = np.maximum(raw.open, raw.close), np.minimum(raw.open, raw.close)
    prices = [(name, getattr(raw, name)) for name in COLUMNS[:4]]
    low, high = PRICE_RANGE
    return [
        *(Rule(name, ~(np.isfinite(value) & (value > 0)), "finite and > 0") for name, value in prices),
        *(Rule(name, (value < low) | (value > high), f"{low:g} to {high:g}") for name, value in prices),
        Rule("high", raw.high < top, "high >= max(open, close)"),
        Rule("low", raw.low > bottom, "low <= min(open, close)"),
        Rule("volume", ~(np.isfinite(raw.volume) & (raw.volume >= 0)), "finite and >= 0"),
        Rule("volume", raw.volume > MOST_VOLUME, f"up to {MOST_VOLUME:g}"),
    ]


def bad_rows(raw: RawCandles) -> tuple[np.ndarray, list[Fault]]:
    """Finds the rows that no market can have made.

    Returns the rows, (T,) bool, and for each kind of fault its first row and how many more there are.
    """
    rules = rules_of(raw)
    bad = np.logical_or.reduce([rule.bad for rule in rules])
    if not bad.any():
        return bad, []
    first = np.stack([rule.bad for rule in rules]).argmax(axis=0)
    found = []
    for allowed in dict.fromkeys(rule.allowed for rule in rules):
        kind = [k for k, rule in enumerate(rules) if rule.allowed == allowed]
        if len(rows := np.flatnonzero(bad & np.isin(first, kind))):
            index, column = int(rows[0]), rules[first[rows[0]]].column
            candle = " ".join(f"{name} {getattr(raw, name)[index]:.12g}" for name in COLUMNS)
            what = f"{column} = {getattr(raw, column)[index]:.12g} ({candle}); allowed: {allowed}{more(len(rows))}"
            found.append((index, Fault(at(raw, index, what))))
    return bad, [fault for _, fault in sorted(found)]


def more(count: int) -> str:
    """Words how many rows beside the reported one have the same fault."""
    return f"; {count - 1} more such row{'s' if count > 2 else ''}" if count > 1 else ""


def unfinished(raw: RawCandles, index: int) -> str:
    """Says why a bad row may be a candle still being made: a missing value, or prices that contradict; else empty."""
    candle = {name: float(getattr(raw, name)[index]) for name in COLUMNS}
    if lacking := [name for name, value in candle.items() if np.isnan(value)]:
        return f"no {lacking[0]}"
    broken = next(rule for rule in rules_of(take(raw, np.array([index]))) if rule.bad[0])
    if not broken.allowed.startswith(broken.column):  # neither high >= max(open, close) nor low <= min(open, close)
        return ""
    return ", ".join(f"{name} {candle[name]:.12g}" for name in (broken.column, "open", "close"))
