"""`python -m train.backtest`: one account whatever the batch, files that agree."""

import re

import numpy as np
import polars as pl
import pytest
from backtests import STRATEGIES, backtest, grid_of, read
from worlds import TINY_RUN as TINY

from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.plugins import BASELINES
from train.backtesting.entries import load_entries
from train.backtesting.grid import Windows, cut_windows
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.data.market import market_from
from train.ppo import main as train_main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Strategies leave their trials in runs/ of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def done(runs, tmp_path_factory):
    """A backtest of a run on its own test span."""
    out = tmp_path_factory.mktemp("out") / "whole"
    assert backtest(out, runs / "lstm") == 0
    return out


def test_on_its_own_test_span_a_backtest_says_what_the_run_said(runs, done):
    ours, theirs = read(done / "result.json"), read(runs / "lstm" / "result.json")
    for name in ("sharpe", "max_drawdown", "turnover", "win_rate_trip", "final_equity", "sharpe_interval"):
        assert ours["agent"][name] == theirs["agent"][name], name
    for name, block in theirs["baselines"].items():
        assert ours["baselines"][name] == block, name
    assert ours["chosen_seed"] == theirs["chosen_seed"]
    assert ours["verdict"] == theirs["verdict"]
    own = pl.read_parquet(done / "equity.parquet").filter(
        (pl.col("seed") == ours["chosen_seed"]) & (pl.col("cost") == 10) & (pl.col("delay") == 0)
    )
    before = pl.read_parquet(runs / "lstm" / "equity.parquet")
    for name, values in before.to_dict().items():  # two programs, whose last bits may differ
        if values.dtype.is_float():
            np.testing.assert_allclose(own[name], values, rtol=0, atol=1e-6, err_msg=name)
        else:
            assert own[name].equals(values), name


def test_there_is_a_row_for_every_policy_window_cost_and_delay(done):
    grid = grid_of(done)
    cells = 4 * 3  # costs x delays
    assert grid.filter(pl.col("policy") == "lstm").height == 2 * cells
    for name in BASELINES.names:
        assert grid.filter(pl.col("policy") == name).height == cells
    assert grid.select("policy", "seed", "window", "cost", "delay").is_unique().all()
    equity = pl.read_parquet(done / "equity.parquet")
    assert equity.height == 2 * cells * 575
    last = equity.group_by("seed", "cost", "delay").last().sort("seed", "cost", "delay")
    agents = grid.filter(pl.col("policy") == "lstm").sort("seed", "cost", "delay")
    np.testing.assert_allclose(last["equity"], agents["final_equity"], rtol=1e-12)
    others = grid.filter(pl.col("policy") == "kelly").sort("cost", "delay")
    np.testing.assert_allclose(last["baseline_kelly"][:cells], others["final_equity"], rtol=1e-12)


def test_cost_takes_from_the_same_orders_and_delay_moves_them(done):
    grid = grid_of(done).filter(pl.col("policy") == "momentum").sort("delay", "cost")
    finals = grid["final_equity"].to_numpy().reshape(3, 4)
    assert (np.diff(finals, axis=1) < 0).all()
    assert len(np.unique(finals[:, 0])) == 3
    still = grid_of(done).filter(pl.col("policy") == "equal_weight").sort("delay", "cost")
    assert len(still["final_equity"].unique()) == 4  # nothing to be late with


def test_a_window_begins_and_ends_in_cash(runs, tmp_path):
    assert backtest(tmp_path, runs / "mlp", "--windows", 5, "--window-steps", 60, "--costs", 0, "--delays", 0) == 0
    equity = pl.read_parquet(tmp_path / "equity.parquet").filter((pl.col("delay") == 0) & (pl.col("cost") == 10))
    for _, part in equity.group_by("seed", "window"):
        part = part.sort("time")
        assert part.height == 60
        assert part["liquidated"].sum() == 1
        assert part["liquidated"][-1]
    starts = equity.group_by("window").agg(pl.col("time").min()).sort("window")["time"].to_list()
    whole = read(tmp_path / "result.json")
    assert starts[0].strftime("%Y-%m-%dT%H:%M:%SZ") == whole["spans"]["test"][0][0]
    assert equity["time"].max().strftime("%Y-%m-%dT%H:%M:%SZ") == whole["spans"]["test"][-1][1]
    assert whole["windows"] == {"number": 5, "steps": 60}


def test_windows_touch_both_ends_and_have_one_length():
    assert cut_windows(100, None, None) == Windows((0,), 100)
    assert cut_windows(100, 4, None).starts == (0, 25, 50, 75)
    assert cut_windows(100, None, 30).starts == (0, 35, 70)
    assert cut_windows(100, 3, 50).starts == (0, 25, 50)
    with pytest.raises(InputError, match="--window-steps 101: the span has 100"):
        cut_windows(100, None, 101)
    with pytest.raises(InputError, match="--windows 52: only 51 of 50 bars begin in 100 decisions"):
        cut_windows(100, 52, 50)
    with pytest.raises(InputError, match="--windows 51"):
        cut_windows(100, 51, None)


