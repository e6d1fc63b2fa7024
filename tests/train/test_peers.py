"""The peers' bench: the clock stands while it scores, results are kept."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from envs.oracles.registry import make_oracle
from train.benchmarks.peers.clock import pace, race
from train.benchmarks.peers.trial import Trial, Values, read_trial

HYPER = Values(512, 64, 4, 4, 0.95, 0.5, 0.2, 0.0, 0.5, 0.5, -2.0, 100, 100.0)


def trial_of(**changes):
    start = Trial("race", "sb3", "mlp", "garleanu-pedersen", "ours", 8, 1e-3, 0, 2.0, 0.9, "cpu", HYPER, {})
    return replace(start, **changes)


class Clockwork:
    """Every call of `now` is an instant; training takes 1 s, scoring 100 s."""

    compile_seconds, most_steps = 0.0, 1e9

    def __init__(self, ratios):
        self.time, self.ratios = 0.0, iter(ratios)

    def now(self):
        return self.time

    def advance(self):
        self.time += 1
        return 10

    def score(self):
        self.time += 100
        return next(self.ratios)


def test_scoring_is_not_counted():
    racer = Clockwork([0.1, 0.5, 0.95])
    printed = race(racer, 60, 0.9, racer.now)
    assert (printed["seconds"], printed["steps"]) == (3, 30)


def test_a_goal_that_is_missed_has_no_seconds():
    racer = Clockwork([0.1, 0.5, 0.7, 0.6])
    printed = race(racer, 4, 0.9, racer.now)
    assert printed["seconds"] is None
    assert (printed["clock"], printed["ratio"], printed["best_ratio"]) == (4, 0.6, 0.7)


def test_speed_leaves_out_the_first_update():
    racer = Clockwork([])
    assert pace(racer, 5, racer.now)["steps_per_second"] == 10


def test_a_trial_survives_its_json_and_its_key_knows_what_matters():
    trial = trial_of(twin={"kind": "candles", "path": "here"})
    assert read_trial(trial.to_json()) == trial
    assert trial.key == replace(trial, twin={"kind": "candles", "path": "there"}).key
    assert trial.key != replace(trial, seed=1).key
    assert trial.key != replace(trial, limit=3.0).key
    search = replace(trial, purpose="search")
    assert search.key == replace(search, limit=3.0).key


def test_the_same_steps_per_update_whatever_the_number_of_environments():
    for count in (1, 2, 8, 16):
        assert trial_of(num_envs=count).rollout_steps * count == HYPER.steps_per_update


def contest(tmp_path, **options):
    from train.benchmarks.peers.config import PeersConfig
    from train.benchmarks.peers.schedule import PeerBenchmark

    return PeerBenchmark(PeersConfig(out=str(tmp_path), **options), tmp_path, ["rejax", "sb3"])


def test_the_best_of_a_search_is_the_soonest_else_the_nearest(tmp_path):
    run = contest(tmp_path)
    few, many = trial_of(purpose="search"), trial_of(purpose="search", num_envs=64)
    run.measured = [(few, {"seconds": None, "best_ratio": 0.8}), (many, {"seconds": None, "best_ratio": 0.6})]
    assert run.best_of(few) == few
    run.measured.append((replace(many, learning_rate=3e-3), {"seconds": 9.0, "best_ratio": 0.9}))
    assert run.best_of(few).learning_rate == 3e-3


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    calls = []

    def run_trial(trial):
        calls.append(trial)
        return {"seconds": 1.5, "steps": 10, "ratio": 0.91, "best_ratio": 0.91}

    monkeypatch.setattr("train.benchmarks.peers.schedule.run_trial", run_trial)
    trial = trial_of()
    contest(tmp_path).take(trial)
    again = contest(tmp_path)
    again.take(trial)
    assert len(calls) == 1
    assert again.measured[0][1]["seconds"] == 1.5
    assert json.loads((tmp_path / "results.jsonl").read_text())["key"] == trial.key


def test_a_failure_is_told_and_tried_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("train.benchmarks.peers.schedule.run_trial", lambda trial: {"error": "no memory"})
    run = contest(tmp_path)
    run.take(trial_of())
    assert "failed: no memory" in capsys.readouterr().out
    assert not run.results.known


def test_tables_and_plots_name_every_row_and_what_was_not_reached(tmp_path):
    from train.benchmarks.peers.config import PeersConfig
    from train.benchmarks.peers.schedule import print_tables

    cost = {"compile_seconds": 1.0, "peak_memory_mb": 500.0}
    reached = {"seconds": 1.5, "steps": 1000, "ratio": 0.91, "best_ratio": 0.91, "clock": 1.5, "played": 1000} | cost
    missed = reached | {"seconds": None, "steps": None, "ratio": 0.4, "clock": 120.0}
    fast = {"steps_per_second": 1e5, "played": 10} | cost
    measured = [
        (trial_of(purpose="speed", contestant="ppo", market="candles"), fast),
        (trial_of(contestant="ppo", num_envs=0, learning_rate=None), reached),
        (trial_of(purpose="search"), missed),
        (trial_of(), missed),
    ]
    print_tables(measured, PeersConfig(), tmp_path)
    table = (tmp_path / "table.txt").read_text()
    assert "SB3 PPO, our values" in table
    assert "not reached in 120 s" in table
    assert "1.50 s" in table
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    assert (tmp_path / "plot.html").exists()


def test_rejax_trains_through_the_adapter(tmp_path):
    pytest.importorskip("rejax")
    from train.benchmarks.peers.rejax import RejaxPeer

    for market, values in (("garleanu-pedersen", "ours"), ("candles", "ours"), ("garleanu-pedersen", "own")):
        racer = RejaxPeer(trial_of(contestant="rejax", market=market, values=values))
        before = jax.tree.map(np.asarray, racer.state.actor_ts.params)
        assert racer.advance() > 0
        after = jax.tree.map(np.asarray, racer.state.actor_ts.params)
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
        assert all(np.isfinite(x) for x in jax.tree.leaves(moved))
        assert max(jax.tree.leaves(moved)) > 0
        if market != "candles":
            assert racer.score() < 1


@pytest.mark.parametrize("contestant", ["sb3", "sb3-recurrent"])
@pytest.mark.parametrize("values", ["ours", "own"])
def test_stable_baselines_trains_on_the_twin(contestant, values, monkeypatch):
    pytest.importorskip("sb3_contrib")
    from train.benchmarks.peers.sb3 import SB3Peer

    monkeypatch.setattr("train.benchmarks.peers.sb3.MOST_STEPS", 256)
    monkeypatch.setattr("train.benchmarks.peers.sb3.PATHS", 16)

    env = make_oracle("garleanu-pedersen", {})
    printed = {x: getattr(env, x) for x in ("sigma", "risk_aversion", "phi", "signal", "cost")} | {
        "optimum": env.optimum.value
    }
    printed["gain"] = [float(x) for x in env.riccati[1]]
    twin = {"kind": "garleanu-pedersen", "parameters": printed}
    racer = SB3Peer(trial_of(contestant=contestant, values=values, twin=twin))
    assert racer.advance() == racer.model.n_steps * 8
    assert racer.score() < 1


def test_a_single_combination_needs_no_search(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(
        "train.benchmarks.peers.schedule.run_trial", lambda trial: taken.append(trial) or {"error": "none"}
    )
    run = contest(tmp_path, num_envs=(64,), learning_rates=(1e-3,), seeds=2)
    run.race([trial_of(num_envs=0, learning_rate=None)])
    assert [(t.purpose, t.num_envs, t.learning_rate, t.seed) for t in taken] == [
        ("race", 64, 1e-3, 0),
        ("race", 64, 1e-3, 1),
    ]


def test_the_search_gives_no_more_time_than_the_best_so_far_took(tmp_path, monkeypatch):
    limits = []

    def run_trial(trial):
        limits.append((trial.purpose, trial.limit))
        return {"seconds": 4.0, "steps": 10, "ratio": 0.91, "best_ratio": 0.91}

    monkeypatch.setattr("train.benchmarks.peers.schedule.run_trial", run_trial)
    run = contest(tmp_path, num_envs=(8, 64), learning_rates=(1e-3,), seeds=1)
    run.race([trial_of(num_envs=0, learning_rate=None)])
    assert limits == [("search", 30.0), ("search", 4.0), ("race", 120.0)]
