"""Metrics of the paper loop for Prometheus: accounts, candles, drift and the live verdict of one model."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server, write_to_textfile

from export.live.desk import ACCOUNTS, NOT_FINITE, Desk
from export.live.figures import AccountFigures
from export.live.replay import Parity, log_returns, portfolio
from export.live.verdict import warm_up_and_aim
from himari_jax.errors import StorageError
from himari_jax.statistics.confidence_sequence import RunningSequence
from himari_jax.times import DAY_MS

DEVIATION_DAYS = 28  # over which the multiplier's deviation is taken
LEAST_DECISIONS = 60  # of a deviation

COUNTS = {
    "bars": "bars played",
    "decisions": "decisions of the policy",
    "late": "bars whose decision came too late to be traded",
    "skipped": "bars without a candle",
    "undecided": "bars at which the policy could not decide",
    "revised": "candles that the source changed after it had delivered them",
    "refused": "candles that no market can have made",
    "failures": "questions that the source did not answer",
    "nonfinite": "outputs of the policy that were not finite",
}


class PaperMetrics:
    """Prometheus metrics of a loop, updated with each record of its log.

    Args:
        desk: of the loop.
        bars_per_year: bars of a year.
    """

    def __init__(self, desk: Desk, bars_per_year: float):
        self.desk, self.bars_per_year = desk, bars_per_year
        self.accounts = {name: AccountFigures() for name in ACCOUNTS}
        self.difference = RunningSequence(*warm_up_and_aim(bars_per_year, desk.book.bar_ms))
        decisions = max(LEAST_DECISIONS, DEVIATION_DAYS * DAY_MS // (desk.book.bar_ms * desk.terms.step))
        self.multipliers: dict[str, deque[float]] = {symbol: deque(maxlen=decisions) for symbol in desk.book.symbols}
        self.registry = CollectorRegistry()
        self.counts = {name: self.counter(name, words) for name, words in COUNTS.items()}
        self.gauges = {
            "equity": self.gauge("equity", "equity, 1 at the start", "account"),
            "drawdown": self.gauge("max_drawdown", "largest fall from a peak, share of equity, 0 or less", "account"),
            "sharpe": self.gauge("sharpe", "annual Sharpe ratio since the start", "account"),
            "win_rate": self.gauge("win_rate", "share of bars with a gain, of those with a position", "account"),
            "turnover": self.gauge("turnover_yearly", "traded share of equity in a year", "account"),
            "cost": self.gauge("cost_yearly", "costs in a year, share of equity", "account"),
            "deviation": self.gauge("multiplier_deviation", "of the newest 28 days of decisions, the largest symbol's"),
            "test": self.gauge("test_span", "the same of the test span of training; drawdown: its 95 %", "figure"),
            "model": self.gauge("model_info", "1", "version", "hash", "kind", "calendar"),
            "difference": self.gauge("difference_yearly", "log growth of policy minus base in a year", "bound"),
            "multiplier": self.gauge("multiplier", "multiplier of the newest decision", "symbol"),
            "drift": self.gauge(
                "drift_score", "PSI over its threshold; above 1 it drifts", "lane", "window", "feature"
            ),
            "outside": self.gauge(
                "outside_share", "share of inputs outside of training's range", "lane", "window", "feature"
            ),
            "alarm": self.gauge("drift_alarm", "1 where a window of inputs is not like training", "lane", "window"),
            "candle": self.gauge(
                "newest_candle_close_seconds", "close of a symbol's newest candle, since 1970", "symbol"
            ),
            "decided": self.gauge("decided_seconds", "when the newest bar was played, seconds since 1970"),
            "bar": self.gauge("bar_seconds", "length of a bar"),
        }
        self.gauges["bar"].labels(self.model).set(desk.book.bar_ms / 1000)
        model = desk.model
        facts = model.version, model.digest, model.kind, str(model.manifest["calendar"])
        self.gauges["model"].labels(self.model, *facts).set(1)
        for figure, value in model.test_span.items():
            self.gauges["test"].labels(self.model, figure).set(value)

    @property
    def model(self) -> str:
        """Value of the label `model`, which every metric has."""
        return self.desk.model.name

    def counter(self, name: str, words: str) -> Any:
        """Registers a counter that begins at 0."""
        made = Counter(f"himari_paper_{name}", words, ("model",), registry=self.registry)
        made.labels(self.model)
        return made

    def gauge(self, name: str, words: str, *labels: str) -> Any:
        """Registers a gauge."""
        return Gauge(f"himari_paper_{name}", words, ("model", *labels), registry=self.registry)

    def serve(self, port: int, host: str = "127.0.0.1") -> int:
        """Serves /metrics in a thread; returns the port."""
        server, _ = start_http_server(port, host, self.registry)
        return int(server.server_port)

    def catch_up(self, records: list[dict[str, Any]]) -> None:
        """Adds the records of a log that is resumed; the desk is as the last one left it."""
        bars = [record for record in records if record["kind"] == "bar"]
        for record in bars[:-1]:
            self.count(record)
        if bars:
            self.update(bars[-1])

    def update(self, record: dict[str, Any]) -> None:
        """Adds a record and sets all gauges."""
        self.count(record)
        self.refresh()
        for lane, entry in zip(self.desk.lanes, record["lanes"], strict=True):
            for symbol, multiplier in zip(lane.symbols, entry.get("multiplier", ()), strict=False):
                self.gauges["multiplier"].labels(self.model, symbol).set(multiplier)
            if lane.drift is not None and "multiplier" in entry:
                name = lane.symbols[0] if len(self.desk.lanes) > 1 else "all"
                for length, (scores, outside) in lane.drift.figures().items():
                    self.gauges["alarm"].labels(self.model, name, length).set(length in entry["drift"])
                    for feature, score in scores.items():
                        self.gauges["drift"].labels(self.model, name, length, feature).set(score)
                        self.gauges["outside"].labels(self.model, name, length, feature).set(outside[feature])
        self.gauges["decided"].labels(self.model).set(record["decided"] / 1000)
        for symbol in self.desk.book.symbols:
            close = self.desk.book.newest(symbol) + self.desk.book.bar_ms
            self.gauges["candle"].labels(self.model, symbol).set(close / 1000)

    def count(self, record: dict[str, Any]) -> None:
        """Adds a record to the counters and to the sums of the accounts."""
        lanes = record["lanes"]
        amounts = {
            "bars": 1,
            "decisions": sum("multiplier" in lane for lane in lanes),
            "late": int(record["late"]),
            "skipped": sum("skipped" in lane for lane in lanes),
            "undecided": sum("undecided" in lane for lane in lanes),
            "revised": record["revised"],
            "refused": len(record["refused"]),
            "failures": record["failures"],
            "nonfinite": sum(lane.get("undecided") == NOT_FINITE for lane in lanes),
        }
        for name, amount in amounts.items():
            self.counts[name].labels(self.model).inc(amount)
        policy, base = returns = portfolio(log_returns([record]))[:, 0].tolist()
        self.difference.add(policy - base)
        for name, log_return in zip(ACCOUNTS, returns, strict=True):
            settled = [lane["settled"][name] for lane in lanes if lane.get("settled")]
            held = sum(sum(one["held"]) for one in settled) / len(lanes)
            traded = sum(sum(map(abs, one["delta"])) for one in settled) / len(lanes)
            self.accounts[name].add(log_return, held, traded, sum(one["cost"] for one in settled) / len(lanes))
        for lane, entry in zip(self.desk.lanes, lanes, strict=True):
            for symbol, multiplier in zip(lane.symbols, entry.get("multiplier", ()), strict=False):
                self.multipliers[symbol].append(multiplier)

    def refresh(self) -> None:
        """Sets the gauges that follow from all bars so far."""
        for name, account in self.accounts.items():
            for figure, value in account.figures(self.bars_per_year).items():
                self.gauges[figure].labels(self.model, name).set(value)
        deviations = [
            float(np.std(multipliers))
            for multipliers in self.multipliers.values()
            if len(multipliers) >= LEAST_DECISIONS
        ]
        if deviations:
            self.gauges["deviation"].labels(self.model).set(max(deviations))
        yearly = self.difference.look() * self.bars_per_year
        for bound, value in zip(("mean", "low", "high"), yearly.tolist(), strict=True):
            if np.isfinite(value):
                self.gauges["difference"].labels(self.model, bound).set(value)


def write_parity(path: Path, model: str, parity: Parity, now: float) -> None:
    """Writes the parity of a replay in Prometheus' text format, for node_exporter's textfile collector.

    Args:
        path: of the file; it is replaced in one step.
        model: name of the model.
        parity: of its log.
        now: seconds since 1970.

    Raises:
        StorageError: it could not be written.
    """
    registry = CollectorRegistry()
    for name, words, value in (
        ("differences", "entries of the log that a replay does not give again, bit for bit", parity.differences),
        ("largest_gap", "largest difference of a multiplier between log and replay", parity.largest),
        ("done_seconds", "when the log was replayed, seconds since 1970", now),
    ):
        Gauge(f"himari_replay_{name}", words, ("model",), registry=registry).labels(model).set(value)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise StorageError(f"--metrics-file {path}: {error.strerror}; name a file in a folder that is there") from error
