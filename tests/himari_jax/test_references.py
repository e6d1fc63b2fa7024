"""Every metric of a report beside its outside reference, to 1e-9, on hours that were traded.

float32 is the stage's own account: libraries and loops look at what it recorded. float64 plays the same orders: there
they look at books of units and cash, kept from prices and orders alone.
"""

from dataclasses import fields, replace
from inspect import isfunction
from math import fsum
from typing import NamedTuple

import empyrical
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.market import build_market, to_device
from himari_jax.account import Costs
from himari_jax.checking.candles import check_candles
from himari_jax.features.market import BASE
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest
from himari_jax.splits import decision_rows, stretches
from himari_jax.statistics import metrics
from himari_jax.statistics.metric_table import METRICS
from train.config.market import MarketConfig
from train.evaluation.summary import account_metrics
from train.simulation.baselines import all_orders, every_bar
from train.simulation.engine import make_tape
from train.simulation.given import run_weights
from train.simulation.history import histories
from train.simulation.play import play_baselines, play_orders
from train.simulation.simulator import build_simulator, liquidated
from train.simulation.windows import window_of

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
    """Inputs of a reference, bar by bar of one account."""

    returns: np.ndarray  # (L,)
    held: np.ndarray  # (L, N) shares of equity after the trade
    traded: np.ndarray  # (L,) share of equity
    paid: np.ndarray  # (L,) share of equity, fees
    trips: np.ndarray  # profit of each round trip, in money


@pytest.fixture(scope="module", params=SCENES)
def scene(request, data_folder, ledger):
    """By account and strategy: the history and the books to compare it with; and the bars that end in a sale."""
    symbols, rows, fill, count = SCENES[request.param]
    spot = SourceRequest(symbols, (str(data_folder / "spot"),), HOUR_MS, False, None)
    candles, _ = check_candles(load_candles("files", spot))
    columns = [field.name for field in fields(candles) if isinstance(getattr(candles, field.name), np.ndarray)]
    candles = replace(candles, **{name: getattr(candles, name)[rows] for name in columns})
    span = stretches(candles, 0, len(candles.time), BASE.lookback(HOUR_MS))
    assert len(span) == count
    simulator = build_simulator(candles, MarketConfig(fill=fill), span, (0,))
    (rules,) = simulator.rules
    agent = play_orders(simulator, 0, [every_bar(rules["vol_target"][decision_rows(span)] / 2)], [FEE])[0]
    single = play_baselines(simulator, 0, 0, {FEE: agent}, STRATEGIES)[FEE]
    orders = {name: all_orders(rules, window_of(simulator, 0, 0, agent))[name] for name in STRATEGIES}
    double = play_double(candles, span, fill, orders)
    kept = {name: keep_books(ledger, candles, span, fill, order) for name, order in orders.items()}
    ended, to_mark = liquidated(simulator, 0, simulator.num_rows), simulator.host.to_mark
    recorded = {name: read_books(single[name], to_mark, ended, kept[name].trips) for name in STRATEGIES}
    return {"float32": (single, recorded), "float64": (double, kept)}, ended


def play_double(candles, span, fill, orders):
    """The account's histories in float64, by strategy."""
    with jax.enable_x64(True):
        tape = make_tape(to_device(build_market(candles, fill=fill, dtype=np.float64)), span)
        target, trade = (jnp.asarray(np.stack(x, -1)) for x in zip(*orders.values(), strict=True))
        rates = np.full(len(orders), FEE)
        path = run_weights(target, trade, tape, jnp.int32(0), Costs(jnp.asarray(rates), jnp.float64(0)))
        return dict(zip(orders, histories(path, tape, np.zeros(len(orders), int), rates), strict=True))


def read_books(history, to_mark, ended, trips):
    """Books of what an account recorded."""
    traded, paid = [], []
    for delta, held, moves, end in zip(
        *(x.tolist() for x in (history.delta, history.held, to_mark, ended)), strict=True
    ):
        sale = fsum(h * (1 + move) for h, move in zip(held, moves, strict=True)) if end else 0.0
        traded.append(fsum(abs(d) for d in delta) + sale)
        paid.append(FEE * traded[-1])
    return Books(history.returns, np.asarray(history.held, float), np.array(traded), np.array(paid), trips)


