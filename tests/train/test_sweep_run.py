"""A whole sweep: what it chooses, what it counts, what it leaves, and that it looks at the test span once."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sweeps import sweep_command

from himari_jax.command import run_command
from himari_jax.statistics.significance import deflated_sharpe
from train.artifacts.saved_policies import read_saved
from train.evaluation.ledger import open_ledger
from train.ppo import main as ppo
from train.report import main as report
from train.studies.sweep import run
from train.studies.sweep.store import Store

ROOT = Path(__file__).parents[2]
TINY = (
    "--source synthetic --synthetic.num-bars 3000 --num-envs 16 --rollout-steps 16 --num-minibatches 2 "
    "--episode-steps 50 --hidden-dim 16 --total-steps 2048 --initial-log-std -0.5 --device cpu"
).split()
VARY = "--vary learning_rate=1e-3,3e-2 reward.volatility=0,20 --num-seeds 2".split()


def sweep(folder, *more):
    return sweep_command(*TINY, *VARY, "--run-dir", str(folder), *more)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a sweep of four configurations of two seeds; the choice stood before the test span was played."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    count, seen = run.count_trials, []

    def watched(*args):
        seen.append(json.loads((folder / "choice.json").read_text())["trial"])
        return count(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "count_trials", watched)
        assert sweep(folder) == 0
    assert seen == [chosen_of(folder)["trial"]]
    return folder


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def chosen_of(folder):
    return result_of(folder)["chosen"]


def test_the_chosen_one_has_the_best_mean_over_the_seeds_on_validation(done):
    trials, chosen = Store(done).read(), chosen_of(done)
    means = {number: np.mean(each.scores) for number, each in trials.items()}
    assert len(means) == 4
    assert chosen["trial"] == max(means, key=means.get)
    assert chosen["validation_sharpe"] == means[chosen["trial"]]
    for each in trials.values():
        assert each.scores == tuple(max(score for _, score in curve) for curve in each.curves)


def test_only_the_chosen_one_has_a_result_on_the_test_span(done):
    assert {path.parent for path in done.rglob("result.json")} == {done, done / "chosen"}
    frame = pl.read_csv(done / "trials.csv")
    assert not [name for name in frame.columns if "test" in name]
    assert frame["rank"].to_list() == [1, 2, 3, 4]
    said = (done / "finished.jsonl").read_text() + (done / "trials.csv").read_text()
    own = json.loads((done / "chosen" / "result.json").read_text())["agent"]["sharpe"]
    assert f"{own:.6f}" not in said


def test_every_configuration_counts_in_the_ledger_by_the_seed_that_validation_chose(done):
    book, trials = open_ledger(done.parent).read(), Store(done).read()
    counting = {(each.config_hash, each.seed) for each in book.trials.values() if book.counts(each)}
    assert counting == {(each.config_hash, each.best_seed) for each in trials.values()}
    assert all(each.sketch is not None for each in book.trials.values())
    shown = {each.config_hash for each in book.trials.values() if each.chosen and not each.withheld}
    assert shown == {chosen_of(done)["config_hash"]}


def test_the_chosen_one_is_deflated_by_clusters_and_by_trials(done):
    counted, test = result_of(done)["counted"], result_of(done)["test"]
    assert counted["configurations"] == counted["trials"]["number"] == 4
    assert 1 <= counted["clusters"]["number"] == counted["own_clusters"] <= 4
    assert test["trials"] == counted["clusters"]["number"]
    assert test["deflated_sharpe"] == pytest.approx(counted["clusters"]["deflated_sharpe"], abs=1e-9)
    # By trials: the Sharpe ratios of the ledger as they are, on the returns of the track.
    equity = pl.read_parquet(done / "chosen" / "equity.parquet")["equity"].to_numpy()
    returns = np.diff(np.concatenate([[1.0], equity])) / np.concatenate([[1.0], equity[:-1]])
    sharpes = [each.sharpe for each in open_ledger(done.parent).read().trials.values() if each.chosen]
    assert counted["trials"]["deflated_sharpe"] == pytest.approx(deflated_sharpe(returns, np.array(sharpes)), abs=0.05)


def test_the_folder_of_the_chosen_one_is_a_run(done):
    folder, chosen = done / "chosen", Store(done).read()[chosen_of(done)["trial"]]
    saved = read_saved(folder)
    assert saved.sharpe.tolist() == pytest.approx(chosen.scores)
    assert saved.update.tolist() == list(chosen.taken)
    config = json.loads((folder / "config.json").read_text())
    assert config["config_hash"] == chosen.config_hash
    assert str(config["flags"]["ppo"]["learning_rate"]) == str(float(chosen.point["learning_rate"]))
    (folder / "report.html").unlink()
    assert run_command(report, [str(folder)]) == 0


def test_the_report_has_every_configuration_and_needs_nothing_from_elsewhere(done):
    page = (done / "report.html").read_text()
    for number in range(4):
        assert f"trial {number}" in page
    assert "Parallel coordinates" in page
    assert "if every trial were a new one" in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


def test_a_second_call_trains_nothing_and_says_the_same(done, capsys, monkeypatch):
    monkeypatch.setattr(run, "train_batch", None)
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file() and path.name != "sweep.json"}
    assert sweep(done) == 0
    out = capsys.readouterr().out
    assert f"chosen: trial {chosen_of(done)['trial']}" in out
    assert {path: path.read_bytes() for path in before} == before
    table = out[out.index("4 configurations") : out.index("chosen:")]
    assert max(map(len, table.splitlines())) <= 80


def test_other_flags_and_more_trials_after_the_choice_are_refused(done, capsys):
    assert sweep(done, "--gamma", "0.5") == 2
    assert "--gamma 0.95 -> 0.5" in capsys.readouterr().err
    assert sweep(done, "--batch-size", "2") == 2
    assert "--batch-size None -> 2" in capsys.readouterr().err
    assert sweep(done, "--fresh") == 2
    assert sweep(done.parent) == 2
    assert "not empty and no sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trial_is_what_train_ppo_makes_of_its_flags(done, tmp_path):
    wanted = {"learning_rate": "1e-3", "reward.volatility": "20"}
    trial = next(each for each in Store(done).read().values() if each.point == wanted)
    args = [*TINY, "--learning-rate", "1e-3", "--reward", "log_return", "volatility=20", "--num-seeds", "2"]
    assert run_command(ppo, [*args, "--run-dir", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["validation_sharpe"] == pytest.approx(list(trial.scores), abs=1e-4)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config_hash"] == trial.config_hash
