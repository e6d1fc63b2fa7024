"""Entries of a backtest: how they are loaded, shared, and played in one batch."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from backtests import backtest, grid_of, read

from envs.market import to_device
from himari_jax.features.market import BASE
from train.backtesting import entries
from train.backtesting.entries import load_entries, shared_simulators
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.data.evaluation_data import load_candles
from train.data.market import market_from
from train.simulation import placement, play
from train.simulation.engine import Limits, make_lanes, make_tape, run_policy
from train.simulation.history import histories
from train.simulation.placement import CARD, HOST
from train.simulation.play import Cell, play_policies
from train.simulation.trained import load_agent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Strategies leave their trials in runs/ of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


def one_by_one(agent, candles, span, cell, steps):
    """The history of each seed in a cell, played alone on a market that is late itself."""
    tape = make_tape(to_device(market_from(candles, agent.market, cell.delay)), span)
    lanes, limits = make_lanes([cell.start], [0], [cell.rate]), Limits.of(agent.market)
    path = run_policy(agent.policy, steps, agent.variables, tape, lanes, limits, form=HOST)
    for k in range(2):
        one = jax.tree.map(lambda x, k=k: np.asarray(x[k]), path)
        yield next(histories(one, tape, np.array([cell.start]), np.array([cell.rate])))


@pytest.mark.parametrize("name", ["mlp", "lstm"])
@pytest.mark.parametrize("form", [HOST._replace(batch_bytes=1), CARD._replace(policy_bars=3)], ids=["host", "card"])
def test_a_batch_of_cells_is_what_each_is_alone_however_it_is_cut_and_compiled(runs, monkeypatch, name, form):
    chosen = placement.Place(jax.devices()[0], form)  # as where the host is not the default device
    monkeypatch.setattr(placement, "place", lambda _: chosen)
    (entry,) = load_entries([str(runs / name)], EvaluationDataConfig(), GridConfig())
    agent, span = entry.source, entry.data.span
    cells = [Cell(start, delay, rate) for start in (0, 60, 99) for delay in (0, 2) for rate in (0.0, 0.002)]
    found = {}
    for k, played in play_policies(entry.simulator, agent.policy, agent.variables, 1, cells, 100):
        assert k == 1 or all((1, index) in found for index, _ in played)  # the one that was asked for comes first
        found |= {(k, index): history for index, history in played}
    assert set(found) == {(k, index) for k in range(2) for index in range(12)}
    for index in range(0, 12, 3):
        for k, theirs in enumerate(one_by_one(agent, entry.candles, span, cells[index], 100)):
            np.testing.assert_allclose(found[k, index].returns, theirs.returns, rtol=0, atol=1e-6)
            np.testing.assert_allclose(found[k, index].held, theirs.held, rtol=0, atol=1e-5)


@pytest.fixture
def played(monkeypatch):
    """Every (seeds, bars, lanes) that the simulator plays policies on, a lane as (start, delay, basis points)."""
    calls = []

    def counted(policy, steps, variables, tape, lanes, limits, form):
        columns = np.asarray(lanes.start).tolist(), np.asarray(lanes.delay).tolist(), np.asarray(lanes.rate)
        lanes_of = [(start, delay, round(1e4 * rate)) for start, delay, rate in zip(*columns, strict=True)]
        calls.append((len(jax.tree.leaves(variables)[0]), steps, lanes_of))
        return run_policy(policy, steps, variables, tape, lanes, limits, form=form)

    monkeypatch.setattr(play, "run_policy", counted)
    return calls


OWN = [(0, 0, 10), (0, 1, 10)]  # what the verdict rests on: the own cost, on time and a bar late
CELLS = [(delay, cost) for delay in (0, 1, 2) for cost in (0, 5, 10, 20)]


def test_a_grid_of_a_backtest_plays_every_cell_once(runs, tmp_path, played):
    assert backtest(tmp_path, runs / "mlp") == 0
    null, verdict, grid = played
    assert (null[0], null[2]) == (1, [(0, 0, 10)])  # the chosen seed alone, on the market without drift
    assert verdict == (2, 575, OWN)
    assert grid == (2, 575, [(0, *cell) for cell in CELLS])
    assert grid_of(tmp_path).filter(pl.col("policy") == "mlp").height == 2 * len(CELLS)


def test_of_the_whole_span_windows_leave_the_own_cost_at_every_delay(runs, tmp_path, played):
    assert backtest(tmp_path, runs / "mlp", "--windows", 3) == 0
    _, verdict, grid, whole = played
    assert verdict == (2, 575, OWN)
    assert grid == (2, 191, [(start, *cell) for start in (0, 192, 384) for cell in CELLS])
    assert whole == (2, 575, [(0, delay, 10) for delay in (0, 1, 2)])


def test_equal_candles_are_loaded_once_and_simulated_by_one_simulator(runs, tmp_path, monkeypatch):
    loaded = []

    def counted(config, options):
        loaded.append(config)
        return load_candles(config, options)

    monkeypatch.setattr(entries, "load_candles", counted)
    (tmp_path / "rule.py").write_text("def weights(market):\n    return 0.4 * (market.features[..., 3] > 0)\n")
    names = [str(runs / "mlp"), str(runs / "lstm"), str(tmp_path / "rule.py")]
    found = load_entries(names, EvaluationDataConfig(), GridConfig())
    assert len(loaded) == 1
    assert len({id(entry.simulator) for entry in found}) == 1
    assert len({id(entry.candles) for entry in found}) == 1
    other = replace(found[0].market, max_gross=0.5)
    simulator_of = shared_simulators()
    own = found[0]
    shared = [simulator_of(own.data, market, (0,), own.base, BASE) for market in (own.market, other)]
    assert shared[0] is not shared[1]  # other rules of the market are another simulator


def test_bars_that_training_may_have_seen_can_show_no_edge(runs, tmp_path):
    assert backtest(tmp_path, runs / "mlp", "--span", "train") == 0
    found = read(tmp_path / "result.json")
    assert found["verdict"]["word"] != "EDGE"
    (entry,) = load_entries([str(runs / "mlp")], EvaluationDataConfig(span="all"), GridConfig())
    assert "training may have known them" in entry.doubts[0]
    (entry,) = load_entries([str(runs / "mlp")], EvaluationDataConfig(), GridConfig())
    assert entry.doubts == ()


def test_the_checkpoint_says_which_parameters(runs):
    best, latest = (load_agent(runs / "mlp", which) for which in ("best", "latest"))
    assert best.digest != latest.digest
    steps = sorted(int(p.name) for p in (runs / "mlp" / "checkpoints").iterdir() if p.name.isdigit())
    named = load_agent(runs / "mlp", str(steps[-1]))
    for ours, theirs in zip(jax.tree.leaves(named.variables), jax.tree.leaves(latest.variables), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert best.seeds == [0, 1]
