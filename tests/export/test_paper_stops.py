"""The paper loop at its ends: a signal while it waits, a disk without room, a symbol that is gone."""

import resource
import signal
import time
from dataclasses import replace

import pytest
from paper import Exchange, Paper

from export.live.book import Book
from export.live.desk import Desk, base_by
from export.live.log import DecisionLog
from export.live.loop import Pace, PaperLoop
from export.live.setup import facts_of
from himari_jax.errors import StorageError
from himari_jax.live.clock import ScaledClock
from himari_jax.times import HOUR_MS

pytest_plugins = ("server_fixtures",)
pytest.importorskip("jax2onnx")


def test_a_signal_ends_the_wait_for_a_close_at_once(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    desk = Desk(paper.model, Book(paper.model.symbols, HOUR_MS), paper.terms, base_by(paper.model))
    with DecisionLog(paper.log) as log:
        clock = ScaledClock(paper.exchange.at(0) + HOUR_MS // 2, 1.0)  # half an hour before a close
        loop = PaperLoop(desk, paper.exchange, clock, log, Pace())
        loop.start(facts_of(desk, paper.own, paper.exchange, 1e5))
        before = signal.signal(signal.SIGALRM, lambda *_: loop.stop())
        began = time.monotonic()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert not list(loop.run())
        finally:
            signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 2


def test_a_disk_without_room_in_the_middle_of_a_line_leaves_whole_lines(tmp_path):
    path, before = tmp_path / "log", resource.getrlimit(resource.RLIMIT_FSIZE)
    with DecisionLog(path) as log:
        log.append({"kind": "start", "format": 1, "candles": []})
        whole = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20_000, before[1]))
        try:
            with pytest.raises(StorageError, match="make room"):
                log.append({"kind": "bar", "candles": ["x" * 30_000]})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole
    path.write_bytes(whole + b"y" * 200_000)
    with DecisionLog(path) as log:
        assert log.torn == 200_000
    assert path.read_bytes() == whole


def test_a_symbol_of_a_pool_that_was_delisted_makes_no_other_one_late(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    exchange.drop("SYN2", *range(4, 20))
    paper = Paper(bundles["mlp"], tmp_path, exchange)
    paper.run(12)
    bars = paper.bars()
    waits = [record["decided"] - record["time"] - HOUR_MS for record in bars]
    assert not any(record["late"] for record in bars)
    assert min(waits[4:8]) > 300_000  # it might come yet
    assert max(waits[8:]) == Pace().settle_ms  # longer than a gap is filled: nobody waits for it
    assert all("skipped" in record["lanes"][0] for record in bars[4:])


def test_where_the_market_closes_the_first_decision_has_its_whole_look_back(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.model = replace(paper.model, manifest=paper.model.manifest | {"calendar": "sessions"})
    desk = Desk(paper.model, Book(paper.model.symbols, HOUR_MS), paper.terms, base_by(paper.model))
    desk.bars = 30
    open_hours = [row for row in paper.exchange.final() if row.time // HOUR_MS % 24 < 4]
    paper.exchange.fetch = lambda since, now: [row for row in open_hours if since <= row.time]
    loop = PaperLoop(desk, paper.exchange, ScaledClock(0, 1.0), None, Pace())
    found = sorted({row.time for row in loop.before(0)})
    every = sorted({row.time for row in open_hours})
    assert len(every) > 31
    assert found == every[-31:]
    desk.book.take(open_hours, every[-1] + HOUR_MS)
    assert desk.book.newest_times(5, every[-3]) == every[-7:-2]
    assert desk.book.newest_times(5, -1) == []
