"""Prices of CoinGecko as candles: every trap of its answers, on a fake one."""

import httpx
import numpy as np
import pytest
from fakes import START, SYMBOL, coins_on, market_rows, read_all, world

from himari_jax.errors import InputError, SourceError
from himari_jax.live.coingecko import CoinGeckoFeed, access, error_message, on_grid, to_candles
from himari_jax.times import DAY_MS, HOUR_MS


def test_hourly_candles_open_and_close_at_the_prices_of_their_hours():
    fake, clock = world(500)
    rows = read_all(coins_on(fake, clock), clock, "BTC")
    want = fake.candles[SYMBOL][: len(rows)]
    assert len(rows) >= 499
    np.testing.assert_allclose(rows[:, [0, 1, 4]], want[:, [0, 1, 4]], rtol=1e-12)
    np.testing.assert_array_equal(rows[:, 2:4].T, [rows[:, [1, 4]].max(1), rows[:, [1, 4]].min(1)])


def test_its_volume_is_the_rolling_figure_of_24_hours_in_units_of_the_coin():
    fake, clock = world(100)
    rows, own = read_all(coins_on(fake, clock), clock, "BTC"), fake.candles[SYMBOL]
    money = (own[:, 4] * own[:, 5])[27:51].sum()
    assert rows[50, 5] == pytest.approx(money / own[50, 4], rel=1e-9)


def test_a_year_comes_in_windows_of_90_days_since_longer_ones_have_prices_of_days():
    fake, clock = world(8000)
    rows = read_all(coins_on(fake, clock), clock, "BTC")
    assert len(rows) in (7999, 8000)
    assert (np.diff(rows[:, 0]) == HOUR_MS).all()
    assert len(fake.asked) == 4


def test_times_off_the_grid_go_to_the_nearest_hour_and_the_nearest_price_wins():
    time = START + np.array([100_000, HOUR_MS - 60_000, HOUR_MS + 30_000, 2 * HOUR_MS + 5_000, 2 * HOUR_MS + 900_000])
    hours, value = on_grid(np.column_stack([time, [1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert hours.tolist() == [START, START + HOUR_MS, START + 2 * HOUR_MS]
    assert value.tolist() == [1.0, 3.0, 4.0]


def test_an_hour_waits_for_a_point_at_or_after_it():
    points = np.array([[START + 5_000, 1.0], [START + HOUR_MS - 30_000, 2.0]])
    assert on_grid(points)[0].tolist() == [START]


def test_an_hour_without_a_price_takes_its_two_candles_with_it():
    points = np.column_stack([START + HOUR_MS * np.array([0, 1, 2, 4, 5]), np.arange(1.0, 6)])
    rows = to_candles(points, points, HOUR_MS)
    assert ((rows[:, 0] - START) / HOUR_MS).tolist() == [0, 1, 4]


def test_days_are_made_of_the_prices_of_their_hours():
    fake, clock = world(100)
    feed = coins_on(fake, clock)
    days, own = read_all(feed, clock, "BTC", bar_ms=DAY_MS), fake.candles[SYMBOL]
    assert len(days) == 4
    np.testing.assert_allclose(days[1, [1, 4]], [own[24, 1], own[47, 4]])
    assert days[1, 2] == pytest.approx(max(own[24, 1], own[24:48, 4].max()))


@pytest.mark.parametrize("trouble", ["429", "500", "truncated", "timeout"])
def test_a_trouble_that_passes_costs_time_and_no_candle(trouble):
    fake, clock = world(100, script=[trouble, trouble])
    rows = read_all(coins_on(fake, clock), clock, "BTC")
    assert len(rows) >= 99
    assert clock.slept == ([7.0, 7.0] if trouble == "429" else [1.0, 2.0])


def test_a_symbol_of_several_coins_lists_them_and_an_id_settles_it():
    fake, clock = world(10)
    with pytest.raises(
        InputError, match=r"2 coins have this symbol: batcat \(batcat\), bitcoin \(Bitcoin\); say which"
    ):
        coins_on(fake, clock, {}).check("BTC", HOUR_MS)
    assert coins_on(fake, clock, {}).about("bitcoin") == {"id": "bitcoin", "currency": "usd"}
    assert coins_on(fake, clock).about("BTC/EUR") == {"id": "bitcoin", "currency": "eur"}
    with pytest.raises(InputError, match="coingecko has no coin of that symbol or id"):
        coins_on(fake, clock).check("DOGE", HOUR_MS)
    with pytest.raises(InputError, match="coingecko has no coin of that id"):
        coins_on(fake, clock, {"BTC": "bitcoins"}).check("BTC", HOUR_MS)
    with pytest.raises(InputError, match="--bar 15m: coingecko has prices of hours"):
        coins_on(fake, clock).check("BTC", 900_000)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "no key"},
        {"status": {"error_code": 10002, "error_message": "no key"}},
        {"error": {"status": {"error_code": 10012, "error_message": "no key"}}},
    ],
)
def test_errors_come_in_three_shapes_and_end_in_one_line(body):
    _, clock = world(10)
    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(401, json=body)))
    assert error_message(body) == "no key"
    with pytest.raises(SourceError, match="coingecko: HTTP 401: no key; a key goes into COINGECKO_DEMO_API_KEY or"):
        CoinGeckoFeed({}, clock, client).check("BTC", HOUR_MS)


def test_each_key_goes_to_its_own_host(monkeypatch):
    demo, pro = access({"COINGECKO_DEMO_API_KEY": "a"}), access({"COINGECKO_PRO_API_KEY": "b"})
    assert (demo.host, demo.headers) == ("https://api.coingecko.com/api/v3", {"x-cg-demo-api-key": "a"})
    assert (pro.host, pro.headers) == ("https://pro-api.coingecko.com/api/v3", {"x-cg-pro-api-key": "b"})
    assert (access({}).headers, access({}).days, pro.days) == ({}, 365, None)


def test_a_demo_key_has_a_year_of_history():
    fake, clock = world(10)
    assert coins_on(fake, clock).newest(HOUR_MS) == 8760
    assert coins_on(fake, clock).newest(DAY_MS) == 365


def test_candles_of_4_hours_are_stamped_with_their_close_and_prices_of_long_windows_are_of_days():
    fake, _ = world(24 * 200)
    candles = httpx.Response(200, content=fake.answer("https://x.y/api/v3/coins/bitcoin/ohlc?days=7").body).json()
    assert candles[0][0] == START + 200 * DAY_MS - 179 * 4 * HOUR_MS
    assert len(candles[0]) == 5
    url = f"https://x.y/api/v3/coins/bitcoin/market_chart/range?from={START // 1000}&to={START // 1000 + 91 * 86400}"
    points = httpx.Response(200, content=fake.answer(url).body).json()["prices"]
    assert len(points) == 92
    assert market_rows(3)[0, 0] == START
