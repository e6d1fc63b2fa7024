"""Finished run folders without any training, and a parser of their reports."""

import gzip
import json
from html.parser import HTMLParser

import numpy as np
import polars as pl

from train.reporting import figure, packing
from train.reporting.run_files import Extra

BASELINES = figure.BASELINES.names
EVIL = "<script>alert(1)</script>"
YEAR = 8760  # bars of an hour
START_MS = 1_577_836_800_000


def block(sharpe=1.0, **more):
    """An agent's or a baseline's numbers."""
    names = "sortino cagr calmar max_drawdown cvar_5 win_rate_bar win_rate_trip turnover cost_drag exposure".split()
    numbers = dict.fromkeys([*names, "herfindahl", "diversification", "final_equity"], 0.5)
    return {"sharpe": sharpe, **numbers, "sharpe_interval": [-0.5, 2.5], **more}


def make_result(symbols, **more):
    """result.json of two seeds."""
    difference = {"baseline": "base", "value": -0.2, "interval": [-0.9, 0.5]}
    seeds = [block(1.0 + k, seed=k, sharpe_difference=difference) for k in range(2)]
    return {
        "verdict": {"word": "INCONCLUSIVE", "reason": "the interval does not exclude 0"},
        "chosen_seed": 0,
        "seeds": seeds,
        "agent": seeds[0],
        "baselines": {name: block(None if name == "cash" else 1.2) for name in BASELINES},
        "minimum_detectable_sharpe": 1.68,
        "delay": {"sharpe": 0.9, "sharpe_difference": -0.3},
        "across_seeds": {"sharpe_mean": 1.5, "collapsed": True},
        "advice": [],
        "symbols": list(symbols),
        "policy": "mlp",
        "synthetic": True,
        "spans": {"test": [["2020-01-01T00:00:00Z", "2020-03-01T00:00:00Z"]]},
        "fingerprint": "f" * 64,
        "timings": {"steps": 1000},
        "best_update": [4] * len(more.get("seeds", seeds)),
        **more,
    }


def make_frame(symbols, rows):
    """equity.parquet of random walks."""
    rng = np.random.default_rng(0)
    time = pl.Series(START_MS + 3_600_000 * np.arange(rows)).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    walk = {f"baseline_{name}": np.exp(np.cumsum(rng.normal(0, 0.005, rows))) for name in BASELINES}
    walk["baseline_cash"] = np.ones(rows)
    held = {f"weight_{s}": rng.uniform(0, 1 / len(symbols), rows).astype(np.float32) for s in symbols}
    held |= {f"multiplier_{s}": rng.uniform(0, 2, rows).astype(np.float32) for s in symbols}
    held |= {f"base_{s}": np.full(rows, 0.25, np.float32) for s in symbols}
    equity = np.exp(np.cumsum(rng.normal(0, 0.005, rows)))
    return pl.DataFrame({"time": time, **held, "equity": equity, **walk, "liquidated": np.arange(rows) == rows - 1})


def make_run(folder, symbols=("SYN1", "SYN2"), rows=2000, **more):
    """A finished run folder, without any training."""
    folder.mkdir(parents=True, exist_ok=True)
    finding = {"kind": "gap", "symbol": symbols[0], "count": 3, "detail": f"bars filled in {symbols[0]}.parquet"}
    data = {"symbols": list(symbols), "bar": "1h", "calendar": "continuous", "findings": [finding]}
    config = {"flags": {"market": {"commission_rate": 0.001, "delay": 0}}, "himari_jax": "0.1.0", "commit": "c" * 40}
    for name, value in (("result", make_result(symbols, **more)), ("config", config), ("data_report", data)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    keys = "episode_return approx_kl entropy log_std explained_variance policy_loss value_loss".split()
    measured = [{"update": k, "steps": k * 100, "validation_sharpe_by_seed": [k, k / 2]} for k in range(5)]
    lines = [line | dict.fromkeys(keys, 0.1) for line in measured]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    make_frame(symbols, rows).write_parquet(folder / "equity.parquet")
    return folder


def make_extra(symbols=("SYN1", "SYN2"), rows=2000):
    """Everything a report can show beyond the run folder."""
    prices = make_frame(symbols, rows).select("time", *(pl.col("equity").alias(s) for s in symbols))
    grid = [
        {"policy": p, "seed": s, "window": 0, "cost": float(c), "delay": d, "sharpe": 1 - c / 10 - d + s}
        for p in ("mlp", *BASELINES)
        for s in range(2)
        for c in (0, 10)
        for d in (0, 1)
    ]
    audits = [{"name": "causality", "passed": True, "detail": "fine"}, {"name": "lag", "passed": False, "detail": ""}]
    samples = np.random.default_rng(0).normal(0, 1, 500)
    return Extra(prices=prices, backtest=pl.DataFrame(grid), samples=samples, audits=audits)


class Page(HTMLParser):
    """Tags, words, headings and scripts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.headings, self.scripts, self.open = [], [], [], [], None
        self.sizes = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = (tag, dict(attrs))
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
            self.sizes.append(int(dict(attrs).get("data-bytes", 0)))

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        tag = self.open[0] if self.open else ""
        if tag == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif tag != "style":
            self.words.append(data)
            self.headings += [data] if tag in ("h1", "h2", "h3") else []

    @property
    def packed(self):
        """Unpacked texts of the page, in its order: figures, and the library last."""
        sized = zip(self.scripts, self.sizes, strict=True)
        return [unpack_text(text, size) for (kind, text), size in sized if kind == "text/plain"]


def read(path):
    """The page as parsed."""
    return Page(path.read_text(encoding="utf-8"))


def unpack(array):
    """Numbers of a plotly typed array."""
    return packing.unpacked(array)


def unpack_text(text, size):
    """The text that packing.py packed into letters, read as its docstring says."""
    places = {letter: k for k, letter in enumerate(packing.ALPHABET)}
    letters = np.array([places[letter] for letter in text.encode()]).reshape(-1, 2)
    bits = (letters @ [len(packing.ALPHABET), 1])[:, None] >> np.arange(packing.GROUP - 1, -1, -1) & 1
    return gzip.decompress(np.packbits(bits)[:size].tobytes()).decode()
