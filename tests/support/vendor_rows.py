"""Rows of candles as vendors write them: a template is filled with one series."""

from datetime import UTC, datetime, timedelta

import numpy as np

START = datetime(2024, 1, 13, tzinfo=UTC)  # a day above 12: it is no month
ROWS = 30


def series(hours: int) -> np.ndarray:
    """Epoch milliseconds, open, high, low, close, volume, (ROWS, 6), of bars of so many hours."""
    k = np.arange(ROWS)
    opens = 100 + 1.25 * k
    close = opens + np.where(k % 3, 0.75, -0.5)
    high, low = np.maximum(opens, close) + 0.5, np.minimum(opens, close) - 0.25
    time = START.timestamp() * 1000 + 3_600_000 * hours * k
    return np.stack([time, opens, high, low, close, 12.5 + k], axis=1)


def write(head: str, row: str, hours: int = 1) -> str:
    """A file: the head, then the row for each candle.

    The row is a format string of t (open, a datetime), e (end), s, ms, us, ns (epoch), o, h, l, c, v, q (money), and
    oc, hc, lc, cc, vc with decimal commas.
    """
    lines = []
    for time, *numbers in series(hours).tolist():
        t, s = datetime.fromtimestamp(time / 1000, UTC), int(time) // 1000
        cells = dict(zip("ohlcv", numbers, strict=True))
        commas = {f"{name}c": f"{value}".replace(".", ",") for name, value in cells.items()}
        epoch = {"s": s, "ms": s * 1000, "us": s * 10**6, "ns": s * 10**9, "end": (s + 3600 * hours) * 1000 - 1}
        money = {"q": cells["v"] * cells["c"], "m": (cells["h"] + cells["l"]) / 2}
        billions = {f"{name}9": round(value * 1e9) for name, value in cells.items()}
        lines.append(
            row.format(t=t, e=t + timedelta(hours=hours), **cells, **commas, **epoch, **money, **billions) + "\n"
        )
    return head + "".join(lines)
