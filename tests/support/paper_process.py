"""A paper loop of its own process, on the fake exchange below ccxt: made to be killed.

python paper_process.py BUNDLE CANDLES.npz LOG BARS EXCHANGE SEED
"""

import sys
from pathlib import Path

import numpy as np

from export.live.book import Book
from export.live.desk import Desk, base_by
from export.live.feeds import SourceFeed
from export.live.log import DecisionLog, read_log
from export.live.loop import Pace, PaperLoop
from export.live.setup import facts_of, terms_of
from export.loading import load
from himari_jax.live.clock import SimulatedClock
from himari_jax.live.exchange import ExchangeFeed
from himari_jax.live.fake import Change, FakeExchange
from himari_jax.live.fake_server import route_ccxt_to
from himari_jax.times import HOUR_MS
from train.config.serialize import from_json

TROUBLES = ("", "", "", "", "429", "500", "truncated", "", "", "timeout", "", "")


def changes_of(candles, rng):
    """Revises every twentieth candle half an hour after its close, and delays every fiftieth by minutes."""
    found = []
    for symbol, rows in candles.items():
        for row in rows[rng.choice(len(rows), len(rows) // 20, replace=False)]:
            time, close = int(row[0]), float(row[4])
            values = (float(row[1]), max(float(row[2]), 1.0001 * close), float(row[3]), 1.0001 * close, float(row[5]))
            found.append(Change(symbol, time, time + HOUR_MS + 1_800_000, values))
        for row in rows[rng.choice(len(rows), len(rows) // 50, replace=False)]:
            found.append(Change(symbol, int(row[0]), int(row[0]) + HOUR_MS + 150_000))
    return found


def main(bundle, stored, path, bars, exchange, seed):
    """Plays until the log has so many bars."""
    with np.load(stored) as file:
        begin, candles = int(file["begin"]), {name.replace("-", "/"): file[name] for name in file.files if "-" in name}
    model = load(Path(bundle))
    trained = from_json(model.manifest["config"])
    log = DecisionLog(Path(path), sync=False)
    records = read_log(Path(path)) if Path(path).stat().st_size else []
    played = sum(record["kind"] == "bar" for record in records)
    if records:
        begin = max(record.get("decided", record.get("now", 0)) for record in records)
    clock, rng = SimulatedClock(begin), np.random.default_rng(int(seed))
    script = rng.choice(TROUBLES, 4000).tolist()
    fake = FakeExchange(candles, HOUR_MS, clock, script, changes_of(candles, np.random.default_rng(0)), skew_ms=-2000)
    source = ExchangeFeed(exchange, clock)
    route_ccxt_to(source.api, fake)
    feed = SourceFeed(source, dict(zip(model.symbols, candles, strict=True)), HOUR_MS, clock, lambda line: None)

    class Namespace:
        commission_rate = slippage_bps = late_seconds = None

    terms, own = terms_of(Namespace, model, trained)
    desk = Desk(model, Book(model.symbols, HOUR_MS), terms, base_by(model))
    loop = PaperLoop(desk, feed, clock, log, Pace(), lambda line: None)
    if records:
        loop.resume(records, model.digest)
    else:
        loop.start(facts_of(desk, own, feed, 1e5))
    for record in loop.run():
        played += 1
        print(record["close"], flush=True)
        if played >= int(bars):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