def keep_books(ledger, candles, span, fill, orders):
    """Books of units and cash from prices and orders; the round trips are vectorbt's."""
    rows = decision_rows(span)
    filled = rows + 1 if fill == "next-open" else rows
    prices, marks = (candles.open if fill == "next-open" else candles.close)[filled], candles.close[rows + 1]
    wanted = np.where(candles.tradable[filled] & orders.trade, orders.target, np.nan)
    capital, pages, tickets = 1.0, [], []
    for part in np.split(np.arange(len(rows)), np.cumsum([len(each) for each in span])[:-1]):
        price, mark, want = prices[part], marks[part], wanted[part]
        page = ledger(price, mark, np.nan_to_num(want), ~np.isnan(want), FEE, capital=capital)
        equity, cash = page["equity"], np.concatenate([[capital], page["cash"]])
        units = page["weights"] * equity[:, None] / mark
        bought = np.diff(units, axis=0, prepend=0)
        worth = cash[:-1] + ((units - bought) * price).sum(1)  # at the fill
        paid = -np.diff(cash) - (bought * price).sum(1)
        traded = np.abs(bought * price).sum(1)
        sale = units[-1] @ mark[-1]  # of everything, at the last mark
        equity[-1] -= FEE * sale
        traded[-1] += sale
        paid[-1] += FEE * sale
        returns = equity / np.concatenate([[capital], equity[:-1]]) - 1
        pages.append((returns, units * price / worth[:, None], traded / worth, paid / worth))
        tickets += [(price, bought, want), (mark[-1:], -units[-1:], 0 * units[-1:])]
        capital = equity[-1]
    series, trades = ([*map(np.concatenate, zip(*parts, strict=True))] for parts in (pages, tickets))
    return Books(*series, find_trips(*trades))


def find_trips(price, bought, wanted):
    """Profits of vectorbt's positions: of one asset from the shares of equity wanted, of several from units bought."""
    vectorbt = pytest.importorskip("vectorbt")
    alone = price.shape[1] == 1
    portfolio = vectorbt.Portfolio.from_orders(
        price,
        wanted if alone else 1e6 * bought,  # it takes units below 1e-12 for none
        size_type="targetpercent" if alone else "amount",
        fees=FEE,
        init_cash=1e6 if alone else np.inf,  # what cash allows is in the books already
        direction="longonly",
        freq="1h",
    )
    return portfolio.positions.records["pnl"].to_numpy()


def concentrations(held):
    """Sum of squared allocations of each bar that holds something, by skfolio."""
    number = pytest.importorskip("skfolio.measures").effective_number_assets
    return np.array([1 / number(row / row.sum()) for row in held if row.sum() > NOTHING])


def share_of_wins(books):
    """Winning bars by invested bars."""
    invested = [r for r, shares in zip(books.returns, books.held.tolist(), strict=True) if sum(shares) > NOTHING]
    return sum(r > 0 for r in invested) / len(invested)


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
    "herfindahl": lambda b: np.mean(concentrations(b.held)),
    "diversification": lambda b: np.mean(1 - concentrations(b.held)),
    "final_equity": lambda b: empyrical.cum_returns_final(b.returns, 1),
}
ALONE = {  # what a block comes by in another way, or not at all
    "deviation": (metrics.deviation, lambda b: empyrical.annual_volatility(b.returns, annualization=1)),
    "calmar": (lambda r: metrics.calmar(r, A), REFERENCES["calmar"]),
    "concentration": (lambda h: [x for x in metrics.concentration(h) if x == x], lambda b: concentrations(b.held)),
    "diversification": (metrics.diversification, REFERENCES["diversification"]),
}


@pytest.mark.parametrize("account", ["float32", "float64"])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_block_equals_its_references(scene, name, account):
    played, books = scene[0][account]
    for strategy in STRATEGIES:
        ours = account_metrics(played[strategy], scene[1], A)[name]
        assert ours == pytest.approx(REFERENCES[name](books[strategy]), rel=1e-9, abs=0), strategy


@pytest.mark.parametrize("account", ["float32", "float64"])
@pytest.mark.parametrize("name", ALONE)
def test_a_metric_alone_equals_its_reference(scene, name, account):
    (played, books), (ours, theirs) = scene[0][account], ALONE[name]
    for strategy in STRATEGIES:
        series = played[strategy].returns if name in ("deviation", "calmar") else played[strategy].held
        np.testing.assert_allclose(ours(series), theirs(books[strategy]), rtol=1e-9, atol=0, err_msg=strategy)


def test_no_metric_is_without_a_reference_and_no_reference_idle(scene):
    public = {name for name, thing in vars(metrics).items() if isfunction(thing) and not name.startswith("_")}
    assert public - {"calmar_of", "herfindahl_of", "sharpe_or_zero", "trip_profits", "zero_if_nan"} <= {
        *REFERENCES,
        *ALONE,
    }
    played, books = scene[0]["float64"]
    assert {*account_metrics(played["kelly"], scene[1], A)} == {*METRICS} == {*REFERENCES}
    assert 5 < (books["momentum"].trips > 0).sum() < len(books["momentum"].trips) - 5
    assert len(concentrations(books["momentum"].held)) < len(scene[1]) - 100  # else flat
    assert (played["kelly"].delta != 0).sum() > 10 * len(books["kelly"].trips)  # resized on the way
