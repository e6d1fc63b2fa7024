"""Files of a pool: daily or hourly candles of symbols that begin and end at their own times."""

from pathlib import Path

import numpy as np
import polars as pl

from himari_jax.times import HOUR_MS

ROWS = 3000
START = 1_600_000_000_000 // (24 * HOUR_MS) * 24 * HOUR_MS  # a midnight
OWN = {"AAA": (0, ROWS), "BBB": (700, ROWS - 200), "CCC": (1300, ROWS)}  # rows that a symbol has


def write_pool(folder: Path, own: dict[str, tuple[int, int]] | None = None, seed: int = 0) -> Path:
    """One Parquet file of hours for each symbol; prices follow the symbol, whatever the rows it has."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, (symbol, (first, stop)) in enumerate((own or OWN).items()):
        rng = np.random.default_rng(100 * seed + n)
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, ROWS)))
        opens = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.001, ROWS))
        columns = {
            "timestamp": START + HOUR_MS * np.arange(ROWS),
            "open": opens,
            "high": np.maximum(opens, close) * 1.001,
            "low": np.minimum(opens, close) * 0.999,
            "close": close,
            "volume": rng.lognormal(3, 1, ROWS),
        }
        pl.DataFrame({name: x[first:stop] for name, x in columns.items()}).write_parquet(folder / f"{symbol}.parquet")
    return folder
