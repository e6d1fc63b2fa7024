"""Every metric of a report beside its outside reference, to 1e-9, on hours that were traded.

The courses come from two accounts. The stage's own, in float32: its metrics are compared with libraries and loops on
what it recorded. The same orders in float64: its metrics are compared with libraries and loops on the books of units
and cash, which are kept from prices and wanted weights alone and know nothing of the account.
"""

from dataclasses import replace
from math import fsum
from typing import NamedTuple

import empyrical
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.market import build_market, to_device
from envs.portfolio import Costs
from himari_jax import metrics
from himari_jax.candles import check_candles
from himari_jax.features import windows
from himari_jax.sources import SourceRequest, load
from himari_jax.splits import stretches
from train.baselines import all_orders, every_bar
from train.config import MarketConfig
from train.evaluate import courses, make_tape, run_weights
from train.final import liquidated
from train.judge import block
from train.stage import build_stage, play_baselines, play_orders, window_of

A, FEE, HOUR_MS = 8760, 0.001, 3_600_000
NOTHING = 1e-6  # of equity: what no metric takes for a position
COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
STRATEGIES = ("momentum", "vol_target", "kelly", "equal_weight", "buy_and_hold", "random")
SCENES = {  # symbols, rows of the candles, fill, stretches
    "one asset": (COINS[:1], slice(-5000, None), "same-close", 1),
    "three assets": (COINS, slice(-5000, None), "next-open", 1),
    "a gap and bars that do not trade": (COINS, slice(5000, 10_500), "next-open", 2),
}


class Books(NamedTuple):
    """What a reference looks at, bar by bar of one account."""

    returns: np.ndarray  # (L,)
    held: np.ndarray  # (L, N) shares of equity after the trade
    traded: np.ndarray  # (L,) share of equity
    paid: np.ndarray  # (L,) share of equity, fees
    trips: np.ndarray  # profit of each round trip, in money


@pytest.fixture(scope="module", params=SCENES)
def scene(request, data_folder, ledger):
    """For each account, by strategy: its course and the books to compare it with; and the bars that end in a sale."""
    symbols, rows, fill, count = SCENES[request.param]
    candles = check_candles(load("files", SourceRequest(symbols, (str(data_folder / "spot"),), HOUR_MS, False, None)))[
        0
    ]
    columns = ("time", "open", "high", "low", "close", "volume", "tradable", "segment")
    candles = replace(candles, **{name: getattr(candles, name)[rows] for name in columns})
    span = stretches(candles, 0, len(candles.time), windows(HOUR_MS).lookback)
    assert len(span) == count
    stage = build_stage(candles, MarketConfig(fill=fill), span, (0,))
    agent = play_orders(stage, 0, [every_bar(stage.rules["vol_target"][stage.rows] / 2)], [FEE])[0]
    single = play_baselines(stage, 0, 0, {FEE: agent}, STRATEGIES)[FEE]
    orders = [all_orders(stage.rules, window_of(stage, 0, 0, agent))[name] for name in STRATEGIES]
    double = dict(zip(STRATEGIES, play_double(candles, span, fill, orders), strict=True))
    kept = {
        name: keep_books(ledger, candles, span, fill, order) for name, order in zip(STRATEGIES, orders, strict=True)
    }
    ended, to_mark = liquidated(stage, 0, stage.num_rows), stage.market.to_mark[stage.rows]
    seen = {name: read_books(single[name], to_mark, ended, kept[name].trips) for name in STRATEGIES}
    return {"float32": (single, seen), "float64": (double, kept)}, ended


def play_double(candles, span, fill, orders):
    """The account's courses in float64."""
    with jax.enable_x64(True):
        tape = make_tape(to_device(build_market(candles, fill=fill, dtype=np.float64)), span)
        target, trade = (jnp.asarray(np.stack(x, -1)) for x in zip(*orders, strict=True))
        rates = np.full(len(orders), FEE)
        path = run_weights(target, trade, tape, jnp.int32(0), Costs(jnp.asarray(rates), jnp.float64(0)))
        return list(courses(path, tape, np.zeros(len(orders), int), rates))


def read_books(course, to_mark, ended, trips):
    """Books of what an account recorded."""
    traded, paid = [], []
    for delta, held, mark, end in zip(
        course.delta.tolist(), course.held.tolist(), to_mark.tolist(), ended, strict=True
    ):
        traded.append(fsum(abs(d) for d in delta))
        sale = fsum(h * (1 + m) for h, m in zip(held, mark, strict=True)) if end else 0.0
        paid.append(FEE * (traded[-1] + sale))
    return Books(course.returns, np.asarray(course.held, float), np.array(traded), np.array(paid), trips)


