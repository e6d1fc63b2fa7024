"""Downloads: a file that grows, loses and doubles nothing, whoever kills what when."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fakes import START, SYMBOL, coins_on, exchange_on, market_rows, world

from himari_jax.errors import InputError, SourceError
from himari_jax.live.download import download
from himari_jax.live.fake import Change
from himari_jax.live.fake_server import serve_fake
from himari_jax.live.store import LOG, Revision, file_name, log_revisions, read_store
from himari_jax.sources.files import load
from himari_jax.sources.request import SourceRequest
from himari_jax.times import DAY_MS, HOUR_MS

FILE = "BTC_USDT-1h.parquet"


def bring(feed, clock, folder, since=START, until=None, symbol=SYMBOL):
    """A download up to now."""
    return download(feed, symbol, HOUR_MS, since, clock.now_ms() if until is None else until, folder, clock)


def test_a_download_goes_on_where_it_stopped_and_reads_the_last_two_again(tmp_path):
    fake, clock = world(3000, now_bars=2000)
    feed = exchange_on(fake, clock)
    first = bring(feed, clock, tmp_path)
    assert (first.added, len(fake.asked)) == (2000, 2)
    clock.sleep(3600 * 5)
    second = bring(feed, clock, tmp_path)
    assert (second.added, second.revised, len(fake.asked)) == (5, 0, 3)
    assert f"startTime={START + 1998 * HOUR_MS}" in fake.asked[-1]
    np.testing.assert_array_equal(read_store(tmp_path / FILE).rows, fake.candles[SYMBOL][:2005])
    assert bring(feed, clock, tmp_path, until=START + 1500 * HOUR_MS).added == 0
    assert len(fake.asked) == 3  # nothing is asked for that was read before


def test_an_earlier_since_is_read_before_the_file(tmp_path):
    fake, clock = world(2500)
    feed = exchange_on(fake, clock)
    bring(feed, clock, tmp_path, since=START + 2000 * HOUR_MS)
    assert bring(feed, clock, tmp_path).added == 2000
    np.testing.assert_array_equal(read_store(tmp_path / FILE).rows, fake.candles[SYMBOL])


def test_a_part_before_the_file_that_failed_leaves_no_hole(tmp_path):
    fake, clock = world(2500)
    feed = exchange_on(fake, clock)
    bring(feed, clock, tmp_path, since=START + 2200 * HOUR_MS)
    fake.script = ["", *["500"] * 7]
    with pytest.raises(SourceError):
        bring(feed, clock, tmp_path)
    assert read_store(tmp_path / FILE).rows[0, 0] == START + 2200 * HOUR_MS
    bring(feed, clock, tmp_path)
    np.testing.assert_array_equal(read_store(tmp_path / FILE).rows, fake.candles[SYMBOL])


def test_what_was_read_before_a_failure_is_written(tmp_path):
    fake, clock = world(2500, script=["", "", *["timeout"] * 7])
    feed = exchange_on(fake, clock)
    with pytest.raises(SourceError, match="tried 7 times"):
        bring(feed, clock, tmp_path)
    assert len(read_store(tmp_path / FILE).rows) == 2000
    assert bring(feed, clock, tmp_path).added == 500


def test_revisions_are_taken_and_logged_once(tmp_path):
    last = START + 99 * HOUR_MS
    changed = Change(SYMBOL, last, START + 101 * HOUR_MS, (100.0, 120.0, 80.0, 110.0, 7.5))
    fake, clock = world(200, now_bars=100, changes=[changed])
    feed = exchange_on(fake, clock, "kraken")
    bring(feed, clock, tmp_path)
    before = read_store(tmp_path / FILE).rows[-1]
    clock.sleep(2 * 3600)
    assert bring(feed, clock, tmp_path).revised == 1
    assert read_store(tmp_path / FILE).rows[99].tolist() == [last, *changed.values]
    line = json.loads((tmp_path / LOG).read_text())
    assert (line["symbol"], line["time"], line["known"]) == (SYMBOL, "2024-01-05T03:00:00Z", "2024-01-05T06:01:00Z")
    assert (list(line["before"].values()), list(line["after"].values())) == (before[1:].tolist(), list(changed.values))


def test_the_log_of_revisions_doubles_no_line_and_mends_a_cut_one(tmp_path):
    one = Revision(SYMBOL, START, START + 1, (1.0,) * 5, (2.0,) * 5)
    log_revisions(tmp_path, [one])
    whole = (tmp_path / LOG).read_text()
    (tmp_path / LOG).write_text(whole + '{"symbol": "BT')
    log_revisions(tmp_path, [one._replace(known_ms=START + 2000), one._replace(time=START + HOUR_MS)])
    lines = (tmp_path / LOG).read_text().splitlines()
    assert lines[0] + "\n" == whole
    assert [json.loads(line)["time"] for line in lines] == ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"]


def test_a_candle_that_comes_late_is_taken_for_two_days(tmp_path):
    late = START + 98 * HOUR_MS
    fake, clock = world(200, now_bars=100, changes=[Change(SYMBOL, late, START + 101 * HOUR_MS)])
    feed = exchange_on(fake, clock)
    assert bring(feed, clock, tmp_path).missing == 1
    clock.sleep(7200)
    assert bring(feed, clock, tmp_path).missing == 0


def test_a_hole_that_an_exchange_no_longer_fills_is_noted(tmp_path):
    fake, clock = world(3000, now_bars=1000)
    feed = exchange_on(fake, clock, "kraken")
    bring(feed, clock, tmp_path, since=None)
    clock.sleep(3600 * 1500)
    done = bring(feed, clock, tmp_path, since=None)
    assert done.missing == 1500 - 719
    assert any(
        "kraken BTC/USDT: no candles from" in note and "it keeps the newest 720 alone" in note for note in done.notes
    )


def test_files_say_what_they_are_and_data_reads_it(tmp_path):
    fake, clock = world(50)
    bring(exchange_on(fake, clock), clock, tmp_path / "a")
    bring(coins_on(fake, clock), clock, tmp_path / "b", symbol="BTC")
    (one,) = load(SourceRequest(("BTC/USDT",), (str(tmp_path / "a"),)))
    assert (one.kind, len(one.time)) == ("exchange", 50)
    assert any(
        note.startswith("downloaded: source binance, source kind exchange, symbol BTC/USDT, fetched")
        for note in one.notes
    )
    np.testing.assert_array_equal(one.close, fake.candles[SYMBOL][:, 4])
    (other,) = load(SourceRequest((), (str(tmp_path / "b"),)))
    assert (other.kind, read_store(tmp_path / "b" / "BTC-1h.parquet").facts["id"]) == ("aggregated", "bitcoin")


def test_a_file_of_another_source_or_kind_is_refused(tmp_path):
    fake, clock = world(50)
    bring(exchange_on(fake, clock), clock, tmp_path)
    clock.sleep(3600)
    with pytest.raises(
        InputError, match=r"BTC_USDT-1h.parquet: holds candles of source binance, not kraken; name another"
    ):
        bring(exchange_on(fake, clock, "kraken"), clock, tmp_path)
    (tmp_path / FILE).write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(InputError, match=r"not written by train\.download"):
        bring(exchange_on(fake, clock), clock, tmp_path)


def test_names_of_files_are_found_by_the_symbol():
    assert file_name("BTC/USDT:USDT", DAY_MS) == "BTC_USDT_USDT-1d.parquet"


COMMAND = """
import sys
from himari_jax.command import run_command
from himari_jax.live import download
download.PENDING = 400
from train.download import main
sys.exit(run_command(main, sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_a_download_loses_and_doubles_nothing(tmp_path):
    pytest.importorskip("uvicorn")
    rows = np.delete(market_rows(6_000), np.s_[700:760], axis=0)
    fake, _ = world(6_000, rows=rows)
    args = ["--symbols", SYMBOL, "--since", "2024-01-01", "--until", "2024-09-07", "--to", str(tmp_path)]
    with serve_fake(fake) as url:
        env = os.environ | {"HIMARI_SOURCES_URL": url}
        for kills in range(20):
            run = subprocess.Popen([sys.executable, "-c", COMMAND, *args], env=env, stdout=subprocess.PIPE, text=True)
            seen = len(fake.asked)
            while run.poll() is None and len(fake.asked) < seen + 3 + kills % 2:
                time.sleep(0.002)
            if run.poll() is not None:
                break
            run.send_signal(signal.SIGKILL)
            run.wait()
            if (tmp_path / FILE).exists():  # whole at every moment, and a part of what there is
                have = read_store(tmp_path / FILE).rows
                np.testing.assert_array_equal(have, rows[: len(have)])
    assert run.returncode == 0
    assert kills >= 2
    np.testing.assert_array_equal(read_store(tmp_path / FILE).rows, rows)
    assert not (tmp_path / LOG).exists()
