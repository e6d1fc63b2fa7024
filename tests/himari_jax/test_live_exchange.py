"""Candles of exchanges by ccxt: every trap of a live source, on a fake one."""

import json

import numpy as np
import pytest
from fakes import START, SYMBOL, exchange_on, market_rows, read_all, world

from himari_jax.errors import InputError, SourceError
from himari_jax.live.clock import ScaledClock, SimulatedClock
from himari_jax.live.fake import FakeExchange, Reply
from himari_jax.live.paging import first_moment, read_pages
from himari_jax.live.retries import TRIES, retry_after
from himari_jax.times import DAY_MS, HOUR_MS

pytest.importorskip("ccxt")


def test_a_long_history_comes_page_by_page_each_candle_once_and_without_the_running_one():
    fake, clock = world(2500, now_bars=2400)
    rows = read_all(exchange_on(fake, clock), clock)
    np.testing.assert_array_equal(rows, fake.candles[SYMBOL][:2400])
    assert len(fake.asked) == 3


def test_the_fake_answers_with_the_running_candle_which_the_loop_drops_by_time():
    fake, clock = world(50, now_bars=40)
    feed = exchange_on(fake, clock)
    found = feed.fetch(SYMBOL, HOUR_MS, START).rows
    assert found[-1, 0] == START + 40 * HOUR_MS
    assert read_all(feed, clock)[-1, 0] == START + 39 * HOUR_MS


def test_a_candle_closes_when_the_slower_clock_says_so():
    notes = []
    fake, clock = world(50, now_bars=40, skew_ms=-600_000)  # ours is ten minutes ahead of the exchange's
    rows = read_all(exchange_on(fake, clock), clock, notes=notes)
    assert rows[-1, 0] == START + 38 * HOUR_MS
    assert notes == ["the clock here is 10 min ahead of that of binance; the earlier one decides"]


def test_until_bounds_the_candles_and_since_goes_up_to_the_next_bar():
    fake, clock = world(50)
    rows = read_all(exchange_on(fake, clock), clock, since=START + 1, until=START + 5 * HOUR_MS + 1)
    assert (rows[:, 0] == START + HOUR_MS * np.arange(1, 5)).all()


def test_gaps_stay_gaps_and_do_not_end_the_history():
    whole = market_rows(3000)
    rows = np.delete(whole, np.r_[5, 700:1900, 2500], axis=0)
    fake, clock = world(3000, rows=rows)
    np.testing.assert_array_equal(read_all(exchange_on(fake, clock), clock), rows)


def test_a_stretch_without_any_trade_longer_than_a_page_is_passed():
    class Windows:
        """Answers with what lies in a window after `since`, as Coinbase does: an empty page is not the end."""

        name, kind = "windows", "exchange"

        def newest(self, bar_ms):
            return None

        def page_bars(self, bar_ms):
            return 100

        def fetch(self, symbol, bar_ms, since_ms, bars=None):
            from himari_jax.live.feed import Page

            inside = (rows[:, 0] >= since_ms) & (rows[:, 0] < since_ms + 100 * bar_ms)
            return Page(rows[inside])

    rows = np.delete(market_rows(1000), np.s_[150:600], axis=0)
    clock = SimulatedClock(START + 1000 * HOUR_MS)
    np.testing.assert_array_equal(read_all(Windows(), clock), rows)


def test_a_page_that_lacks_its_oldest_candles_is_asked_for_again_by_them():
    fake, clock = world(1000)
    feed = exchange_on(fake, clock)
    fetch = feed.fetch
    feed.fetch = lambda symbol, bar, since, bars=None: (page := fetch(symbol, bar, since, bars))._replace(
        rows=page.rows if bars else page.rows[-300:]
    )
    np.testing.assert_array_equal(read_all(feed, clock), fake.candles[SYMBOL])


def test_a_source_that_answers_the_same_again_and_again_is_refused_in_one_line():
    fake, clock = world(3000)
    feed = exchange_on(fake, clock)
    first = feed.fetch(SYMBOL, HOUR_MS, START)
    feed.fetch = lambda *args: first
    with pytest.raises(SourceError, match=r"binance BTC/USDT: asked for candles from .* nothing advances"):
        read_all(feed, clock)


