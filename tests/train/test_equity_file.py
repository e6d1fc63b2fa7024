"""equity.parquet: what was decided at each bar, what was held, and what became of it, for runs and backtests."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from worlds import TINY_RUN

from envs.market import align_prices, delayed
from himari_jax.account import Costs, liquidated_gain, open_account, step_account
from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import cap_targets
from himari_jax.statistics import metrics
from train.artifacts.run_folder import stored_config
from train.backtest import main as backtest_main
from train.backtesting.entries import load_entries
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.data.loading import checked, load_raw
from train.data.market import sizing_rules
from train.evaluation.summary import account_metrics
from train.ppo import main as train_main
from train.report import main as report_main
from train.simulation.baselines import every_bar
from train.simulation.play import Cell, play_orders
from train.simulation.simulator import liquidated

SYMBOLS = ("SYN1", "SYN2")
# Both caps bind, the policy is late, and small trades are not made.
FLAGS = (
    "--symbols SYN1 SYN2 --base-sizing vol-target --delay 1 --max-position-pct 0.24 --max-gross 0.4 --min-trade 0.01 "
    "--slippage-bps 5 --policy lstm"
).split()
RULE = "import numpy as np\n\n\ndef weights(market):\n    return np.full(market.base.shape, 0.3)\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Strategies leave their trials in runs/ of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


def backtest(out, *args):
    assert run_command(backtest_main, [*map(str, args), "--out", str(out), "--device", "cpu"]) == 0
    return pl.read_parquet(out / "equity.parquet")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run in a market where everything between multiplier and weight has its say."""
    folder = tmp_path_factory.mktemp("runs") / "capped"
    assert run_command(train_main, [*TINY_RUN, *FLAGS, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def cells(run, tmp_path_factory):
    """equity.parquet of a backtest over windows, costs and delays."""
    out = tmp_path_factory.mktemp("out") / "cells"
    return backtest(out, run, "--windows", 3, "--costs", 0, 15, "--delays", 0, 1, 3)


def table(frame, name):
    """The columns `NAME_SYMBOL` as (S, N), float64."""
    return frame.select(f"{name}_{symbol}" for symbol in SYMBOLS).to_numpy().astype(np.float64)


def wanted(frame, config):
    """Target weights that follow from multiplier and base position, (S, N)."""
    return cap_targets(table(frame, "multiplier"), table(frame, "base"), config.max_position_pct, config.max_gross)


def rows_of(frame, candles):
    """Rows of the candles at whose close the decisions were made."""
    closes = candles.time + candles.bar_ms
    rows = np.searchsorted(closes, frame["time"].dt.epoch("ms").to_numpy())
    assert (closes[rows] == frame["time"].dt.epoch("ms").to_numpy()).all()
    return rows


def candles_of(run):
    config = stored_config(run)
    return checked(load_raw(config.data, config.source_options), config.data)[0]


def replay(frame, candles, config, rate):
    """Weights after each fill and equity at each mark, by an account in float64 that knows the file and the candles."""
    to_fill, to_mark, tradable = align_prices(candles, config.fill)
    costs = Costs(np.float64(rate), np.float64(config.min_trade))
    cash = open_account(np.zeros(len(SYMBOLS)))
    account, held, growth = cash, [], []
    for row, target, last in zip(rows_of(frame, candles), wanted(frame, config), frame["liquidated"], strict=True):
        account, done = step_account(account, target, to_fill[row], to_mark[row], tradable[row], costs)
        held.append(done.held)
        growth.append(1 + (liquidated_gain(done, rate) if last else done.gain))
        account = cash if last else account
    return np.array(held), np.cumprod(growth)


def test_columns_stand_in_the_agreed_order(run, cells):
    own = [f"{name}_{symbol}" for name in ("weight", "multiplier", "base") for symbol in SYMBOLS]
    cell = ["policy", "seed", "window", "cost", "delay"]
    for frame, keys in ((pl.read_parquet(run / "equity.parquet"), []), (cells, cell)):
        lead = ["time", *keys, *own, "equity"]
        assert frame.columns[: len(lead)] == lead
        assert all(name.startswith("baseline_") for name in frame.columns[len(lead) : -1])
        assert frame.columns[-1] == "liquidated"
        assert set(frame.select(own).dtypes) == {pl.Float32}


def test_the_multiplier_is_the_policys_and_moves_between_0_and_2(run):
    said = table(pl.read_parquet(run / "equity.parquet"), "multiplier")
    assert said.min() >= 0
    assert said.max() <= 2
    assert said.std(0).min() > 0
    result = json.loads((run / "result.json").read_text())
    assert result["multiplier_deviation"] == pytest.approx(said.std(0).max(), rel=1e-6)


def test_the_base_position_is_the_one_of_as_many_bars_before_as_the_policy_was_late(run, cells):
    candles, config = candles_of(run), stored_config(run).market
    known = base_positions(config.base_sizing, candles, sizing_rules(config)).astype(np.float32)
    own = pl.read_parquet(run / "equity.parquet").with_columns(delay=pl.lit(config.delay))
    frames = {0: own, **{k + 1: part for k, part in enumerate(cells.partition_by("delay", "window", "cost"))}}
    for frame in frames.values():
        late = delayed(known, candles, frame["delay"][0])
        np.testing.assert_array_equal(table(frame, "base"), late[rows_of(frame, candles)])
    assert sorted(cells["delay"].unique()) == [0, 1, 2, 3]  # 2: one bar later than the run's own


def test_multiplier_times_base_within_the_caps_are_the_weights_that_were_wanted(run):
    config = stored_config(run).market
    frame = pl.read_parquet(run / "equity.parquet")
    target = wanted(frame, config)
    assert (table(frame, "multiplier") * table(frame, "base") > config.max_position_pct).any()
    assert (target.sum(1) >= config.max_gross - 1e-6).any()
    (member,) = load_entries([str(run)], EvaluationDataConfig(), GridConfig())
    (found,) = play_orders(member.simulator, 0, [every_bar(target)], [config.cost])
    np.testing.assert_allclose(found.held, table(frame, "weight"), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.equity, frame["equity"], rtol=1e-6)


def test_the_file_and_the_candles_alone_replay_weights_and_equity(run, cells):
    candles, config = candles_of(run), stored_config(run).market
    own = pl.read_parquet(run / "equity.parquet").with_columns(cost=pl.lit(1e4 * config.cost))
    for frame in (own, *cells.partition_by("window", "cost", "delay")):
        held, equity = replay(frame, candles, config, frame["cost"][0] / 1e4)
        np.testing.assert_allclose(held, table(frame, "weight"), rtol=0, atol=1e-5)
        np.testing.assert_allclose(equity, frame["equity"], rtol=1e-5)


def test_a_strategy_that_gives_weights_has_no_multiplier_and_no_base(run, tmp_path):
    (tmp_path / "half.py").write_text(RULE)
    frame = backtest(tmp_path / "out", run, tmp_path / "half.py", "--equity", "own")
    for name, part in ((policy, frame.filter(policy=policy)) for policy in ("capped", "half")):
        for column in ("multiplier", "base"):
            nulls = part.select(f"{column}_{symbol}" for symbol in SYMBOLS).null_count()
            assert set(nulls.row(0)) == {len(part) if name == "half" else 0}
    alone = backtest(tmp_path / "alone", tmp_path / "half.py", "--source", "synthetic", "--symbols", *SYMBOLS)
    assert alone.schema == frame.schema
    assert alone["multiplier_SYN1"].null_count() == len(alone)


def test_the_weights_of_a_run_or_of_its_backtest_taken_back_give_its_own_result(run, tmp_path):
    frame, result = pl.read_parquet(run / "equity.parquet"), json.loads((run / "result.json").read_text())
    # A backtest's file holds other cells, too; result.json beside it says which is the run's own.
    cell = {"policy": "capped", "seed": 0, "window": 0, "cost": 15.0, "delay": 1}
    own = frame.select("time", *(pl.lit(x).alias(name) for name, x in cell.items()), pl.exclude("time"))
    others = [
        own.with_columns(pl.lit(x).alias(name), pl.col("^weight_.*$") / 2)
        for name, x in {"policy": "random", "seed": 1, "cost": 0.0, "delay": 2}.items()
    ]
    (tmp_path / "backtest").mkdir()
    pl.concat([others[0], own, *others[1:]]).write_parquet(tmp_path / "backtest" / "equity.parquet")
    says = {"name": "capped", "chosen_seed": 0, "own_cost": 15.0, "own_delay": 1}
    (tmp_path / "backtest" / "result.json").write_text(json.dumps(says))
    files = [run / "equity.parquet", tmp_path / "backtest" / "equity.parquet"]
    _, *taken = load_entries([str(run), *map(str, files)], EvaluationDataConfig(), GridConfig())
    assert [entry.name for entry in taken] == ["capped-equity", f"{tmp_path.name}-backtest-equity"]
    for entry in taken:
        own_cell = Cell(0, entry.delay, entry.cost)
        ((_, ((_, history),)),) = entry.play([own_cell], entry.num_rows)
        np.testing.assert_allclose(history.held, table(frame, "weight"), rtol=0, atol=1e-6)
        sharpe = metrics.sharpe(history.returns, entry.bars_per_year)
        assert sharpe == pytest.approx(result["agent"]["sharpe"], rel=1e-5)
        found = account_metrics(history, liquidated(entry.simulator, 0, entry.num_rows), entry.bars_per_year)
        for name in ("turnover", "cost_drag", "final_equity"):
            assert found[name] == pytest.approx(result["agent"][name], rel=1e-4)
    (tmp_path / "backtest" / "result.json").unlink()
    with pytest.raises(InputError, match=r"rows of several cells \(2 of policy, 2 of seed, 2 of cost, 2 of delay\)"):
        load_entries([str(run), str(files[1])], EvaluationDataConfig(), GridConfig())


def test_a_file_without_multipliers_is_reported_and_replayed_as_before(run, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run, old)
    frame = pl.read_parquet(run / "equity.parquet")
    frame.select(pl.exclude("^(multiplier|base)_.*$")).write_parquet(old / "equity.parquet")
    for folder in (run, old):
        assert run_command(report_main, [str(folder)]) == 0
        assert (">Multiplier<" in (folder / "report.html").read_text()) == (folder == run)
    span = f"{frame['time'][9]:%Y-%m-%dT%H:%M:%SZ}:{frame['time'][-1]:%Y-%m-%dT%H:%M:%SZ}"
    data = ["--source", "synthetic", "--symbols", *SYMBOLS, "--span", span, "--equity", "own"]
    found = []
    for folder in (run, old):
        shutil.copy(folder / "equity.parquet", tmp_path / "weights.parquet")
        found.append(backtest(tmp_path / folder.name, tmp_path / "weights.parquet", *data))
    assert found[0].equals(found[1])
