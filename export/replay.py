"""`python -m export.replay LOG BUNDLE`: plays a decision log again: parity, parts of the result, verdict."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from export.contents.finding import find_bundle
from himari_jax.cli import invocation
from himari_jax.command import auto, parse, run_command
from himari_jax.errors import InputError
from train.config.backtest import CandlesConfig

if TYPE_CHECKING:
    from export.live.book import Row
    from export.live.replay import Source

PROG = invocation("export.replay")


@dataclass(frozen=True)
class ReplayConfig:
    """Play a decision log again: parity, the gap to a backtest in parts, and the verdict so far."""

    log: tyro.conf.Positional[Path] = field()
    """Decision log of export.paper."""
    bundles: tyro.conf.Positional[tuple[str, ...]] = field()
    """Folders of the bundles that decided, or gs://BUCKET/PREFIX."""
    candles: tyro.conf.OmitArgPrefixes[CandlesConfig] = field(default_factory=CandlesConfig)
    base_positions: Annotated[str | None, auto("the file of the run")] = None
    """File of the base positions, where the policy was trained with one."""
    out: Annotated[Path | None, auto("LOG's name + .html")] = None
    """Page to write."""
    metrics_file: Path | None = None
    """File for the textfile collector of Prometheus' node_exporter, such as himari.prom: whether there is parity."""
    allow_features_code: bool = False
    """Run the code for features that a bundle carries: for bundles of your own."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        if not self.bundles:
            raise InputError(f"{self.log}: name the bundle that decided behind it, or all that did; see {PROG} --help")


def main(args: Sequence[str]) -> int:
    """Replays and prints; 0 at parity, 1 where a number is not reproduced."""
    config = parse(ReplayConfig, args, PROG)
    from export.live.final import final_book
    from export.live.log import yearly_bars
    from export.live.page import write_page
    from export.live.replay import compare, portfolio, waterfall
    from export.live.verdict import live_verdict

    out = config.out or config.log.with_suffix(".html")
    for flag, path in (("--out", out), ("--metrics-file", config.metrics_file)):
        if path is not None and path.resolve() == config.log.resolve():
            raise InputError(f"{flag} {path}: is the decision log itself; name another file")
    with ExitStack() as stack:
        source = read_source(config, stack)
        parity = compare(source)
        final, revisions = final_book(source, final_rows(config, source))
        parts = waterfall(source, final)
    policy, base = portfolio(source.logged().log_returns)
    verdict = live_verdict(policy - base, yearly_bars(source.start), source.start["bar_ms"])
    write_page(out, source, parity, revisions, parts, verdict)
    print_summary(source, parity, revisions, parts, verdict, out)
    if config.metrics_file is not None:
        from export.live.metrics import write_parity

        write_parity(config.metrics_file, source.start["name"], parity, time.time())
    return int(parity.differences > 0)


def read_source(config: ReplayConfig, stack: ExitStack) -> "Source":
    """Reads the log with its bundles.

    Raises:
        InputError: it cannot be read, or no bar was played yet.
    """
    from export.live.log import read_log
    from export.live.replay import Source
    from export.live.setup import base_for
    from export.loading import load
    from train.config.serialize import from_json

    records = read_log(config.log)
    if not any(record["kind"] == "bar" for record in records):
        raise InputError(f"{config.log}: no bar was played yet")
    models = [load(find_bundle(given, stack), config.allow_features_code) for given in config.bundles]
    bases = {}
    for model in models:
        given = config.base_positions if model.base_sizing == "file" or len(models) == 1 else None
        bases[model.digest] = base_for(given, model, from_json(model.manifest.get("config", {})))
    return Source(records, {model.digest: model for model in models}, bases)


def final_rows(config: ReplayConfig, source: "Source") -> "list[Row] | None":
    """Reads the final candles of --data or --source; None: the newest that the log knows."""
    given = config.candles
    if not given.data and given.source is None:
        return None
    from export.live.setup import file_feed
    from train.config.serialize import from_json

    model = next(iter(source.models.values()))
    feed, _ = file_feed(given, model, from_json(model.manifest.get("config", {})))
    return [row for row in feed.rows if row.symbol in source.start["symbols"]]


def print_summary(source: "Source", parity: Any, revisions: Any, parts: Any, verdict: Any, out: Path) -> None:
    """Prints parity, waterfall and verdict."""
    from export.live.page import gap_rows
    from train.reporting.console import console
    from train.reporting.tables import Grid, print_grid

    print(
        f"{parity.bars:,} bars, {parity.decisions:,} decisions, {source.start['symbols'][0]} ..., "
        f"{source.bars[0]['close']} to {source.bars[-1]['close']}"
    )
    if parity.differences:
        where = f"first at {parity.first}; multipliers by {parity.largest:.1e}"
        print(f"parity: {parity.differences:,} entries differ, {where}")
    else:
        print("parity: every decision, position and account comes out again, bit for bit")
    print(f"candles since then: {revisions.changed} changed, {revisions.late} came late, {revisions.missing} gone")
    grid = Grid("", ["log growth, %", "policy", "base", "difference"])
    for words, value in gap_rows(parts):
        grid.add(words, *(f"{100 * x:+.4f}" for x in (*value, value[0] - value[1])), bold=words == "paper account")
    print_grid(console(), grid)
    print(f"{verdict.word}: {verdict.sentence}; {verdict.advice}")
    print(f"report: {out}")


if __name__ == "__main__":
    sys.exit(run_command(main))