@pytest.mark.parametrize("trouble", ["429", "500", "truncated", "timeout"])
@pytest.mark.parametrize("name", ["binance", "kraken"])
def test_a_trouble_that_passes_costs_time_and_no_candle(name, trouble):
    fake, clock = world(100, script=[trouble, trouble])
    rows = read_all(exchange_on(fake, clock, name), clock)
    np.testing.assert_array_equal(rows, fake.candles[SYMBOL])
    assert clock.slept == ([7.0, 7.0] if trouble == "429" else [1.0, 2.0])  # Retry-After, else longer and longer


@pytest.mark.parametrize("trouble", ["429", "500", "truncated", "timeout"])
def test_a_trouble_that_stays_ends_in_one_line(trouble):
    fake, clock = world(100, script=[trouble] * 20)
    with pytest.raises(SourceError, match=f"binance BTC/USDT: .*; tried {TRIES} times in .* s: try again later"):
        read_all(exchange_on(fake, clock), clock)
    assert len(fake.asked) == TRIES


def test_a_wait_of_an_hour_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr("himari_jax.live.fake.RETRY_AFTER", 3600)
    fake, clock = world(100, script=["429"])
    with pytest.raises(SourceError, match="it asks to wait 3,600 s: try again then"):
        read_all(exchange_on(fake, clock), clock)
    assert clock.slept == []


def test_retry_after_is_a_number_or_a_date():
    assert retry_after({"retry-after": "12"}, 0) == 12
    assert retry_after({"Retry-After": "Mon, 01 Jan 2024 00:00:30 GMT"}, START) == 30
    assert retry_after({"Retry-After": "soon"}, START) is retry_after({}, START) is retry_after(None, START) is None


def test_volumes_in_other_units_are_refused():
    fake, clock = world(100, volume_factor=100.0)
    with pytest.raises(SourceError, match=r"volume x close is 10\d times the quote volume: the volume does not count"):
        read_all(exchange_on(fake, clock), clock)


