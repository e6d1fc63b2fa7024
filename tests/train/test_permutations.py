"""The permutation test of a run: p is uniform where there is nothing, and finished null markets are kept."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import stats

from himari_jax.command import parse
from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.run import RunConfig
from train.simulation.play import Cell, play_policies
from train.training.batches import Member, Totals
from train.training.nulls import Results, doubt, is_tested, p_value, permutation_block
from train.training.permutations import gain_of, measure_draws, permutation_test
from train.training.population import train_population
from train.training.run import train
from train.training.session import Session, build_session
from train.training.signals import StopSignals

NOISE = [
    *("--source", "synthetic", "--symbols", "SYN1", "--synthetic.num-bars", "1600", "--synthetic.predictability", "0"),
    *("--synthetic.clustering", "0", "--num-envs", "16", "--rollout-steps", "16", "--num-minibatches", "2"),
    *("--episode-steps", "50", "--total-steps", "2560", "--hidden-dim", "8", "--algorithm", "pathwise"),
    *("--eval-interval", "13", "--fill", "same-close"),
]


def config(*more: str) -> Config:
    return parse(Config, [*NOISE, *more], "train.ppo")


def gain_of_real(session: Session) -> float:
    (trained,) = train_population([Member(session, session.seeds[0])])
    market = session.config.market
    simulator = session.simulator("test", (market.delay,))
    variables = jax.tree.map(lambda x: x[None], trained.variables)
    cells = [Cell(0, market.delay, market.cost)]
    played = play_policies(simulator, session.learner.policy, variables, 0, cells, simulator.num_rows)
    ((_, ((_, history),)),) = played
    return gain_of(market, simulator, history).difference


@pytest.mark.slow
def test_on_pure_noise_p_is_uniform():
    number, ps, rng = 19, [], np.random.default_rng(0)
    for market in range(100):
        session = build_session(config("--synthetic.seed", str(market)))
        value = gain_of_real(session)
        null = [each.difference for each in measure_draws(session, Totals(), StopSignals(""), range(number))]
        # Ranks among 20 are discrete: spread over their own step they are continuous.
        ps.append(p_value(value, np.array(null)) - rng.uniform() / (number + 1))
    assert len(set(ps)) == 100
    assert stats.kstest(ps, "uniform").pvalue > 0.01


def test_p_counts_the_market_itself():
    assert p_value(1.0, np.zeros(19)) == 0.05
    assert p_value(0.0, np.zeros(19)) == 1.0
    assert p_value(0.5, np.array([0.4, 0.5, 0.6])) == 0.75


def test_a_doubt_is_told_where_chance_does_as_well_and_where_nothing_could_show():
    assert doubt(None) == ()
    assert doubt(permutation_block("bars", 1.0, np.zeros(19))) == ()
    assert "p 1.000" in doubt(permutation_block("bars", 0.0, np.zeros(99)))[0]
    assert "--permutations 19" in doubt(permutation_block("bars", 1.0, np.zeros(5)))[0]


def test_known_null_markets_are_not_measured_again(tmp_path):
    asked: list[int] = []

    def measure(draws):
        asked.extend(draws)
        return [SimpleNamespace(sharpe=float(draw), difference=float(draw)) for draw in draws]

    results = Results(tmp_path / "nulls.jsonl")
    first = permutation_test(RunConfig(permutations=3), results, 1.5, 2, measure, lambda *_: None)
    with results.path.open("ab") as file:
        file.write(b'{"kind": "bars", "draw": 3, "diff')  # the process died here
    second = permutation_test(RunConfig(permutations=5), results, 1.5, 2, measure, lambda *_: None)
    assert asked == [0, 1, 2, 3, 4]
    assert first is not None
    assert second is not None
    assert (first["null"], second["null"]) == ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0])
    assert second["p"] == (1 + 3) / 6
    blocks = permutation_test(RunConfig(permutations=1, permute="blocks"), results, 1.5, 2, measure, lambda *_: None)
    assert asked[5:] == [0], "blocks are other markets than bars"
    assert blocks is not None
    assert permutation_test(RunConfig(), results, 1.5, 2, measure, lambda *_: None) is None


@pytest.mark.slow
def test_a_run_has_the_permutations_that_were_asked_for(tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ["--run-dir", str(folder), "--eval-interval", "26"]

    def printed(*more: str) -> str:
        assert train(config(*flags, *more)) == 0
        return capsys.readouterr().out

    assert "permutations, retrained" not in printed()
    assert "against 2 markets of permuted bars" in " ".join(printed("--permutations", "2").split())
    lines = (folder / "nulls.jsonl").read_text().splitlines()
    assert "against 3 markets" in " ".join(printed("--permutations", "3").split())
    assert (folder / "nulls.jsonl").read_text().splitlines()[:2] == lines
    assert "Permutations</h2>" in (folder / "report.html").read_text()
    assert "against 3 markets" in " ".join(printed().split()), "a finished run keeps what it has"


def test_is_tested_asks_for_number_and_kind():
    block = permutation_block("bars", 0.0, np.zeros(3))
    assert is_tested(None, RunConfig())
    assert is_tested(block, RunConfig(permutations=3))
    assert not is_tested(block, RunConfig(permutations=4))
    assert not is_tested(block, RunConfig(permutations=3, permute="blocks"))
    assert not is_tested(None, RunConfig(permutations=3))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--env", "merton", "--permutations", "5"], "--env has a known optimum"),
        ([*NOISE, "--permutations", "-1"], "0 to 100000"),
        (
            [*NOISE, "--permutations", "5", "--coordinator", "a:1", "--num-processes", "2", "--process-id", "0"],
            "together",
        ),
    ],
)
def test_permutations_where_there_can_be_none_are_refused(flags, said):
    with pytest.raises(InputError, match=said):
        parse(Config, flags, "train.ppo")


def test_positions_from_a_file_cannot_be_permuted(tmp_path: Path):
    path = tmp_path / "positions.csv"
    path.write_text("timestamp,SYN1\n2000-01-01T00:00:00Z,0.5\n")
    with pytest.raises(InputError, match="the order in which the bars came"):
        train(config("--base-positions", str(path), "--permutations", "5", "--run-dir", str(tmp_path / "run")))
