"""A sweep that is killed ends with the table that it would have had, and nothing of the test span moves its choice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pools import ROWS, write_pool
from sweeps import sweep_command

from himari_jax.command import run_command
from train.studies.sweep import run
from train.studies.sweep.store import Finished, Store
from train.studies.sweep.train import Batch

ROOT = Path(__file__).parents[2]
TINY = (
    "--num-envs 16 --rollout-steps 16 --num-minibatches 2 --episode-steps 50 --hidden-dim 16 --total-steps 2048 "
    "--device cpu"
).split()
GRID = "--source synthetic --synthetic.num-bars 3000 --vary gamma=0.8,0.9,0.95 learning_rate=1e-3,1e-2,3e-2".split()


class Killed(BaseException):
    """Raised by a test to kill a sweep in its own process."""


def sweep(folder, *more):
    return sweep_command(*TINY, *GRID, "--batch-size", "2", "--run-dir", str(folder), *more)


def fake_batch(flags, asked, folder, build):
    """Scores that follow from the points, and policies of three numbers."""
    trials, policies = [], {}
    for each in asked:
        score = float(each.point["gamma"]) - float(each.point["learning_rate"])
        trials.append(Finished(each.number, each.point, "complete", 8, (score,), (8,), (((8, score),),), "h", "f"))
        policies[each.number] = {"params": {"w": np.full((1, 3), score)}}
    return Batch(trials, policies)


@pytest.fixture
def fakes(monkeypatch):
    """Training by `fake_batch`; a sweep ends with its table."""
    monkeypatch.setattr(run, "train_batch", fake_batch)
    monkeypatch.setattr(run.Run, "finish", lambda *_: 0)
    return monkeypatch


def before_the_policies(store, *_):
    raise Killed


def before_the_lines(store, batch, policies):
    for number, variables in policies.items():
        store.save_policies(number, variables)
    raise Killed


def amid_the_lines(store, batch, policies):
    Store.add(Store(store.folder), batch, policies)
    store.path.write_bytes(store.path.read_bytes()[:-40])
    raise Killed


def after_the_lines(store, batch, policies):
    Store.add(Store(store.folder), batch, policies)
    raise Killed


@pytest.mark.parametrize("kill", [before_the_policies, before_the_lines, amid_the_lines, after_the_lines])
@pytest.mark.parametrize("at", [0, 2])
def test_a_sweep_that_dies_anywhere_in_a_batch_ends_with_the_same_table(fakes, tmp_path, kill, at):
    assert sweep(tmp_path / "whole") == 0
    add, calls = Store.add, []

    class Dying(Store):
        def add(self, batch, policies):
            calls.append(batch)
            return kill(self, batch, policies) if len(calls) == at + 1 else add(self, batch, policies)

    with fakes.context() as patch:
        patch.setattr(run, "Store", Dying)
        with pytest.raises(Killed):
            sweep(tmp_path / "cut")
    trained = []
    fakes.setattr(run, "train_batch", lambda *args: trained.append(args[1]) or fake_batch(*args))
    assert sweep(tmp_path / "cut", "--resume") == 0
    assert (tmp_path / "cut" / "trials.csv").read_bytes() == (tmp_path / "whole" / "trials.csv").read_bytes()
    assert len(trained) == 5 - at - (kill is after_the_lines)  # five batches: at most one is trained again


def test_resume_finds_the_newest_sweep_and_train_ppo_leaves_it_alone(fakes, tmp_path, monkeypatch, capsys):
    from train.ppo import main as ppo

    monkeypatch.chdir(tmp_path)
    assert sweep("runs/a") == 0
    assert sweep_command("--resume") == 0
    assert "resuming runs/a" in capsys.readouterr().out
    assert run_command(ppo, ["--resume"]) == 2
    assert "no unfinished run under runs/" in capsys.readouterr().err
    assert run_command(ppo, [*TINY, "--source", "synthetic", "--run-dir", "runs/a"]) == 2


def start(folder, *more):
    words = [sys.executable, "-u", "-m", "train.sweep", *TINY, *more, "--run-dir", str(folder)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# One program in several batches; one batch of three programs, the finished ones of which are not trained again.
@pytest.mark.slow
@pytest.mark.parametrize("flags", [[*GRID, "--batch-size", "2"], [*GRID, "hidden_dim=8,16,24"]])
def test_a_sweep_killed_three_times_at_random_ends_with_the_same_table(tmp_path, flags):
    begun = time.monotonic()
    whole = start(tmp_path / "whole", *flags)
    assert whole.wait() == 0, whole.stderr.read()
    seconds, rng = time.monotonic() - begun, random.Random(os.environ.get("SEED", 0))
    for _ in range(3):
        cut = start(tmp_path / "cut", *flags)
        time.sleep(rng.uniform(0.3, 0.8) * seconds)
        cut.send_signal(signal.SIGKILL)
        cut.wait()
    cut = start(tmp_path / "cut", *flags)
    assert cut.wait() == 0, cut.stderr.read()
    assert (tmp_path / "cut" / "trials.csv").read_bytes() == (tmp_path / "whole" / "trials.csv").read_bytes()
    assert not (tmp_path / "cut" / "population").exists()


@pytest.mark.slow
def test_what_happens_in_the_test_span_moves_neither_table_nor_choice(tmp_path):
    flags = "--symbols AAA --vary gamma=0.5,0.95 learning_rate=1e-3,3e-2 --num-seeds 2".split()
    tables = []
    for name in ("as it was", "otherwise"):
        data = write_pool(tmp_path / name / "candles", {"AAA": (0, ROWS)})
        if name == "otherwise":
            path, later = data / "AAA.parquet", int(0.8 * ROWS) + 2
            frame = pl.read_parquet(path).with_row_index()
            prices = [pl.when(pl.col("index") < later).then(pl.col(x)).otherwise(pl.col(x) * 3) for x in
                      ("open", "high", "low", "close")]  # fmt: skip
            frame.with_columns(prices).drop("index").write_parquet(path)
        folder = tmp_path / name / "sweep"
        assert sweep_command(*TINY, *flags, "--data", str(data), "--run-dir", str(folder)) == 0
        tables.append(((folder / "trials.csv").read_bytes(), (folder / "choice.json").read_bytes()))
    assert tables[0] == tables[1]
