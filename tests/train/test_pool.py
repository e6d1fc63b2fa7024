"""Laws of pools: one policy of one asset on all symbols, each with its own dates and account."""

import json

import jax
import numpy as np
import polars as pl
import pytest
from commands import TINY
from pools import OWN, ROWS, START, write_pool

from himari_jax.command import parse, run_command
from himari_jax.features.market import BASE
from himari_jax.policies.policy import fit_scaling
from himari_jax.splits import decision_rows
from himari_jax.times import HOUR_MS
from train.artifacts.run_folder import joined_symbols
from train.backtest import main as backtest
from train.config.ppo import Config
from train.ppo import main as train
from train.simulation.play import Cell, constant_returns, play_baselines, play_policies
from train.simulation.simulator import build_simulator
from train.simulation.trained import load_agent
from train.training.session import build_session

POOL = [*TINY[4:], "--pool", "--split", "0.6", "0.8"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def session(data):
    return build_session(parse(Config, [*POOL, "--data", str(data), "--delay", "1"], "train.ppo"))


@pytest.fixture(scope="module", params=["mlp", "lstm"])
def run(request, data, tmp_path_factory):
    """A finished run and its backtest; only to be read."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    args = [*POOL, "--data", str(data), "--policy", request.param, "--run-dir", str(folder), "--decide-every", "6h"]
    assert run_command(train, [*args, "--num-seeds", "2"]) == 0
    assert run_command(backtest, [str(folder), "--out", str(folder / "bt"), "--device", "cpu", "--windows", "2"]) == 0
    return folder


def stacked_policy(session):
    """A policy before its first update, as the only one of K."""
    variables = session.learner.init_policy(jax.random.key(0), session.width, session.constants)
    return jax.tree.map(lambda x: np.asarray(x)[None], variables)


def test_each_symbol_keeps_its_own_dates_and_the_cuts_are_common(session):
    assert session.symbols == tuple(OWN)
    for part, (first, stop) in zip(session.parts, OWN.values(), strict=True):
        assert len(part.candles.time) == stop - first
        assert part.candles.time[0] == START + first * HOUR_MS
        assert part.split.cuts == session.cuts == (START + 1800 * HOUR_MS, START + 2400 * HOUR_MS)
        assert decision_rows(part.split.train)[0] == BASE.lookback(HOUR_MS)
    assert len(session.candles.time) == ROWS
    assert np.isnan(session.candles.close[:, 1]).sum() == ROWS - (OWN["BBB"][1] - OWN["BBB"][0])


def test_training_draws_from_every_symbol_and_the_normalizer_is_fit_to_all_of_them(session):
    rows = [decision_rows(part.split.train) for part in session.parts]
    seen = np.concatenate([part.market.features[own] for part, own in zip(session.parts, rows, strict=True)])
    np.testing.assert_array_equal(session.params.market.features, seen)
    starts, ends = np.asarray(session.params.starts), np.cumsum([len(own) for own in rows])
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        inside = starts[(starts >= start) & (starts < stop)]
        assert (inside.min(), inside.max()) == (start, stop - 50)  # no episode leaves its symbol
    wanted = fit_scaling(seen, np.zeros((len(seen), 0)), np.arange(len(seen)))
    np.testing.assert_array_equal(session.constants["normaliser"]["mean"], wanted.mean.astype(np.float32))


def test_the_portfolio_is_the_mean_of_accounts_that_are_those_of_each_symbol_alone(session):
    pooled = session.simulator("test", (1, 2))
    policy, market = session.learner.policy, session.config.market
    stacked = stacked_policy(session)
    _, ((_, whole),) = next(play_policies(pooled, policy, stacked, 0, [Cell(0, 1, 0.001)], pooled.num_rows))
    returns, number = np.zeros(pooled.num_rows), pooled.active.sum(0)
    for a, part in enumerate(session.parts):
        alone = build_simulator(part.candles, market, part.split.test, (1,))
        _, ((_, own),) = next(play_policies(alone, policy, stacked, 0, [Cell(0, 1, 0.001)], alone.num_rows))
        active = pooled.active[a]
        assert active.sum() == alone.num_rows
        np.testing.assert_array_equal(pooled.times[active], alone.times)
        for name in ("multiplier", "held", "delta", "pnl", "cost", "returns"):
            np.testing.assert_allclose(getattr(whole.accounts[a], name)[active], getattr(own, name), atol=2e-7)
        assert not whole.accounts[a].held[~active].any()
        assert not whole.accounts[a].returns[~active].any()
        np.testing.assert_array_equal(np.isnan(whole.multiplier[:, a]), ~active)
        returns[active] += own.returns
    np.testing.assert_allclose(whole.returns, returns / number, atol=1e-7)
    np.testing.assert_allclose(whole.pnl.sum(1), whole.returns, atol=1e-6)
    assert 1 <= number.min() < number.max() == 3


def test_baselines_of_a_pool_are_those_of_each_symbol_alone(session):
    pooled = session.simulator("test", (1, 2))
    policy = session.learner.policy
    stacked = stacked_policy(session)
    _, ((_, agent),) = next(play_policies(pooled, policy, stacked, 0, [Cell(0, 1, 0.001)], pooled.num_rows))
    played = play_baselines(pooled, 0, 1, {0.001: agent})[0.001]
    for a, part in enumerate(session.parts):
        alone = build_simulator(part.candles, session.config.market, part.split.test, (1,))
        own = agent.accounts[a].cut(pooled.active[a])
        expected = play_baselines(alone, 0, 1, {0.001: own})[0.001]
        for name, history in expected.items():
            if name == "random":  # draws for idle rows too
                continue
            got = played[name].accounts[a].cut(pooled.active[a])
            np.testing.assert_allclose(got.returns, history.returns, atol=2e-7, err_msg=name)
    still = constant_returns(pooled, 0, 1, [(0.001, agent)])[:, 0]
    np.testing.assert_allclose(still, played["constant"].returns, atol=2e-7)


def test_a_pool_of_one_symbol_is_the_run_of_that_symbol(data, tmp_path):
    args = [*TINY[4:], "--data", str(data / "AAA.parquet")]
    for name, flags in (("pool", ["--pool"]), ("alone", [])):
        assert run_command(train, [*args, *flags, "--run-dir", str(tmp_path / name)]) == 0
    ours, theirs = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("pool", "alone"))
    assert ours["agent"] == theirs["agent"]
    assert ours["validation_sharpe"] == theirs["validation_sharpe"]
    assert list(ours["by_symbol"]) == ["AAA"]
    assert ours["by_symbol"]["AAA"]["sharpe"] == pytest.approx(ours["agent"]["sharpe"])


def test_run_and_backtest_of_a_pool_agree_and_every_symbol_is_told(run):
    frames = [pl.read_parquet(path / "equity.parquet") for path in (run, run / "bt")]
    result, again = (json.loads((path / "result.json").read_text()) for path in (run, run / "bt"))
    assert list(result["by_symbol"]) == list(again["by_symbol"]) == list(OWN)
    assert result["agent"]["sharpe"] == again["agent"]["sharpe"]
    assert result["spans"]["test"] == [
        [again["spans"]["test"][0][0], again["spans"]["test"][-1][1]],
    ]
    causality = next(audit for audit in again["audits"] if audit["name"] == "causality")
    assert causality["passed"]
    frame = frames[0]
    for symbol, (_, stop) in OWN.items():
        names = [f"{kind}_{symbol}" for kind in ("weight", "multiplier", "base", "equity")]
        known = frame.drop_nulls(f"equity_{symbol}")
        assert frame.select(names).null_count().row(0) == (len(frame) - len(known),) * 4
        assert result["by_symbol"][symbol]["decisions"] * 6 == len(known)
        assert known["time"].dt.epoch("ms").max() < START + stop * HOUR_MS
    weights = frame.select(f"weight_{symbol}" for symbol in OWN)
    assert weights.max_horizontal().max() <= 0.55


def test_the_policy_of_a_pool_has_one_asset(run):
    agent = load_agent(run)
    assert agent.policy.num_assets == 1
    assert agent.places == ("asset",)
    assert agent.symbols == tuple(OWN)


def test_symbols_of_a_pool_can_be_chosen_for_a_backtest(run, data, tmp_path):
    args = [str(run), "--out", str(tmp_path / "bt"), "--device", "cpu", "--symbols", "BBB", "--data", str(data)]
    assert run_command(backtest, args) == 0
    found = json.loads((tmp_path / "bt" / "result.json").read_text())
    whole = json.loads((run / "result.json").read_text())
    assert list(found["by_symbol"]) == ["BBB"]
    assert found["by_symbol"]["BBB"]["sharpe"] == pytest.approx(whole["by_symbol"]["BBB"]["sharpe"], abs=1e-6)


def test_a_symbol_too_short_is_named_and_left_out_on_request_alone(tmp_path, capfd):
    data = write_pool(tmp_path / "data", {"AAA": (0, ROWS), "NEW": (ROWS - 300, ROWS)})
    args = [*POOL, "--data", str(data), "--run-dir", str(tmp_path / "run")]
    assert run_command(train, args) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "--pool: NEW: no decision in any span: a look-back of 400 bars" in lines[0]
    assert "--skip-short" in lines[0]
    assert run_command(train, [*args, "--skip-short"]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["symbols"] == ["AAA"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--skip-short",), "--skip-short given: must be given beside --pool"),
        (("--pool", "--env", "merton"), "--pool with --env merton: must be given beside candles alone"),
        (("--pool", "--split", "2030-01-01", "2031-01-01"), "no symbol has a decision in the val span"),
    ],
)
def test_flags_that_do_not_fit_a_pool_are_one_line(flags, message, data, tmp_path, capfd):
    args = [*TINY[4:], "--data", str(data)] if "--env" not in flags else [*TINY[4:]]
    own = [*args, *flags] if "--pool" in flags else [*args, "--symbols", "AAA", *flags]
    assert run_command(train, [*own, "--run-dir", str(tmp_path / "run")]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_folder_is_named_by_whole_symbols_and_the_number_of_the_others():
    coins = [f"COIN{k:02}-USD" for k in range(30)]
    for number in range(1, 31):
        words = joined_symbols(coins[:number]).split("+")
        shown = [word for word in words if word in coins]
        left = number - len(shown)
        assert words == coins[: len(shown)] + ([str(left)] if left else [])
        assert len("+".join(shown)) < 60
    assert joined_symbols(["A/B " * 30]) == "A_B_" * 15
