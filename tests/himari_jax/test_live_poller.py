"""The poller: newly closed candles, revisions, missing ones, each with the time of the event and of knowing."""

import numpy as np
import pytest
from fakes import START, SYMBOL, coins_on, exchange_on, market_rows, world

from himari_jax.errors import InputError, SourceError
from himari_jax.live.clock import ScaledClock
from himari_jax.live.fake import Change, FakeExchange
from himari_jax.live.poller import LiveCandles
from himari_jax.times import HOUR_MS


def live(fake, clock, name="binance", **named):
    """A poller of an exchange on a fake."""
    return LiveCandles(exchange_on(fake, clock, name), [SYMBOL], "1h", clock, **named)


def test_every_candle_is_told_once_with_its_close_and_when_it_was_known():
    fake, clock = world(60, now_bars=10)
    poller, told = live(fake, clock), []
    for _ in range(60):
        told += poller.poll().closed
        clock.sleep(900)
    rows = fake.candles[SYMBOL][9 : 9 + len(told)]
    assert [bar.time for bar in told] == rows[:, 0].tolist()
    np.testing.assert_array_equal([bar.values for bar in told], rows[:, 1:])
    for bar in told:
        assert bar.event_ms == bar.time + HOUR_MS
        assert 0 <= bar.known_ms - bar.event_ms < 900_000
    assert len(told) == 15


def test_the_first_poll_returns_the_history_that_was_asked_for_and_keeps_it():
    fake, clock = world(300, now_bars=200)
    poller = live(fake, clock, history=150)
    assert len(poller.poll().closed) == 150
    clock.sleep(3600)
    assert len(poller.poll().closed) == 1
    np.testing.assert_array_equal(poller.candles(SYMBOL), fake.candles[SYMBOL][51:201])


def test_a_revision_of_the_last_two_candles_is_told_with_both_values():
    time = START + 9 * HOUR_MS
    change = Change(SYMBOL, time, START + 11 * HOUR_MS, (100.0, 101.0, 99.0, 100.5, 3.0))
    fake, clock = world(60, now_bars=10, changes=[change])
    poller = live(fake, clock, "kraken")
    first = poller.poll().closed[-1]
    clock.sleep(3600)
    found = poller.poll()
    assert [bar.time for bar in found.closed] == [START + 10 * HOUR_MS]
    (revision,) = found.revisions
    assert (revision.time, revision.before, revision.after) == (time, first.values, change.values)
    assert revision.known_ms == clock.now_ms()
    assert poller.candles(SYMBOL)[0, 1:].tolist() == list(change.values)
    assert poller.poll().revisions == ()


def test_a_bar_without_a_candle_is_told_once_when_a_later_one_is_there():
    rows = np.delete(market_rows(60), 10, axis=0)
    fake, clock = world(60, now_bars=10, rows=rows)
    poller, missing = live(fake, clock), []
    for _ in range(12):
        missing += poller.poll().missing
        clock.sleep(900)
    (one,) = missing
    assert (one.time, one.event_ms) == (START + 10 * HOUR_MS, START + 11 * HOUR_MS)
    assert one.known_ms >= START + 12 * HOUR_MS


def test_a_market_that_went_silent_is_told_after_two_bars():
    fake, clock = world(60, rows=market_rows(10), now_bars=10)
    poller = live(fake, clock)
    poller.poll()
    clock.sleep(3 * 3600)
    assert [one.time for one in poller.poll().missing] == [START + 10 * HOUR_MS]


def test_a_missing_candle_that_comes_late_is_told_as_closed_with_its_late_known_time():
    late = START + 10 * HOUR_MS
    fake, clock = world(60, now_bars=10, changes=[Change(SYMBOL, late, START + 13 * HOUR_MS)])
    poller, polls = live(fake, clock), []
    for _ in range(4):
        polls.append(poller.poll())
        clock.sleep(3600)
    assert [bar.time for poll in polls for bar in poll.missing] == [late]
    (bar,) = [bar for poll in polls for bar in poll.closed if bar.time == late]
    assert bar.known_ms - bar.event_ms >= 2 * HOUR_MS


def test_a_poll_that_fails_changes_nothing_and_the_next_one_catches_up():
    fake, clock = world(60, now_bars=10)
    poller = live(fake, clock)
    poller.poll()
    fake.script = ["500"] * 7
    clock.sleep(3 * 3600)
    with pytest.raises(SourceError, match="tried 7 times"):
        poller.poll()
    assert [bar.time for bar in poller.poll().closed] == [START + k * HOUR_MS for k in (10, 11, 12)]


def test_clocks_that_differ_are_told_and_the_earlier_one_decides():
    fake, clock = world(60, now_bars=10, skew_ms=-120_000)
    poller = live(fake, clock)
    assert poller.poll().notes == ("the clock here is 2 min ahead of that of binance; the earlier one decides",)
    clock.sleep(120)
    assert [bar.time for bar in poller.poll().closed] == [START + 9 * HOUR_MS]


def test_several_symbols_are_told_in_the_order_of_time():
    _, clock = world(60, now_bars=10)
    fake = FakeExchange({SYMBOL: market_rows(60), "ETH/USDT": market_rows(60, seed=1)}, HOUR_MS, clock)
    poller = LiveCandles(exchange_on(fake, clock), [SYMBOL, "ETH/USDT"], "1h", clock, history=3)
    told = poller.poll().closed
    assert [(bar.time - START) // HOUR_MS for bar in told] == [7, 7, 8, 8, 9, 9]
    assert [bar.symbol for bar in told[:2]] == [SYMBOL, "ETH/USDT"]
    with pytest.raises(InputError, match="--symbols DOGE/USDT"):
        LiveCandles(exchange_on(fake, clock), ["DOGE/USDT"], "1h", clock)


def test_prices_of_coingecko_are_polled_by_the_same_object():
    fake, clock = world(200, now_bars=100)
    poller, told = LiveCandles(coins_on(fake, clock), ["BTC"], "1h", clock, history=5), []
    for _ in range(20):
        told += poller.poll().closed
        clock.sleep(900)
    times = [bar.time for bar in told]
    assert times == sorted(set(times))
    assert len(times) >= 9
    np.testing.assert_allclose([bar.values[3] for bar in told], fake.candles[SYMBOL][95 : 95 + len(told), 4])


def test_a_clock_of_a_demo_runs_faster():
    clock = ScaledClock(START, 3600_000.0)
    clock.sleep(3600)
    assert START + HOUR_MS <= clock.now_ms() < START + 1000 * HOUR_MS