def test_kraken_has_the_newest_720_whatever_is_asked_for_and_says_so():
    fake, clock = world(2000, now_bars=1900)
    feed = exchange_on(fake, clock, "kraken")
    rows = read_all(feed, clock, since=START)
    np.testing.assert_array_equal(rows, fake.candles[SYMBOL][1900 - 719 : 1900])  # the newest one is running
    until = clock.now_ms()
    with pytest.raises(
        InputError, match="--since 2024-01-01T00:00Z: kraken has the newest 720 candles alone, bars of 1h"
    ):
        first_moment(feed, HOUR_MS, START, until, until)
    begin = first_moment(feed, HOUR_MS, None, until // DAY_MS * DAY_MS, until)
    assert rows[0, 0] <= begin < rows[0, 0] + 2 * DAY_MS


def test_bars_and_symbols_that_an_exchange_does_not_have_are_refused_with_those_that_it_has():
    fake, clock = world(10)
    feed = exchange_on(fake, clock)
    with pytest.raises(InputError, match=r"--symbols BTC/USDC: binance has no such market; .*; near are BTC/USDT"):
        feed.check("BTC/USDC", HOUR_MS)
    with pytest.raises(InputError, match=r"--bar 7h: binance has no such bars; it must be one of 1m .*1h 2h 4h"):
        feed.check(SYMBOL, 7 * HOUR_MS)
    with pytest.raises(InputError, match="--bar 4h: coinbase has no such bars"):
        exchange_on(fake, clock, "coinbase").check(SYMBOL, 4 * HOUR_MS)
    with pytest.raises(InputError, match=r"--exchange binanse: .*; did you mean binance"):
        exchange_on(fake, clock, "binanse")


def test_longer_bars_are_those_of_the_hours():
    fake, clock = world(100)
    days = read_all(exchange_on(fake, clock), clock, bar_ms=DAY_MS)
    hours = fake.candles[SYMBOL][: 24 * len(days)].reshape(-1, 24, 6)
    np.testing.assert_allclose(days[:, 5], hours[:, :, 5].sum(1))
    np.testing.assert_array_equal(
        days[:, 1:5].T, [hours[:, 0, 1], hours[:, :, 2].max(1), hours[:, :, 3].min(1), hours[:, -1, 4]]
    )


def test_the_loop_ends_at_now_without_a_question_where_nothing_has_closed():
    clock = SimulatedClock(START + HOUR_MS - 1)
    feed = exchange_on(FakeExchange({SYMBOL: market_rows(5)}, HOUR_MS, clock), clock)
    assert list(read_pages(feed, SYMBOL, HOUR_MS, START, 2**60, clock, print)) == []


def test_a_clock_of_a_demo_runs_faster():
    clock = ScaledClock(START, 3600_000.0)
    clock.sleep(3600)
    assert START + HOUR_MS <= clock.now_ms() < START + 1000 * HOUR_MS


def test_one_proxy_and_another_address_come_from_the_environment(monkeypatch):
    from himari_jax.live.addresses import Route, route_from_environment
    from himari_jax.live.exchange import ExchangeFeed

    monkeypatch.setenv("HIMARI_PROXY", "socks5h://127.0.0.1:9050")
    feed = ExchangeFeed("kraken")
    assert (feed.api.socksProxy, feed.api.httpsProxy) == ("socks5h://127.0.0.1:9050", None)
    monkeypatch.setenv("HIMARI_PROXY", "localhost:9050")
    with pytest.raises(InputError, match="HIMARI_PROXY: must be http://HOST:PORT or"):
        route_from_environment()
    assert Route(instead="http://127.0.0.1:9/").rewrite("https://api.x.y/z?a=1") == "http://127.0.0.1:9/api.x.y/z?a=1"


class OtherFormat:
    """An exchange that answers with candles in the format of a function."""

    def __init__(self, shape, factor=1.0):
        self.shape, self.factor = shape, factor

    def answer(self, url):
        rows = market_rows(50)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(self.shape(rows, self.factor)).encode())


def bybit_shape(rows, factor):
    found = [[str(int(t)), o, h, low, c, v * factor, v * c] for t, o, h, low, c, v in rows.tolist()]
    listed = [[str(x) for x in row] for row in found[::-1]]
    return {"retCode": 0, "result": {"category": "spot", "symbol": "BTCUSDT", "list": listed}}


def okx_shape(rows, factor):
    found = [[int(t), o, h, low, c, v * factor, v * c, v * c, 1] for t, o, h, low, c, v in rows.tolist()]
    return {"code": "0", "msg": "", "data": [[str(x) for x in row] for row in found[::-1]]}


def coinbase_shape(rows, factor):
    names = ("start", "open", "high", "low", "close", "volume")
    found = [dict(zip(names, (str(int(t) // 1000), *map(str, values)), strict=True)) for t, *values in rows.tolist()]
    return {"candles": found[::-1]}


@pytest.mark.parametrize(("name", "shape"), [("bybit", bybit_shape), ("okx", okx_shape), ("coinbase", coinbase_shape)])
def test_other_exchanges_have_the_same_candles_the_newest_first_and_their_units_are_checked(name, shape):
    def asked(factor):
        feed = exchange_on(OtherFormat(shape, factor), SimulatedClock(START + 50 * HOUR_MS), name)
        market = feed.api.safe_market_structure(
            {"id": "BTC-USDT", "symbol": SYMBOL, "base": "BTC", "quote": "USDT", "type": "spot", "spot": True}
        )
        feed.api.set_markets([market | {"linear": False, "inverse": False, "option": False, "contract": False}])
        feed.markets = feed.api.markets
        return feed.fetch(SYMBOL, HOUR_MS, START).rows

    np.testing.assert_allclose(asked(1.0), market_rows(50))
    if name != "coinbase":  # which has no volume in money
        with pytest.raises(SourceError, match="the volume does not count the base asset"):
            asked(1000.0)
