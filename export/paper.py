"""`python -m export.paper BUNDLE`: a decision at every close, logged and traded on paper; no orders, no jax."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from export.contents.finding import find_bundle
from export.live.config import PaperConfig
from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError, StorageError
from himari_jax.pasting import command_line

if TYPE_CHECKING:
    from export.live.desk import Desk
    from export.live.feeds import Feed, FileFeed
    from export.live.loop import Pace, PaperLoop
    from export.live.metrics import PaperMetrics
    from export.runtime import Model
    from himari_jax.live.clock import Clock

PROG = invocation("export.paper")
LINES = 20  # of a simulation


def main(args: Sequence[str]) -> int:
    """Runs the loop until it is stopped."""
    config = parse(PaperConfig, args, PROG)
    from export.live.log import DecisionLog, read_log
    from export.live.loop import PaperLoop
    from export.live.setup import facts_of, file_feed, live_feed, make_desk, refuse_other_log, sizing_note
    from export.loading import load
    from himari_jax.live.clock import SystemClock
    from train.config.serialize import from_json

    with ExitStack() as stack:
        model = load(find_bundle(config.bundle, stack), config.allow_features_code)
        trained = from_json(model.manifest.get("config", {}))
        feed: Feed
        if config.simulate:
            feed, symbols = file_feed(config.candles, model, trained)
        else:
            feed, symbols = live_feed(config, model, trained, SystemClock())
        if not config.any_source:
            refuse_kind(model, feed)
        desk, costs = make_desk(config, model, trained, symbols)
        path = config.log or Path(f"{Path(config.bundle).resolve().name}.jsonl")
        log = stack.enter_context(DecisionLog(path, sync=not config.simulate))
        records = read_log(path) if path.stat().st_size else []
        clock, pace, until = timing(config, desk, feed, records)
        loop = PaperLoop(desk, feed, clock, log, pace)
        facts = facts_of(desk, costs, feed, trained.market.initial_capital)
        if records:
            refuse_other_log(records[0], facts, path)
            loop.resume(records, model.digest)
        else:
            loop.start(facts)
        if note := sizing_note(model, desk.book):
            print(note, flush=True)
        port = config.metrics_port
        metrics = None if port is None else metrics_for(config, port, loop, records or read_log(path))
        records.clear()  # records of years take a gigabyte
        stop_by_signal(loop)
        run(config, loop, until, path, metrics)
    return 0


def timing(
    config: PaperConfig, desk: "Desk", feed: "Feed", records: list[dict[str, Any]]
) -> "tuple[Clock, Pace, int | None]":
    """Returns clock, pace and end, epoch ms, of the loop: those of this machine, or of a simulation.

    Args:
        config: flags.
        desk: of the loop.
        feed: a `FileFeed` where the loop is simulated.
        records: of a log that is resumed.
    """
    from export.live.loop import Pace
    from himari_jax.live.clock import SimulatedClock, SystemClock
    from himari_jax.times import parse_moment

    pace = Pace(int(config.settle_seconds * 1000), int(config.every * 1000))
    until = None if config.until is None else parse_moment(config.until, "--until")
    if not config.simulate:
        return SystemClock(), pace, until
    past = cast("FileFeed", feed)
    # Files answer at a close or never: to ask them every few seconds of a weekend takes minutes a year.
    pace = replace(pace, every_ms=max(pace.every_ms, desk.terms.late_ms // 4))
    clock = SimulatedClock(simulated_start(config, desk.model, past, records))
    return clock, pace, past.times[-1] + desk.model.bar_ms + pace.settle_ms if until is None else until


def refuse_kind(model: "Model", feed: "Feed") -> None:
    """Refuses candles whose volumes mean another thing than those of training.

    Raises:
        InputError: names both kinds.
    """
    try:
        model.refuse_source(feed.kind)
    except InputError as error:
        raise InputError(f"--source {feed.name}: {error}; --any-source takes them all the same") from error


def stop_by_signal(loop: "PaperLoop") -> None:
    """Lets SIGTERM and Ctrl-C end the loop between two bars, and out of a wait at once."""

    def stop(number: int, frame: Any) -> None:
        loop.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def simulated_start(config: PaperConfig, model: "Model", feed: "FileFeed", records: list[dict[str, Any]]) -> int:
    """Returns when a simulation begins, epoch ms: at the end of the log, at --begin, or once the look-back is whole."""
    from himari_jax.times import parse_moment

    if records:
        return max(record.get("decided", record.get("now", 0)) for record in records)
    if config.begin is not None:
        return parse_moment(config.begin, "--begin")
    times: dict[str, list[int]] = {}
    for row in feed.rows:
        times.setdefault(row.symbol, []).append(row.time)
    # The last candle of the look-back closes a moment later.
    return max(own[: model.min_candles][-1] for own in times.values()) + model.bar_ms - 1


def metrics_for(config: PaperConfig, asked: int, loop: "PaperLoop", records: list[dict[str, Any]]) -> "PaperMetrics":
    """Makes and serves the metrics, with the records of the log so far.

    Raises:
        StorageError: the port cannot be had.
    """
    from export.live.log import yearly_bars
    from export.live.metrics import PaperMetrics

    metrics = PaperMetrics(loop.desk, yearly_bars(records[0]))
    metrics.catch_up(records)
    try:
        port = metrics.serve(asked, config.metrics_host)
    except OSError as error:
        where = f"--metrics-port {asked}"
        raise StorageError(f"{where}: {error.strerror}; end what uses it, or take another") from error
    print(f"metrics: http://{config.metrics_host}:{port}/metrics", flush=True)
    return metrics


def run(config: PaperConfig, loop: "PaperLoop", until: int | None, path: Path, metrics: "PaperMetrics | None") -> None:
    """Runs the loop and prints its decisions."""
    counts = dict.fromkeys(("bars", "decisions", "late", "skipped", "revised"), 0)
    left = 0 if until is None else (until - loop.next) // loop.book.bar_ms
    every = max(1, left // LINES) if config.simulate else 1
    for record in loop.run(until):
        counts["bars"] += 1
        counts["decisions"] += sum("multiplier" in lane for lane in record["lanes"])
        counts["late"] += record["late"]
        counts["skipped"] += any("skipped" in lane for lane in record["lanes"])
        counts["revised"] += record["revised"]
        if metrics is not None:
            metrics.update(record)
        if not config.quiet and counts["bars"] % every == 0:
            for line in lines_of(record, loop.desk):
                print(line, flush=True)
    print(f"{path}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print(f"next: {command_line('export.replay', path, config.bundle)}")


def lines_of(record: dict[str, Any], desk: "Desk") -> Iterator[str]:
    """Formats a bar, a line for each lane: close, symbol, multiplier, weight, and equity, 1 at the start."""
    for lane, entry, state in zip(desk.lanes, record["lanes"], record["state"], strict=True):
        grown = "  ".join(f"{name} {exp(state[name]['log_equity']):.4f}" for name in ("policy", "base"))
        said = entry.get("skipped") or entry.get("undecided")
        found = zip(lane.symbols, entry.get("multiplier", ()), entry.get("weight", ()), strict=False)
        words = said or "  ".join(f"{symbol} {m:.2f}x {w:.1%}" for symbol, m, w in found) or "holds"
        drifting = "  inputs drift" if entry.get("drift") else ""
        yield f"{record['close'][:16]}  {words}{'  late' if record['late'] else ''}  {grown}{drifting}"


if __name__ == "__main__":
    sys.exit(run_command(main))
