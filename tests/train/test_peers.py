"""The peers' bench: the markets in numpy are the markets, the clock stands while it scores, results are kept."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accounts import make_candles

from envs.market import build_market, to_device
from envs.oracles.oracle import OracleParams
from envs.oracles.registry import make_oracle
from envs.trading import TradingEnv, make_params
from himari_jax.policies.policy import Output
from train.benchmarks.peers import Trial, Values, read_trial
from train.benchmarks.peers.clock import pace, race
from train.benchmarks.peers.numpy_markets import AccountTwin, OracleState, make_twin, score_twin
from train.oracles.scoring import score_policies

HYPER = Values(512, 64, 4, 4, 0.95, 0.5, 0.2, 0.0, 0.5, 0.5, -2.0, 100, 100.0)
PARAMETERS = {
    "hidden-drift": ("sigma", "risk_aversion", "mu", "p"),
    "garleanu-pedersen": ("sigma", "risk_aversion", "phi", "signal", "cost"),
}


def twin_of(env, name):
    printed = {x: getattr(env, x) for x in PARAMETERS[name]} | {"optimum": env.optimum.value}
    if name == "garleanu-pedersen":
        printed["gain"] = tuple(float(x) for x in env.riccati[1])
    return make_twin({"kind": name, "parameters": printed})


def trial_of(**changes):
    start = Trial("race", "sb3", "mlp", "garleanu-pedersen", "ours", 8, 1e-3, 0, 2.0, 0.9, "cpu", HYPER, {})
    return replace(start, **changes)


@pytest.mark.parametrize("min_trade", [0.0, 0.01])
def test_numpy_account_equals_trading_env_over_500_random_steps(min_trade):
    market = build_market(make_candles(rows=1200, seed=3))
    market = market._replace(tradable=market.tradable & (np.arange(1200)[:, None] % 17 != 0))
    params = make_params(to_device(market), ((400, 1100),), episode_steps=600, min_trade=min_trade)
    columns = {name: getattr(market, name)[:, 0] for name in ("to_fill", "to_mark", "features", "base", "tradable")}
    twin = AccountTwin(
        **columns,
        starts=np.asarray(params.starts),
        last=np.asarray(params.last),
        rate=0.001,
        min_trade=min_trade,
        max_position_pct=0.5,
        max_gross=1.0,
        ruin=0.5,
    )
    env, rng = TradingEnv(1), np.random.default_rng(0)
    step = jax.jit(env.step_env)
    state, mine = env.state_at(450), twin.state_at(np.array([450]))
    for _ in range(500):
        multiplier = rng.uniform(-0.2, 2.2, 1).astype(np.float32)
        obs, state, reward, terminated, _ = step(jax.random.key(0), state, jnp.asarray(multiplier), params)
        mine, gained, ruined, ends = twin.step(None, mine, multiplier)
        np.testing.assert_allclose(twin.observe(mine)[0], obs, atol=1e-6)
        np.testing.assert_allclose(gained[0], reward, atol=1e-6)
        assert ruined[0] == bool(terminated)
        assert ends[0] == bool(env.is_truncated(state, params))
    np.testing.assert_allclose(mine.log_equity[0], state.account.log_equity, atol=1e-6)


def shocks_of(name, env, key):
    first, second = jax.random.split(key)
    if name == "hidden-drift":
        return np.asarray(jax.random.bernoulli(first, env.p))[None], np.asarray(jax.random.normal(second))[None]
    return np.asarray(jax.random.normal(first, (1,))), np.asarray(jax.random.normal(second, (1,)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_numpy_oracle_equals_the_market_on_the_same_shocks(name):
    env = make_oracle(name, {})
    twin, params, rng = twin_of(env, name), OracleParams(max_steps_in_episode=jnp.int32(1000)), np.random.default_rng(1)
    _, state = env.reset_env(jax.random.key(5), params)
    mine = OracleState(np.asarray(state.market, np.float64)[None], np.asarray(state.weights, np.float64))
    memory, remembered = env.open_memory(), np.zeros(1)
    step, best = jax.jit(env.step_env), jax.jit(env.best)
    for bar in range(300):
        key, multiplier = jax.random.key(bar), rng.uniform(-0.2, 2.2, 1).astype(np.float32)
        memory, chosen = best(memory, state.market, state.weights)
        remembered, choice = twin.best(remembered, mine.market, mine.weights)
        np.testing.assert_allclose(choice, chosen, atol=1e-5)
        weights = twin.position(multiplier)
        expected = twin.expected(mine.market, mine.weights, weights)
        obs, state, reward, _, info = step(key, state, jnp.asarray(multiplier), params)
        market, returns = twin.advance(mine.market, shocks_of(name, env, key))
        np.testing.assert_allclose(weights * returns - twin.charges(mine.weights, weights), [reward], atol=1e-6)
        np.testing.assert_allclose(expected, [info["expected"]], atol=1e-7)
        mine = OracleState(market, weights)
        np.testing.assert_allclose(twin.observe(mine)[0], obs, atol=1e-5)


class Half:
    """A policy for both scores: half of what the first observed number says."""

    def initial_carry(self, batch):
        return ()

    def apply(self, variables, carry, obs):
        mean = 0.5 * obs[:, :1]
        return carry, Output(mean, jnp.full_like(mean, -jnp.inf), jnp.zeros(obs.shape[0]))


def half(obs, carry):
    return 2 / (1 + np.exp(-0.5 * obs[:, 0])), carry


@pytest.mark.parametrize("name", PARAMETERS)
def test_both_scores_of_a_policy_agree_within_their_errors(name):
    env = make_oracle(name, {})
    value, error = score_twin(twin_of(env, name), half, 400, 300, 1)
    score = score_policies(env, Half(), {"none": jnp.zeros((1, 1))}, jax.random.key(2), 400, 300)[0]
    assert abs(value - score.value) < 4 * np.hypot(error, score.error)


def test_the_best_policy_scores_the_optimum_exactly():
    env = make_oracle("garleanu-pedersen", {})
    twin = twin_of(env, "garleanu-pedersen")

    def best(obs, carry):
        weights = obs[:, 1].astype(np.float64)
        return 1 + (weights - twin.gain[0] * weights - twin.gain[1] * obs[:, 0]) / 5, carry

    value, _ = score_twin(twin, best, 20, 50, 0)
    assert value == pytest.approx(env.optimum.value, rel=1e-5)


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
    from train.benchmarks.peers.schedule import Contest

    return Contest(PeersConfig(out=str(tmp_path), **options), tmp_path, ["rejax", "sb3"])


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
    printed = {x: getattr(env, x) for x in PARAMETERS["garleanu-pedersen"]} | {"optimum": env.optimum.value}
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
