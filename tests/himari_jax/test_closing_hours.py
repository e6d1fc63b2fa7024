"""Laws of closing hours: a market that closes every week is distinguished from one with holes, and read as sessions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_candles import HOUR, START, check, make

from himari_jax.checking.closing_hours import DAYS, closing_hours, moment
from himari_jax.errors import InputError

DAY, WEEK = 24 * HOUR, 168 * HOUR
MONDAY = START + 5 * DAY  # 2020-01-06
SUMMER = MONDAY + 12 * WEEK - 36 * HOUR  # clocks change on a Saturday of March


def market(bar, weeks, opens, west=None, first=MONDAY):
    """Open times, UTC, of a market in UTC, or in a zone `west` hours behind it in winter and one less in summer.

    `opens` takes hours since Monday 00:00 of its clock, (T,), and says which of its bars there are.
    """
    local = first + np.arange(weeks * WEEK // bar) * bar
    time = local if west is None else local + np.where(local < SUMMER, west, west - 1) * HOUR
    return time[opens((local - MONDAY) % WEEK / HOUR)]


def weekdays(hour):
    return hour < 120


def new_york_stocks(hour):
    return (hour < 120) & (hour % 24 >= 9.5) & (hour % 24 < 16)


def currencies(hour):  # Sunday 17:00 to Friday 17:00 in New York
    return (hour < 113) | (hour >= 161)


def futures(hour):  # the same with an hour off every day
    return currencies(hour) & (hour % 24 != 17)


MARKETS = {
    "days of stocks": (market(DAY, 26, weekdays), DAY, "on a Saturday or Sunday (UTC)"),
    "midnights of New York": (market(DAY, 26, weekdays, 5), DAY, "on a Saturday or Sunday (UTC)"),
    "midnights of London": (market(DAY, 26, weekdays, 0), DAY, "on a Saturday (UTC)"),  # Sunday 23:00 in summer
    "days but Friday": (market(DAY, 26, lambda h: (h < 96) | (h >= 120)), DAY, "on a Friday (UTC)"),
    "hours of currencies": (market(HOUR, 26, currencies, 5), HOUR, "from Friday 22:00 to Sunday 21:00 (UTC)"),
    "4 h of currencies": (market(4 * HOUR, 26, currencies), 4 * HOUR, "from Friday 20:00 to Sunday 20:00 (UTC)"),
    "hours of futures": (
        market(HOUR, 10, futures, 5),
        HOUR,
        "to Sunday 23:00 (UTC), nor from 22:00 to 23:00",
    ),
    "hours of stocks": (
        market(HOUR // 2, 26, lambda h: new_york_stocks(h) & (h % 1 == 0.5), 5),
        HOUR,
        "from Friday 21:00 to Monday 13:00 (UTC), nor from 21:00 to 13:00 on other days",
    ),
    "quarters of stocks": (market(HOUR // 4, 5, new_york_stocks, 5), HOUR // 4, "nor from 21:00 to 14:00"),
}


@pytest.mark.parametrize("name", MARKETS)
def test_a_market_that_closes_is_refused_with_its_hours_and_the_calendar_that_has_them(name):
    time, bar, words = MARKETS[name]
    raw = replace(make(range(len(time))), time=time)
    with pytest.raises(InputError) as refused:
        check(raw, bar_ms=bar)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("A.csv: ")
    assert words in line
    share = 1 - len(time) * bar / (np.ceil((time[-1] - time[0]) / WEEK) * WEEK)
    assert int(line.split(" ")[1]) == pytest.approx(100 * share, abs=1)
    assert "% of the bars are missing in a weekly pattern" in line
    assert line.endswith("or --calendar sessions for one that does")


@pytest.mark.parametrize("name", MARKETS)
def test_sessions_take_every_row_of_a_market_that_closes_and_leave_no_gap(name):
    time, bar, _ = MARKETS[name]
    candles, report = check(replace(make(range(len(time))), time=time), bar_ms=bar, calendar="sessions")
    np.testing.assert_array_equal(candles.time, time)
    assert (candles.segment == 0).all()
    assert candles.tradable.all()
    assert report.entries == []
    years = (time[-1] - time[0]) / (365.25 * DAY)
    assert candles.bars_per_year == pytest.approx(len(time) / years, rel=0.03)
    assert candles.days == pytest.approx((time[-1] - time[0] + bar) / DAY)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_holes_of_a_market_that_never_closes_are_no_closing_hours(data):
    bar = data.draw(st.sampled_from([HOUR // 4, HOUR, 4 * HOUR, DAY]))
    weeks = data.draw(st.integers(1, 60 if bar >= HOUR else 8))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    present = rng.random(weeks * WEEK // bar) > data.draw(st.floats(0, 0.95))
    for _ in range(data.draw(st.integers(0, 12))):  # outages of up to three weeks
        begin = rng.integers(len(present))
        present[begin : begin + int(rng.integers(1, 3 * WEEK // bar))] = False
    present[[0, -1]] = True
    time = MONDAY + rng.integers(WEEK // bar) * bar + np.flatnonzero(present) * bar
    assert closing_hours(time, bar) is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hours_that_are_closed_every_week_are_found_whichever_they_are(data):
    bar = data.draw(st.sampled_from([HOUR // 4, HOUR, 4 * HOUR, DAY]))
    slot = max(bar, HOUR)
    slots, weeks = WEEK // slot, data.draw(st.integers(6, 12))
    begin, length = data.draw(st.integers(0, slots - 1)), data.draw(st.integers(-(-slots // 14), slots * 5 // 7))
    hours = (np.arange(weeks * WEEK // bar) * bar % WEEK // slot - begin) % slots
    time = MONDAY + np.flatnonzero(hours >= length) * bar
    time = time[np.random.default_rng(data.draw(st.integers(0, 99))).random(len(time)) > 0.03]  # and holidays
    found = closing_hours(time, bar)
    assert found is not None
    if bar == DAY:
        assert found.words.count("day") == length
    elif length < slots:
        assert moment(begin * slot) in found.words
        assert moment((begin + length) % slots * slot) in found.words


@pytest.mark.parametrize(
    ("bar", "weeks", "opens"),
    [
        (DAY, 4, weekdays),  # four weekends may be missing by chance
        (HOUR, 2, currencies),
        (WEEK, 200, lambda h: h == 0),
        (2 * DAY, 100, lambda h: h < 48),  # no day of the week is the same again
        (HOUR, 50, lambda h: h % 24 != 3),  # an hour of maintenance a day
        (DAY, 50, lambda h: np.arange(len(h)) % 7 < np.where(np.arange(len(h)) < 300, 6, 7)),  # Sundays off at first
    ],
)
def test_too_few_weeks_short_breaks_and_a_time_of_weekly_outages_are_no_closing_hours(bar, weeks, opens):
    assert closing_hours(market(bar, weeks, opens, first=MONDAY - 12 * WEEK), bar) is None


def test_days_around_the_clock_in_a_zone_with_summer_time_are_dates_for_sessions_alone():
    time = market(DAY, 26, lambda h: h >= 0, 5)
    raw = replace(make(range(len(time))), time=time)
    with pytest.raises(InputError, match=r"off the grid of 1 day.*or --calendar sessions, which takes bars as dates"):
        check(raw)
    candles, _ = check(raw, calendar="sessions")
    np.testing.assert_array_equal(candles.time, time)
    assert candles.bars_per_year == pytest.approx(365.25, abs=0.2)


def test_sessions_are_not_offered_where_they_would_hide_a_wrong_time():
    hour, day = make(range(40)), make(range(40), bar=DAY)
    for raw, index, away in ((hour, 7, 60_000), (day, 7, 5 * HOUR)):
        time = raw.time.copy()
        time[index] += away
        with pytest.raises(InputError, match="off the grid") as refused:
            check(replace(raw, time=time))
        assert "sessions" not in str(refused.value)


def test_bars_of_sessions_have_one_phase_and_it_is_of_whole_minutes():
    half = replace(make(range(30)), time=START + HOUR // 2 + np.arange(30) * HOUR)
    assert len(check(half, calendar="sessions")[0].time) == 30
    with pytest.raises(InputError, match=r"or --calendar sessions, for a market that closes"):
        check(half)
    for ends in (half.time - 1, np.where(np.arange(30) == 9, half.time + HOUR // 4, half.time)):
        with pytest.raises(InputError, match="off the grid"):
            check(replace(half, time=ends), calendar="sessions")


def test_symbols_whose_sessions_never_meet_are_refused_instead_of_interleaved():
    time = MONDAY + np.flatnonzero(np.arange(70) % 7 < 5) * DAY
    here, there = replace(make(range(50)), time=time), replace(make(range(50), symbol="B"), time=time + 5 * HOUR)
    with pytest.raises(InputError, match="never have bars that open at the same time"):
        check(here, there, calendar="sessions")


def test_a_request_is_of_the_calendar_of_its_model():
    time = market(DAY, 26, weekdays)
    assert len(check(replace(make(range(len(time))), time=time), served=True)[0].time) == 26 * 7 - 2


def test_days_have_their_names():
    assert [moment(k * DAY + HOUR // 2) for k in range(7)] == [f"{day} 00:30" for day in DAYS]
