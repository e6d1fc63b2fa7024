"""`python -m train.ppo --env NAME` from outside, and `train.prove` around it."""

import json

import numpy as np
import pytest
from commands import SIZES

from himari_jax.command import parse, run_command
from train import backtest, prove, report
from train.config.market import DataConfig
from train.config.ppo import Config
from train.config.serialize import from_json, to_json
from train.learning.setup import first_state
from train.oracles.goals import Goal, Row
from train.oracles.null_verdict import account, null_verdict
from train.oracles.scoring import OraclePath
from train.oracles.task import OracleTask, build_setup
from train.ppo import main


def command(folder, *args):
    return run_command(main, [*SIZES, "--run-dir", str(folder), *args])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a market with a known optimum that went to its end."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command(folder, "--env", "garleanu-pedersen", "--oracle.cost", "20", "--num-seeds", "2") == 0
    return folder


def test_a_run_ends_with_value_optimum_naive_ratio_and_regret(finished):
    result = json.loads((finished / "result.json").read_text())
    block = result["oracle"]
    assert {"value", "optimum", "naive", "ratio", "regret", "trading_rate"} <= set(block)
    assert block["ratio"] == pytest.approx(block["value"] / block["optimum"])
    assert block["regret"] == pytest.approx(block["optimum"] - block["value"])
    assert [seed["seed"] for seed in result["seeds"]] == [0, 1]
    assert result["parameters"]["cost"] == 20.0
    assert {p.name for p in finished.iterdir()} >= {"config.json", "metrics.jsonl", "checkpoints", "report.html"}


def test_the_report_shows_the_learned_policy_beside_the_best(finished):
    page = (finished / "report.html").read_text()
    assert "of the optimum" in page
    assert "Against the best" in page
    assert "signal f, deviations" in page


def test_its_report_can_be_written_again_and_is_the_same(finished, capsys):
    page = (finished / "report.html").read_text()
    (finished / "report.html").unlink()
    assert run_command(report.main, [str(finished)]) == 0
    assert capsys.readouterr().out == f"{finished}/report.html\n"
    assert (finished / "report.html").read_text() == page


def test_a_finished_run_named_again_prints_its_numbers(finished, capsys):
    before = (finished / "result.json").read_bytes()
    assert command(finished, "--env", "garleanu-pedersen", "--oracle.cost", "20", "--num-seeds", "2") == 0
    assert "of the optimum" in capsys.readouterr().out
    assert (finished / "result.json").read_bytes() == before


def test_other_parameters_of_the_market_are_another_run(finished, capsys):
    assert command(finished, "--env", "garleanu-pedersen", "--oracle.cost", "30", "--num-seeds", "2") == 2
    assert "--oracle.cost 20.0 -> 30.0" in capsys.readouterr().err


def test_resume_needs_no_other_flag_and_makes_it_longer(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    assert command(folder, "--env", "hidden-drift", "--gamma", "0.9", "--total-steps", "1024") == 0
    assert run_command(main, ["--resume", "--run-dir", str(folder), "--total-steps", "2048"]) == 0
    assert "continuing at update 4" in capsys.readouterr().out
    assert json.loads((folder / "result.json").read_text())["timings"]["updates"] == 8


def test_pathwise_takes_the_same_commands(tmp_path):
    assert command(tmp_path / "run", "--env", "merton", "--algorithm", "pathwise") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["algorithm"] == "pathwise"
    assert result["oracle"]["ratio"] > result["oracle"]["naive"] / result["oracle"]["optimum"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--env nowhere", "--env nowhere: must be one of garleanu-pedersen, "),
        ("--env leak --commission-rate 0.01", "--commission-rate: --env leak has its own market"),
        ("--env leak --symbols A", "--symbols: --env leak has its own market"),
        ("--env leak --synthetic.num-bars 5000", "--synthetic: --env leak has its own market"),
        ("--oracle.sigma 0.1", "--oracle.sigma (0.1,): belongs to --env"),
        ("--env leak --oracle.p 0.1", "--oracle.p: leak has no such parameter; it has sigma"),
        ("--env leak --oracle.sigma -1", "--oracle.sigma -1.0: must be"),
    ],
)
def test_flags_of_candles_and_of_markets_do_not_mix(args, words, tmp_path, capsys):
    assert command(tmp_path / "run", *args.split()) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_without_candles_has_no_backtest(finished, capsys):
    assert run_command(backtest.main, [str(finished)]) == 2
    assert "trained on garleanu-pedersen, not on candles" in capsys.readouterr().err


def test_the_start_is_where_the_market_says_unless_a_flag_says_otherwise():
    for flags, start in (("--env three-assets", 0.5), ("--env three-assets --initial-multiplier 1.2", 1.2)):
        setup = build_setup(parse(Config, [*flags.split(), *SIZES], "x"))
        score = OracleTask(setup).measure(first_state(setup)().runner.variables, "on the way")[0]
        assert np.allclose(score.weights, np.minimum(start / 2, 1 / 3), atol=0.02)


