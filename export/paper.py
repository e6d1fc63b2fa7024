"""`python -m export.paper BUNDLE`: a decision at every close, logged and traded on paper; no orders, no jax."""

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.live.config import PaperConfig
from export.server import find_bundle
from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.pasting import command_line

if TYPE_CHECKING:
    from export.live.loop import PaperLoop

PROG = invocation("export.paper")
LINES = 20  # of a simulation


def main(args: Sequence[str]) -> int:
    """Runs the loop until it is stopped."""
    config = parse(PaperConfig, args, PROG)
    from export.live.log import DecisionLog, read_log
    from export.live.loop import Pace, PaperLoop
    from export.live.setup import facts_of, file_feed, make_desk, refuse_other_log
    from export.loading import load
    from himari_jax.times import parse_moment
    from train.config.serialize import from_json

    with ExitStack() as stack:
        folder = find_bundle(config.bundle, {}, stack)
        model = load(folder, config.allow_features_code)
        trained = from_json(model.manifest.get("config", {}))
        path = config.log or Path(f"{Path(config.bundle).resolve().name}.jsonl")
        feed, symbols = file_feed(config.candles, model, trained)
        desk, own = make_desk(config, model, trained, symbols)
        log = stack.enter_context(DecisionLog(path, sync=not config.simulate))
        begun = path.stat().st_size > 0
        records = read_log(path) if begun else []
        clock = simulated_clock(config, desk, feed, records)
        pace = Pace(int(config.settle_seconds * 1000), int(config.every * 1000))
        loop = PaperLoop(desk, feed, clock, log, pace)
        facts = facts_of(desk, own, feed.kind, trained.market.initial_capital)
        if begun:
            refuse_other_log(records[0], facts, path)
            loop.resume(records, model.digest)
        else:
            loop.start(facts)
        last = feed.times[-1] + model.bar_ms + pace.settle_ms
        until = last if config.until is None else parse_moment(config.until, "--until")
        stop_by_signal(loop)
        run(config, loop, until, path, facts)
    return 0


def stop_by_signal(loop: "PaperLoop") -> None:
    """Lets SIGTERM and Ctrl-C end the loop between two bars."""

    def stop(number: int, frame: Any) -> None:
        loop.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def simulated_clock(config: PaperConfig, desk: Any, feed: Any, records: list[dict[str, Any]]) -> Any:
    """A clock that starts where the log ends, or where the simulation begins."""
    from export.live.clock import SimulatedClock
    from himari_jax.times import parse_moment

    if records:
        return SimulatedClock(max(record.get("decided", record.get("now", 0)) for record in records))
    if config.begin is not None:
        return SimulatedClock(parse_moment(config.begin, "--begin"))
    firsts = {row.symbol: row.time for row in reversed(feed.rows)}
    bars = desk.model.min_candles
    return SimulatedClock(max(firsts.values()) + bars * desk.book.bar_ms - 1)


def run(config: PaperConfig, loop: "PaperLoop", until: int, path: Path, facts: dict[str, Any]) -> None:
    """Plays and prints."""
    began, counts = time.monotonic(), {"bars": 0, "decisions": 0, "late": 0, "skipped": 0, "revised": 0}
    bars = max(1, (until - loop.next) // loop.book.bar_ms)
    every = 1 if loop.clock.real else max(1, bars // LINES)
    for record in loop.run(until):
        counts["bars"] += 1
        counts["decisions"] += sum("multiplier" in lane for lane in record["lanes"])
        counts["late"] += record["late"]
        counts["skipped"] += any("skipped" in lane for lane in record["lanes"])
        counts["revised"] += record["revised"]
        if not config.quiet and counts["bars"] % every == 0:
            print(line_of(record, facts), flush=True)
    print(f"{path}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print(f"{time.monotonic() - began:.1f} s")
    print(f"next: {command_line('export.replay', path, config.bundle)}")


def line_of(record: dict[str, Any], facts: dict[str, Any]) -> str:
    """A bar as one line: close, multipliers, weights, equity of policy and base."""
    parts = [record["close"]]
    for lane, state in zip(record["lanes"], record["state"], strict=True):
        said = lane.get("skipped") or lane.get("undecided")
        if said:
            parts.append(said)
        elif "multiplier" in lane:
            parts.append(" ".join(f"{m:.2f}x" for m in lane["multiplier"]))
            parts.append("-> " + " ".join(f"{w:.1%}" for w in lane["weight"]))
        parts.append(
            " ".join(
                f"{name} {facts['equity'] * 2.718281828459045 ** state[name]['log_equity']:,.0f}"
                for name in ("policy", "base")
            )
        )
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(run_command(main))
