"""Finished run folders of a walk-forward test, without any training."""

import json

import numpy as np
import polars as pl
from report_runs import BASELINES, block, make_result

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
DAY = 86_400_000
YEAR = 365  # bars of a day


def make_blocks(symbols=SYMBOLS, years=range(2018, 2023), seeds=4):
    """Yearly blocks; the last symbol is listed after the first year."""
    rng = np.random.default_rng(1)

    def one(year, k):
        own = {
            name: {"sharpe": 1.2, "constant_sharpe": 0.9, "difference": float(rng.normal(0.3, 0.4))} for name in symbols
        }
        return {
            "train": ["2013-02-01T00:00:00Z", f"{year - 2}-12-30T00:00:00Z"],
            "val": [f"{year - 1}-01-02T00:00:00Z", f"{year - 1}-12-30T00:00:00Z"],
            "test": [f"{year}-01-02T00:00:00Z", f"{year}-12-30T00:00:00Z"],
            "decisions": 1089 + k,
            "symbols": len(symbols),
            "sharpe": 1.11 + k,
            "base_sharpe": 0.87,
            "constant_sharpe": 0.91,
            "difference": 0.2 + k / 8 if k < 4 else -0.29,
            "late_difference": 0.1 + k / 9 if k < 4 else -0.33,
            "turnover": 17.3,
            "multiplier": 1.04,
            "validation_sharpe": [1.5 + s / 7 for s in range(seeds)],
            "best_update": [12 + s for s in range(seeds)],
            "by_symbol": own | ({symbols[-1]: None} if k == 0 and len(symbols) > 1 else {}),
        }

    return [one(year, k) for k, year in enumerate(years)]


def make_walk(**more):
    """The block `walk_forward` of result.json."""
    null = np.random.default_rng(2).normal(-0.05, 0.17, 199).tolist()
    return {
        "test": "1y",
        "window": "expanding",
        "validation": "1y",
        "embargo_bars": 2,
        "ensemble": "mean",
        "blocks": make_blocks(),
        "seeds": [{"seed": k, "sharpe": 1.38 + k / 50, "difference": 0.38 + k / 50} for k in range(4)],
        "trend": {
            "name": "trend",
            "sharpe": 1.27,
            "difference": 0.153,
            "p": 0.121,
            "low": -0.05,
            "high": 0.36,
            "late": 0.08,
        },
        "trend_rule": {"sharpe": 1.27, "difference": 0.29, "interval": [0.01, 0.55]},
        "placebo": [
            {"shift": "1y", "sharpe": 0.71, "difference": -0.28, "interval": [-0.6, 0.05]},
            {"shift": "2y", "sharpe": 1.31, "difference": 0.33, "interval": [0.03, 0.63]},
        ],
        "permutations": {"kind": "bars", "number": 199, "value": 0.441, "null": null, "p": 0.005},
        "timings": {"train_seconds": 81.2, "steps": 12_800_000, "device": "cpu"},
        **more,
    }


def rival(name, sharpe, difference):
    """A block of `rivals`."""
    return {
        "name": name,
        "sharpe": sharpe,
        "difference": difference,
        "p": 0.004,
        "low": 0.18,
        "high": 0.7,
        "error": 0.16,
        "late": difference - 0.1,
    }


def make_walk_result(symbols=SYMBOLS, walk=None, **more):
    """result.json of a walk-forward test: one evaluated policy, no learning curve."""
    seed = block(1.42, seed=0, sharpe_difference={"baseline": "constant", "value": 0.441, "interval": [0.13, 0.76]})
    own = block(
        1.2, decisions=1800, base_sharpe=0.8, constant_sharpe=0.9, timing_value=0.31, late_sharpe=1.1, multiplier=1.1
    )
    result = make_result(symbols, seeds=[seed])
    for name in ("best_update", "across_seeds"):
        del result[name]
    return result | {
        "verdict": {"word": "EDGE", "reason": "ahead of both rivals", "leans": None, "probability": None},
        "agent": seed,
        "chosen_seed": 0,
        "across_seeds": None,
        "synthetic": False,
        "spans": {"test": [["2018-01-02T00:00:00Z", "2022-12-30T00:00:00Z"]]},
        "rivals": {"base": rival("base", 0.95, 0.47), "constant": rival("constant", 0.979, 0.441)},
        "power": {
            "years": 5.0,
            "standard_error": 0.16,
            "level": 0.05,
            "even_odds": 0.26,
            "four_in_five": 0.4,
            "years_needed": 6.0,
            "worthwhile": 0.1,
        },
        "by_symbol": {name: own for name in symbols},
        "trials": 12,
        "deflated_sharpe": 0.973,
        "timings": {"steps": 12_800_000, "train_seconds": 81.2},
        "walk_forward": walk or make_walk(),
        **more,
    }


def make_walk_frame(symbols=SYMBOLS, days=5 * YEAR, seed=0, drift=0.0008):
    """equity.parquet of random walks, daily from 2018 on."""
    rng = np.random.default_rng(seed)
    first = int(np.datetime64("2018-01-02", "ms").astype(np.int64))
    time = pl.Series(first + DAY * np.arange(days)).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    common = rng.normal(0.0, 0.02, days)
    walk = {f"baseline_{n}": np.exp(np.cumsum(common + rng.normal(drift, 0.006, days))) for n in BASELINES}
    walk["baseline_cash"] = np.ones(days)
    held = {f"weight_{s}": rng.uniform(0, 1, days).astype(np.float32) for s in symbols}
    held |= {f"multiplier_{s}": rng.uniform(0, 2, days).astype(np.float32) for s in symbols}
    held |= {f"base_{s}": np.full(days, 0.25, np.float32) for s in symbols}
    equity = np.exp(np.cumsum(common + rng.normal(1.5 * drift, 0.006, days)))
    return pl.DataFrame({"time": time, **held, "equity": equity, **walk, "liquidated": np.arange(days) == days - 1})


def make_walk_run(folder, symbols=SYMBOLS, frame=True, **more):
    """A finished run folder of a walk-forward test: no metrics.jsonl is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = {"market": {"commission_rate": 0.001, "delay": 0}}
    config = {"flags": flags, "walk_forward": {"first_test": "2018-01-01", "test": "1y"}, "commit": "c" * 40}
    data = {"symbols": list(symbols), "bar": "1d", "calendar": "continuous", "findings": []}
    for name, value in (("result", make_walk_result(symbols, **more)), ("config", config), ("data_report", data)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    if frame:
        make_walk_frame(symbols).write_parquet(folder / "equity.parquet")
    return folder