def walk(weights, seed=0):
    """The history of given weights over a year of random returns."""
    returns = np.random.default_rng(seed).normal(0, 0.01, (8760, 1))
    blank = np.zeros_like(returns)
    return OraclePath(blank, weights(returns), blank, blank, weights(returns), returns)


def test_a_policy_that_knows_nothing_gets_no_edge_and_one_that_knows_the_future_does():
    rng = np.random.default_rng(1)
    assert null_verdict(walk(lambda r: rng.uniform(0, 1, r.shape)))["verdict"]["word"] != "EDGE"
    assert null_verdict(walk(lambda r: np.full(r.shape, 0.4)))["verdict"]["word"] == "NO EDGE"  # constant

    def slowly_known(r):  # the sign of the mean of the coming day: an edge that a bar's delay leaves
        ahead = np.convolve(r[:, 0], np.ones(24) / 24)[23:][: len(r)]
        return (ahead > 0).astype(float)[:, None]

    assert null_verdict(walk(slowly_known))["verdict"]["word"] == "EDGE"


def test_an_account_without_costs_earns_weight_times_return():
    held = account(np.array([[0.5], [1.0]]), None, np.array([[0.1], [-0.2]]))
    assert np.allclose(held.returns, [0.05, -0.2])
    assert np.allclose(held.delta[:, 0], [0.5, 0.5])


@pytest.mark.slow
def test_prove_resumes_and_says_what_is_missed(tmp_path, capsys, monkeypatch):
    impossible = Goal("impossible", lambda block: block["ratio"] > 2)
    row = Row("Merton", f"--env merton {' '.join(SIZES[:-4])}", 2048, impossible, quick=2048)
    monkeypatch.setattr(prove, "ROWS", (row,))
    args = ["--quick", "--out", str(tmp_path), "--device", "cpu"]
    assert run_command(prove.main, args) == 1
    first = capsys.readouterr().out
    assert "MISSED: impossible" in first
    assert "missed by PPO: Merton" in first
    stamp = next(tmp_path.glob("*/result.json")).stat().st_mtime_ns
    assert run_command(prove.main, args) == 1
    assert next(tmp_path.glob("*/result.json")).stat().st_mtime_ns == stamp
    assert "Merton" in (tmp_path / "prove.md").read_text()


@pytest.mark.slow
def test_a_row_of_candles_is_measured_by_the_pathwise_gradient_on_the_same_markets(tmp_path, capsys, monkeypatch):
    tiny = "--source synthetic --synthetic.num-bars 3000 --num-envs 16 --rollout-steps 16 --num-minibatches 2"
    markets = ("--synthetic.seed 1",)
    goal = Goal("half", lambda block: block["ratio"] >= 0.5)
    row = Row("candles", f"{tiny} --episode-steps 50 --hidden-dim 8", 2048, goal, 2048, markets=markets)
    monkeypatch.setattr(prove, "ROWS", (row,))
    run_command(prove.main, ["--seeds", "2", "--out", str(tmp_path), "--device", "cpu"])
    ours, theirs = json.loads((tmp_path / "prove.json").read_text())
    found = {name: [tmp_path / f"candles-{name}-2" / m / "result.json" for m in "0"] for name in ("ppo", "pathwise")}
    tests = {
        name: [np.mean([seed["sharpe"] for seed in json.loads(path.read_text())["seeds"]]) for path in paths]
        for name, paths in found.items()
    }
    assert theirs["ratio"] == 1.0
    assert ours["optimum"] == theirs["optimum"] == pytest.approx(np.mean(tests["pathwise"]))
    assert ours["ratio"] == pytest.approx(np.mean(tests["ppo"]) / np.mean(tests["pathwise"]))
    assert ours["met"] == (ours["ratio"] >= 0.5)
    assert "/y" in capsys.readouterr().out


def test_a_config_of_before_the_embargo_is_read():
    values = json.loads(json.dumps(to_json(Config(data=DataConfig(env="merton")))))
    for name in ("embargo", "pool", "skip_short"):
        del values["data"][name]
    assert from_json(values) == Config(data=DataConfig(env="merton"))
    of_candles = json.loads(json.dumps(to_json(Config())))
    del of_candles["data"]["embargo"]
    assert from_json(of_candles).data.embargo == "lookback"


def test_prove_refuses_a_row_that_is_not_there(tmp_path, capsys):
    assert run_command(prove.main, ["--only", "mars", "--out", str(tmp_path / "x")]) == 2
    assert "no row has such a name; there are Merton" in capsys.readouterr().err


@pytest.mark.slow
def test_the_short_proof_meets_every_goal(tmp_path):
    assert run_command(prove.main, ["--quick", "--out", str(tmp_path), "--device", "cpu"]) == 0