def test_evaluating_again_adds_no_trial(runs, tmp_path):
    def count():
        return len((runs / "trials.jsonl").read_text().splitlines())

    assert backtest(tmp_path / "a", runs / "mlp") == 0
    before = count()
    assert backtest(tmp_path / "b", runs / "mlp", "--costs", 50) == 0
    assert count() == before
    assert backtest(tmp_path / "c", runs / "mlp", "--checkpoint", "latest") == 0
    assert count() == before + 2  # other parameters, two seeds
    assert read(tmp_path / "c" / "result.json")["trials"] == read(tmp_path / "a" / "result.json")["trials"] + 1


def test_candles_that_it_never_saw(runs, tmp_path):
    other = ["--synthetic.seed", "5"]
    assert run_command(train_main, [*TINY, "--run-dir", str(tmp_path / "x"), "--symbols", "SYN1", "SYN2", *other]) == 0
    folder = tmp_path / "files"
    folder.mkdir()
    (entry,) = load_entries([str(tmp_path / "x")], EvaluationDataConfig(span="all"), GridConfig())
    candles = entry.candles
    for n, symbol in enumerate(("ELSE1", "ELSE2")):
        columns = {k: getattr(candles, k)[:, n] for k in ("open", "high", "low", "close", "volume")}
        stamp = pl.Series(candles.time).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        pl.DataFrame({"timestamp": stamp, **columns}).write_parquet(folder / f"{symbol}.parquet")
    args = ["--data", folder, "--symbols", "ELSE1", "ELSE2"]
    assert backtest(tmp_path / "out", runs / "mlp", *args) == 0
    found = read(tmp_path / "out" / "result.json")
    assert found["symbols"] == ["ELSE1", "ELSE2"]
    assert found["fingerprint"] != read(runs / "mlp" / "result.json")["fingerprint"]


def test_a_function_and_a_file_of_the_same_weights_play_alike(runs, tmp_path, capsys):
    rule = "def weights(market, candles):\n    return 0.4 * (market.features[..., 3] > 0)\n"
    (tmp_path / "rule.py").write_text(rule)
    (entry,) = load_entries([str(tmp_path / "rule.py")], EvaluationDataConfig(source="synthetic"), GridConfig())
    candles = entry.candles
    stamp = pl.Series(candles.time + candles.bar_ms).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    wanted = pl.Series(entry.source.weights(candles, market_from(candles, entry.market))[:, 0])
    pl.DataFrame({"time": stamp, "weight_SYN1": wanted}).write_parquet(tmp_path / "kept.parquet")
    args = [tmp_path / "rule.py", tmp_path / "kept.parquet", "--source", "synthetic"]
    assert backtest(tmp_path / "out", *args) == 0
    grid = grid_of(tmp_path / "out").sort("cost", "delay")
    ours, theirs = (grid.filter(pl.col("policy") == name) for name in ("rule", "kept"))
    assert ours.drop("policy").equals(theirs.drop("policy"))
    assert ours.height == 12
    found = read(tmp_path / "out" / "result-kept.json")
    assert found["verdict"]["word"] != "EDGE"
    assert {a["name"]: a["passed"] for a in found["audits"]}["causality"] is None
    assert (tmp_path / "out" / "report-kept.html").exists()
    said = capsys.readouterr().out
    assert "the multiplier" not in said
    assert all(words in said for words in ("the rule deviates by", "the weights deviate by"))


def test_several_policies_are_evaluated_together(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # a row is a line, however wide its numbers
    assert backtest(tmp_path, runs / "mlp", runs / "lstm", "--delays", 0, "--costs", 10, "--equity", "own") == 0
    found = read(tmp_path / "result.json")
    assert found["many"]["policies"] == 4
    assert 0 < found["many"]["spa_pvalue"] <= 1
    assert [one["name"] for one in found["policies"]] == ["mlp", "lstm"]
    second = read(tmp_path / "result-lstm.json")
    assert second["name"] == "lstm"
    # What depends on the market alone is printed once; files and reports have all of it.
    said = capsys.readouterr().out
    rows = {name: len(re.findall(rf"^{name} .*% ", said, re.MULTILINE)) for name in second["baselines"]}
    assert rows == dict.fromkeys(second["baselines"], 1) | {"constant": 2, "random": 2}
    assert "momentum, trend: as in the table of mlp" in said
    assert (tmp_path / "report-lstm.html").read_text().count(">momentum<") >= 1
    grid = grid_of(tmp_path)
    assert grid.select("policy", "seed", "window", "cost", "delay").is_unique().all()
    assert {"constant", "constant of lstm", "random of lstm"} <= set(grid["policy"])
    equity = pl.read_parquet(tmp_path / "equity.parquet")
    assert set(equity["cost"]) == {10.0}
    assert set(equity["delay"]) == {0}


def test_the_known_leak_one_bar_later_has_no_edge(tmp_path):
    leak = STRATEGIES / "known_leak.py"
    assert backtest(tmp_path, leak, "--source", "synthetic", "--delays", 1, 2) == 0
    found = read(tmp_path / "result.json")
    assert found["verdict"]["word"] in ("NO EDGE", "INCONCLUSIVE")
    assert {a["name"]: a["passed"] for a in found["audits"]}["causality"] is True
