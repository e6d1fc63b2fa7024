"""Flags of `python -m export.paper`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from himari_jax.command import auto, require
from himari_jax.times import parse_moment
from train.config.backtest import CandlesConfig


@dataclass(frozen=True)
class PaperConfig:
    """Decide at every close as a desk would, without orders: a decision log, and a paper account beside the base."""

    bundle: tyro.conf.Positional[str] = field()
    """Folder of the bundle, or gs://BUCKET/PREFIX of one."""
    candles: tyro.conf.OmitArgPrefixes[CandlesConfig] = field(default_factory=CandlesConfig)
    log: Annotated[Path | None, auto("BUNDLE's name + .jsonl, here")] = None
    """Decision log, a line for each bar; an existing one is resumed."""
    begin: Annotated[str | None, auto("now; with --simulate as early as the look-back allows")] = None
    """Moment at which a simulation begins, UTC, such as 2024-01-01."""
    until: Annotated[str | None, auto("until Ctrl-C or SIGTERM; with --simulate the last candle")] = None
    """Moment at which to end, UTC."""
    exchange: Annotated[str | None, auto("that of the run, else binance")] = None
    """The exchange of --source ccxt."""
    ids: tuple[str, ...] = ()
    """Coins of --source coingecko, such as BTC=bitcoin, where a symbol is not unique."""
    any_source: bool = False
    """Take candles whose volumes mean another thing than those of training."""
    simulate: bool = False
    """Play candles of the past, as fast as the machine can: each becomes known at its close."""
    settle_seconds: float = 5.0
    """Seconds after a close before the source is asked: exchanges revise a candle right after it."""
    every: float = 15.0
    """Seconds from request to request while a candle is awaited."""
    late_seconds: Annotated[float | None, auto("a tenth of a bar")] = None
    """Seconds after a close beyond which a decision is late: it is logged, and not traded."""
    commission_rate: Annotated[float | None, auto("that of training")] = None
    """Commission of the paper account, share of the traded value."""
    slippage_bps: Annotated[float | None, auto("that of training")] = None
    """Slippage of the paper account, basis points of the traded value."""
    base_positions: Annotated[str | None, auto("the file of the run")] = None
    """File of your own base positions, where the policy was trained with one; it is read anew for every decision."""
    metrics_port: int | None = None
    """Serve metrics for Prometheus on this port of this machine; 0 takes a free one and says which."""
    metrics_host: str = "127.0.0.1"
    """Address of the metrics; 0.0.0.0 is every network of this machine."""
    allow_features_code: bool = False
    """Run the code for features that a bundle carries: for bundles of your own."""
    quiet: bool = False
    """Print no line for each decision."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        for flag, value in (("--begin", self.begin), ("--until", self.until)):
            if value is not None:
                parse_moment(value, flag)
        require(
            self.begin is None or self.simulate,
            "--begin",
            self.begin,
            "given beside --simulate: time cannot be set back",
        )
        require(0 <= self.settle_seconds <= 3600, "--settle-seconds", self.settle_seconds, "0 to 3600")
        for pair in self.ids:
            require(pair.count("=") == 1, "--ids", pair, "SYMBOL=ID, such as BTC=bitcoin")
        port = self.metrics_port
        require(port is None or 0 <= port <= 65535, "--metrics-port", port, "0 to 65535")
        require(0.1 <= self.every <= 86400, "--every", self.every, "0.1 to 86400 seconds")
        late = self.late_seconds
        require(late is None or late > self.settle_seconds, "--late-seconds", late, "more than --settle-seconds")
        for flag, share in (("--commission-rate", self.commission_rate), ("--slippage-bps", self.slippage_bps)):
            require(share is None or 0 <= share < 1e4, flag, share, "0 or more")
