"""`python -m train.download`: candles of an exchange or of CoinGecko into a folder that `--data` reads; no jax."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from himari_jax.cli import invocation
from himari_jax.command import auto, parse, require, run_command
from himari_jax.sources.ccxt import Options as ExchangeOptions
from himari_jax.sources.coingecko import Options as CoinOptions
from himari_jax.stopping import exit_at_signals
from himari_jax.times import iso_minute, parse_bar, parse_moment

if TYPE_CHECKING:
    from himari_jax.live.download import Downloaded
    from himari_jax.live.feed import Feed

PROG = invocation("train.download")


@dataclass(frozen=True)
class DownloadConfig:
    """Download candles into a folder, from where it stopped: the same command again brings it up to date."""

    symbols: tuple[str, ...] = ()
    """Markets of the exchange, such as BTC/USDT; coins, such as BTC or bitcoin."""
    to: Path = Path("candles")
    """Folder of the files, one Parquet file a symbol."""
    source: Literal["ccxt", "coingecko"] = "ccxt"
    """ccxt: candles of an exchange. coingecko: prices aggregated over exchanges."""
    since: Annotated[str | None, auto("where the file begins; else 2020, or what the source still has")] = None
    """When the candles begin, such as 2020-01-01 (UTC)."""
    until: Annotated[str | None, auto("now")] = None
    """When they end: no candle closes later."""
    bar: str = "1h"
    """Length of a bar: 15m, 1h, 1d."""
    ccxt: ExchangeOptions = field(default_factory=ExchangeOptions)
    coingecko: CoinOptions = field(default_factory=CoinOptions)
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        once = len(set(self.symbols)) == len(self.symbols)
        require(once, "--symbols", " ".join(self.symbols), "names of symbols, each once")
        require(bool(self.symbols), "--symbols", "(none)", "one or more, such as BTC/USDT")
        parse_bar(self.bar)
        begin, end = (None if x is None else parse_moment(x, f) for x, f in self.times)
        if begin is not None and end is not None:
            require(begin < end, "--since", self.since, f"a time before --until {self.until}")

    @property
    def times(self) -> tuple[tuple[str | None, str], tuple[str | None, str]]:
        """Begin and end, each with its flag."""
        return (self.since, "--since"), (self.until, "--until")


def main(args: Sequence[str]) -> int:
    """Downloads symbol after symbol; returns the exit code."""
    config = parse(DownloadConfig, args, PROG)
    exit_at_signals("stopped; what was written is kept: the same command goes on")
    from himari_jax.live.clock import SystemClock
    from himari_jax.live.download import download

    clock, feed, bar_ms = SystemClock(), make_feed(config), parse_bar(config.bar)
    since, until = (None if x is None else parse_moment(x, f) for x, f in config.times)
    end = clock.now_ms() if until is None else until
    for symbol in config.symbols:
        print_download(
            download(feed, symbol, bar_ms, since, end, config.to, clock, lambda line: print(line, flush=True))
        )
    print(f"next: {invocation('train.ppo')} --data {config.to}")
    return 0


def make_feed(config: DownloadConfig) -> "Feed":
    """The source that the flags name.

    Raises:
        InputError: there is no such exchange.
    """
    if config.source == "ccxt":
        from himari_jax.live.exchange import ExchangeFeed

        return ExchangeFeed(config.ccxt.exchange)
    from himari_jax.live.coingecko import CoinGeckoFeed

    return CoinGeckoFeed(config.coingecko.pinned)


def print_download(done: "Downloaded") -> None:
    """Prints what was downloaded."""
    rows, facts = done.stored.rows, done.stored.facts
    for note in done.notes:
        print(f"note: {note}")
    if not len(rows):
        print(f"{done.path}: no candles yet")
        return
    begin, end = iso_minute(rows[0, 0]), iso_minute(rows[-1, 0])
    print(f"{done.path}: {len(rows):,} candles of {facts['bar']} that open from {begin} to {end}; {done.added:,} new")
    print(f"  {facts['source']} {facts['symbol']}, kind {facts['source_kind']}, fetched {facts['fetched_at']}")
    if done.missing:
        print(f"  {done.missing:,} bars in between have no candle")
    if done.revised:
        print(f"  revised since: {done.revised:,}; see {done.path.parent / 'revisions.log'}")


if __name__ == "__main__":
    sys.exit(run_command(main))
