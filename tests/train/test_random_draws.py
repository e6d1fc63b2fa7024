"""Laws of the draws of `random`: the mean weights and turnover of a policy, the median one shown, the rank."""

import json

import numpy as np
import polars as pl
import pytest
from backtests import backtest, read
from pools import write_pool
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.positions.baselines import Window, random
from himari_jax.statistics import metrics
from train.backtesting.comparison import play_baseline, play_sides
from train.backtesting.entries import load_entries
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.evaluation.chance import among_draws
from train.ppo import main as train
from train.reporting.chance import rank_text
from train.simulation import placement
from train.simulation.draws import DRAWS, draw_sharpes, median_draw
from train.simulation.play import Cell, SpanHistories, play_baselines, play_whole


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Changes to a folder of its own, in whose runs/ strategies leave their trials."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """A run on a pool whose symbols have dates of their own."""
    folder = tmp_path_factory.mktemp("pool")
    data = write_pool(folder / "data")
    args = [*TINY_RUN[4:], "--data", str(data), "--pool", "--split", "0.6", "0.8", "--run-dir", str(folder / "run")]
    assert run_command(train, args) == 0
    return folder / "run"


def whole_span(run):
    """An entry and what it played on its whole span."""
    (entry,) = load_entries([str(run)], EvaluationDataConfig(), GridConfig())
    return entry, play_whole(entry.simulator, entry.play, entry.chosen, entry.delay, entry.cost)


def sharpe(entry, history):
    return np.nan_to_num(metrics.sharpe(history.returns, entry.bars_per_year))


def check_draws(run):
    """The draws played at once are what each is alone, and the one shown is their median."""
    entry, played = whole_span(run)
    agent = played.agents[entry.chosen]
    assert len(played.draws) == DRAWS
    for draw in (0, 1, 50, DRAWS - 1):
        found = play_baselines(entry.simulator, 0, entry.delay, {entry.cost: agent}, ["random"], draw)
        assert sharpe(entry, found[entry.cost]["random"]) == pytest.approx(played.draws[draw], abs=1e-3)
    assert sharpe(entry, played.baselines["random"]) == pytest.approx(np.median(played.draws), abs=1e-3)
    assert len(np.unique(played.draws)) > DRAWS // 2


def test_draws_at_once_are_those_alone_and_the_median_one_is_shown(runs):
    check_draws(runs / "mlp")


def test_draws_of_a_pool_are_those_alone_and_the_median_one_is_shown(pooled):
    check_draws(pooled)


def test_draws_do_not_depend_on_how_many_are_played_at_once(runs, monkeypatch):
    entry, played = whole_span(runs / "mlp")
    agent = played.agents[entry.chosen]
    few = placement.HOST._replace(return_bytes=4 * entry.num_rows * 2 * 7)  # seven at once
    monkeypatch.setattr(placement, "HOST", few)
    again = draw_sharpes(entry.simulator, entry.delay, agent, entry.cost)
    np.testing.assert_allclose(again, played.draws, rtol=0, atol=1e-3)
    assert median_draw(again) == median_draw(played.draws)


def test_random_trades_where_a_stretch_begins():
    first = np.arange(300) % 100 == 0
    window = Window(np.arange(300), np.ones((300, 2), bool), first, np.array([0.2, 0.1]), 1e-9)
    for draw in range(5):
        orders = random(window._replace(draw=draw))
        np.testing.assert_array_equal(orders.trade, np.repeat(first[:, None], 2, axis=1))
    assert (random(window).target != random(window._replace(draw=1)).target).any()


def test_the_rank_is_the_share_of_draws_below():
    played = SpanHistories([], None, {}, {}, np.zeros(1, bool), 1.0)
    assert among_draws(played, 1.0) is None
    assert rank_text({}) is rank_text({"random_draws": None}) is None
    draws = np.arange(DRAWS) / 50
    for value, below in ((-1.0, 0.0), (1.0, 50 / 101), (1.01, 51 / 101), (9.0, 1.0), (np.nan, 0.0)):
        assert among_draws(played._replace(draws=draws), value)["below"] == pytest.approx(below)
    assert median_draw(draws[::-1]) == 50
    found = among_draws(played._replace(draws=draws), 1.5)
    assert found["number"] == DRAWS
    assert found["sharpe_interval"] == pytest.approx([0.05, 1.95])
    assert "of 101 random policies" in rank_text({"random_draws": found})
    assert "74% have a lower Sharpe" in rank_text({"random_draws": found})


def test_run_and_backtest_tell_the_same_rank_and_the_files_hold_the_median_draw(runs, tmp_path, capsys):
    assert backtest(tmp_path, runs / "mlp", "--costs", 10, "--delays", 0) == 0
    assert "of 101 random policies with its mean weights and turnover" in " ".join(capsys.readouterr().out.split())
    assert "of 101 random policies" in (tmp_path / "report.html").read_text().lower()
    ours, theirs = (read(folder / "result.json") for folder in (tmp_path, runs / "mlp"))
    assert ours["random_draws"] == theirs["random_draws"]
    shown = ours["baselines"]["random"]["sharpe"]
    low, high = ours["random_draws"]["sharpe_interval"]
    assert low < shown < high
    grid = pl.read_parquet(tmp_path / "backtest.parquet").filter(policy="random", cost=10.0, delay=0)
    assert grid["sharpe"].to_list() == pytest.approx([shown], abs=1e-3)
    assert grid["seed"].to_list() == [ours["chosen_seed"]]


def test_a_comparison_with_random_is_with_the_median_draw(runs):
    entry, played = whole_span(runs / "mlp")
    cell = Cell(0, entry.delay, entry.cost)
    side = play_baseline(entry, play_sides(entry, [cell]), "random")[cell]
    assert sharpe(entry, side.history) == pytest.approx(np.median(played.draws), abs=1e-3)


def test_beside_every_seed_stand_its_own_constant_and_random(runs, tmp_path):
    assert backtest(tmp_path, runs / "mlp", "--costs", 10, "--delays", 0) == 0
    (entry,) = load_entries([str(runs / "mlp")], EvaluationDataConfig(), GridConfig())
    found = json.loads((tmp_path / "result.json").read_text())
    played = whole_span(runs / "mlp")[1]
    frame = pl.read_parquet(tmp_path / "equity.parquet").filter(cost=10.0, delay=0)
    curves = {}
    for k, seed in enumerate(entry.seeds):
        own = frame.filter(seed=seed)
        agent = {entry.cost: played.agents[k]}
        expected = play_baselines(entry.simulator, 0, entry.delay, agent, draw=played.draw)[entry.cost]
        for name, history in expected.items():
            np.testing.assert_allclose(own[f"baseline_{name}"], history.bar_equity, rtol=1e-5, err_msg=name)
        curves[seed] = own
    other = next(seed for seed in entry.seeds if seed != found["chosen_seed"])
    for name in ("constant", "random"):
        assert (curves[other][f"baseline_{name}"] != curves[found["chosen_seed"]][f"baseline_{name}"]).any()
    for name in ("base", "buy_and_hold", "trend"):
        assert curves[other][f"baseline_{name}"].equals(curves[found["chosen_seed"]][f"baseline_{name}"])
    timing = pl.read_parquet(tmp_path / "backtest.parquet").filter(policy="mlp", cost=10.0, delay=0)
    for seed, value, own in timing.select("seed", "timing_value", "sharpe").iter_rows():
        equity = curves[seed]["baseline_constant"].to_numpy()
        still = metrics.sharpe(equity / np.concatenate([[1], equity[:-1]]) - 1, entry.bars_per_year)
        assert value == pytest.approx(own - still, abs=1e-3)