def keep_books(ledger, candles, span, fill, orders):
    """Books of units and cash, kept from prices and orders; the round trips are vectorbt's."""
    rows = np.concatenate([np.arange(*stretch) for stretch in span])
    filled = rows + 1 if fill == "next-open" else rows
    price, mark = (candles.open if fill == "next-open" else candles.close)[filled], candles.close[rows + 1]
    may = candles.tradable[filled] & orders.trade
    capital, at, pages, tickets = 1.0, 0, [], []
    for start, stop in span:
        part = slice(at, at + stop - start)
        page = ledger(price[part], mark[part], orders.target[part], may[part], FEE, capital=capital)
        units = page["weights"] * page["equity"][:, None] / mark[part]
        bought = np.diff(units, axis=0, prepend=0)
        cash = np.concatenate([[capital], page["cash"][:-1]])
        worth = cash + ((units - bought) * price[part]).sum(1)
        money = bought * price[part]
        paid = cash - page["cash"] - money.sum(1)
        equity, sale = page["equity"].copy(), FEE * (units[-1] * mark[part][-1]).sum()
        equity[-1] -= sale  # everything is sold at the last mark
        paid[-1] += sale
        returns = equity / np.concatenate([[capital], equity[:-1]]) - 1
        pages.append((returns, units * price[part] / worth[:, None], np.abs(money).sum(1) / worth, paid / worth))
        wanted = np.where(may[part], orders.target[part], np.nan)
        tickets.append((price[part], bought, wanted))
        tickets.append((mark[part][-1:], -units[-1:], 0 * units[-1:]))
        capital, at = equity[-1], part.stop
    return Books(
        *map(np.concatenate, zip(*pages, strict=True)), find_trips(*map(np.concatenate, zip(*tickets, strict=True)))
    )


def find_trips(price, units, wanted):
    """Profits of vectorbt's positions: from wanted shares of equity for one asset, from units for several."""
    vectorbt = pytest.importorskip("vectorbt")
    import pandas as pd

    alone = price.shape[1] == 1
    portfolio = vectorbt.Portfolio.from_orders(
        pd.DataFrame(price),
        pd.DataFrame(wanted if alone else 1e6 * units),
        size_type="targetpercent" if alone else "amount",
        fees=FEE,
        init_cash=1e6 if alone else np.inf,  # the books know what cash allows
        direction="longonly",
        freq="1h",
    )
    return portfolio.positions.records["pnl"].to_numpy()


def evenness(held):
    """Concentration of each bar that holds something, by skfolio."""
    measures = pytest.importorskip("skfolio.measures")
    return [1 / measures.effective_number_assets(row / row.sum()) for row in held if row.sum() > NOTHING]


def share_of_wins(books):
    """Winning bars by invested bars."""
    invested = won = 0
    for r, weights in zip(books.returns.tolist(), books.held.tolist(), strict=True):
        invested += sum(weights) > NOTHING
        won += sum(weights) > NOTHING and r > 0
    return won / invested


REFERENCES = {
    "sharpe": lambda b: empyrical.sharpe_ratio(b.returns, annualization=A),
    "sortino": lambda b: empyrical.sortino_ratio(b.returns, annualization=A),
    "cagr": lambda b: empyrical.cagr(b.returns, annualization=A),
    "calmar": lambda b: empyrical.calmar_ratio(b.returns, annualization=A),
    "max_drawdown": lambda b: empyrical.max_drawdown(b.returns),
    "cvar_5": lambda b: empyrical.conditional_value_at_risk(b.returns, 0.05),
    "win_rate_bar": share_of_wins,
    "win_rate_trip": lambda b: np.mean(b.trips > 0),
    "turnover": lambda b: fsum(b.traded) / len(b.traded) * A,
    "cost_drag": lambda b: fsum(b.paid) / len(b.paid) * A,
    "exposure": lambda b: fsum(b.held.ravel()) / len(b.held),
    "herfindahl": lambda b: fsum(evenness(b.held)) / len(evenness(b.held)),
    "diversification": lambda b: 1 - fsum(evenness(b.held)) / len(evenness(b.held)),
    "final_equity": lambda b: empyrical.cum_returns_final(b.returns, 1),
}
