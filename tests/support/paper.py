"""The paper loop on the golden candles of a bundle, with a source whose faults are scripted."""

import json

from serving import golden_of

from export.live.book import Book, Row
from export.live.desk import Desk, base_by
from export.live.log import DecisionLog
from export.live.loop import Pace, PaperLoop
from export.live.setup import facts_of, terms_of
from export.loading import load
from himari_jax.candles import COLUMNS
from himari_jax.errors import StorageError
from himari_jax.live.clock import SimulatedClock
from himari_jax.times import HOUR_MS
from train.config.serialize import from_json


class Exchange:
    """Candles that come out at their close, or later, are revised, or never come; and a source that may fail."""

    name, kind = "test", "exchange"

    def __init__(self, path):
        golden = golden_of(path)
        symbols, self.time = golden["symbols"].tolist(), golden["time"].tolist()
        self.versions = {  # symbol, time -> moments, each with the row from then on
            (symbol, time): [(time + HOUR_MS, Row(symbol, time, *(float(golden[x][t, n]) for x in COLUMNS)))]
            for n, symbol in enumerate(symbols)
            for t, time in enumerate(self.time)
        }
        self.down, self.asked, self.worse = set(), 0, 1.0
        self.first = int(golden["row"][0])  # of the golden decisions

    def at(self, k):
        """Open time of a golden decision's bar."""
        return self.time[self.first + k]

    def delay(self, symbol, k, ms):
        """Lets a candle out later."""
        ((moment, row),) = self.versions[symbol, self.at(k)]
        self.versions[symbol, self.at(k)] = [(moment + ms, row)]

    def revise(self, symbol, k, ms, **numbers):
        """Changes the numbers of a candle from some time after its close on."""
        moment, row = self.versions[symbol, self.at(k)][-1]
        self.versions[symbol, self.at(k)].append((moment + ms, row._replace(**numbers)))

    def drop(self, symbol, *ks):
        """Removes these candles."""
        for k in ks:
            del self.versions[symbol, self.at(k)]

    def final(self):
        """Every candle as it ends up."""
        return [versions[-1][1] for versions in self.versions.values()]

    def fetch(self, since, now):
        """The candles as of a moment; the running one, too."""
        self.asked += 1
        if self.asked in self.down:
            raise StorageError("exchange: 503")
        rows = []
        for (_, time), versions in self.versions.items():
            if since <= time <= now < time + HOUR_MS:
                rows.append(versions[0][1]._replace(close=versions[0][1].open, volume=0.0))
            elif time >= since and (out := [row for moment, row in versions if moment <= now]):
                rows.append(out[-1])
        return rows

    def quotes(self, time):
        """Prices a little above the open of the running candle, where there is one."""
        found = {symbol: versions for (symbol, at), versions in self.versions.items() if at == time}
        return {symbol: versions[0][1].open * self.worse for symbol, versions in found.items()}


class Paper:
    """A loop in a folder that can be stopped and begun again."""

    def __init__(self, path, folder, exchange=None, **terms):
        self.bundle, self.log, self.exchange = path, folder / "log.jsonl", exchange or Exchange(path)
        self.model = load(path)
        self.trained = from_json(self.model.manifest["config"])
        self.terms, self.own = terms_of(config_of(**terms), self.model, self.trained)
        self.notes = []

    def run(self, bars, begin=None):
        """Plays up to so many bars more than the log has; the records of this run."""
        symbols = self.model.symbols
        desk = Desk(self.model, Book(symbols, HOUR_MS), self.terms, base_by(self.model))
        with DecisionLog(self.log, sync=False) as log:
            records = self.records()
            moment = self.exchange.at(0) + HOUR_MS - 1 if begin is None else begin
            if records:
                moment = max(record.get("decided", record.get("now", 0)) for record in records)
            loop = PaperLoop(desk, self.exchange, SimulatedClock(moment), log, Pace(), self.notes.append)
            if records:
                loop.resume(records, self.model.digest)
            else:
                loop.start(facts_of(desk, self.own, self.exchange, 1e5))
            found = []
            for record in loop.run():
                found.append(record)
                if len(found) >= bars:
                    break
        return found

    def sleep(self, ms):
        """Lets the next run begin so much later than the last record."""
        now = self.bars()[-1]["decided"] + ms
        with self.log.open("a") as file:
            file.write(json.dumps({"kind": "restart", "now": now, "at": "", "bundle": "", "torn": 0}) + "\n")

    def records(self):
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n")[:-1]] if self.log.exists() else []

    def bars(self):
        return [record for record in self.records() if record["kind"] == "bar"]


def config_of(**terms):
    """Flags of the loop."""
    from export.live.config import PaperConfig

    return PaperConfig("bundle", simulate=True, **terms)
