"""Raw candles of a few bars, and what their check says."""

from dataclasses import replace

import numpy as np

from himari_jax.candles import RawCandles
from himari_jax.checking.candles import check_candles

HOUR = 3_600_000
START = 1_577_836_800_000  # 2020-01-01T00:00Z
NOW = START + 10**6 * HOUR


def make(hours, close=None, symbol="A", bar=HOUR, **columns):
    """Candles at the given bars, each flat around its close with a volume of 5."""
    hours = np.asarray(hours)
    close = 100.0 + np.arange(len(hours)) % 7 if close is None else np.asarray(close, float)
    values = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": close * 0 + 5}
    values |= {name: np.asarray(value, float) for name, value in columns.items()}
    return RawCandles(symbol, f"{symbol}.csv", np.arange(len(hours)) + 2, START + hours * bar, **values)


def check(*raws, **options):
    return check_candles(raws, **{"now_ms": NOW, **options})


def kinds(report):
    return {(entry["kind"], entry["symbol"]): entry["count"] for entry in report.entries}


def changed(raw, name, index, value):
    column = getattr(raw, name).copy()
    column[index] = value
    return replace(raw, **{name: column})
