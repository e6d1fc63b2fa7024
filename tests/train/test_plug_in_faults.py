"""Faults of plug-ins: a run refuses them in one line before it writes anything, or names them where they go bad."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from commands import TINY, command
from own import bad_sizings

from envs import rewards
from himari_jax.command import run_command
from himari_jax.errors import StorageError
from himari_jax.positions import base_sizings
from train.config.ppo import PolicyConfig
from train.studies.sweep import run as sweep
from train.studies.sweep.flags import read_flags as read_sweep
from train.studies.walk_forward import run as walk_forward
from train.studies.walk_forward.flags import read_flags as read_walk
from train.training import trainer
from train.training.bad_rollout import BadRollout, remedy
from train.training.failures import marking_failure
from train.training.resume import read_flags


def one_line(capfd):
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("wrong", ["peeks a bar", "one column", "not finite", "negative", "raises"])
def test_a_bad_base_sizing_is_one_line_before_anything_is_written(tmp_path, capfd, monkeypatch, wrong):
    function, _ = bad_sizings()[wrong]
    monkeypatch.setattr(base_sizings, "kelly", function)
    assert command(tmp_path / "run", "--symbols", "SYN1", "--base-sizing", "kelly") == 2
    assert one_line(capfd).startswith("error: base sizing kelly: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (lambda words: walk_forward.walk_forward(*read_walk(words)), ["--test", "10d", "--validation", "20d"]),
        (lambda words: sweep.sweep(*read_sweep(words)), ["--vary", "base-sizing=constant,kelly"]),
    ],
    ids=["walk_forward", "sweep"],
)
def test_studies_refuse_it_too(main, flags, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(base_sizings, "kelly", bad_sizings()["peeks a week"][0])
    own = ["--base-sizing", "kelly"] if "--test" in flags else []
    words = [*TINY, "--symbols", "SYN1", *own, "--run-dir", str(tmp_path / "study"), *flags]
    assert run_command(main, words) == 2
    assert "base sizing kelly: knows later candles" in one_line(capfd)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("term", "says"),
    [
        (lambda outcome, params: outcome.trade.held, "reward turnover float32 of shape (1,): must be one number"),
        (lambda outcome, params: outcome.trade.nothing, "reward turnover: failed: AttributeError"),
        (lambda outcome, params: -1.0 if outcome.trade.log_return < 0 else 0.0, "reward turnover: is traced by jax"),
    ],
)
def test_a_reward_term_that_is_no_number_is_one_line_before_anything_is_written(
    term, says, tmp_path, capfd, monkeypatch
):
    term.__name__ = "turnover"
    monkeypatch.setattr(rewards, "turnover", term)
    assert command(tmp_path / "run", "--symbols", "SYN1", "--reward", "log_return", "turnover") == 2
    assert says in one_line(capfd)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_reward_that_is_not_finite_is_named_and_no_flag_is_blamed(tmp_path, capfd, monkeypatch):
    def turnover(outcome, params):
        return jnp.log(-jnp.abs(outcome.trade.log_return))

    monkeypatch.setattr(rewards, "turnover", turnover)
    assert command(tmp_path / "run", "--symbols", "SYN1", "--reward", "log_return", "turnover") == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "the reward itself (--reward turnover) is not finite in 256 of 256 steps" in error
    assert "--learning-rate" not in error
    jax.clear_caches()  # equal environments share a trace


def test_the_remedy_names_flags_that_the_policy_core_has():
    finite = BadRollout("bad_rollout.npz", "")
    assert "--lstm-num-layers 1" in remedy(PolicyConfig(policy="lstm"), finite)
    assert "or --num-layers 1" in remedy(PolicyConfig(policy="mlp"), finite)
    assert "1e-4 or a lower --max-grad-norm," in remedy(PolicyConfig(policy="mlp", num_layers=1), None)
    assert "--" not in remedy(PolicyConfig(policy="lstm"), BadRollout("bad_rollout.npz", "the reward itself is bad"))


def test_resume_alone_passes_over_a_run_that_failed_before_its_first_update(tmp_path, capfd, monkeypatch):
    def fail(*args):
        raise ValueError("Incompatible shapes")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "compile_chunk", fail)
    assert command(tmp_path / "runs" / "failed", "--symbols", "SYN1") == 1
    shutil.copytree("runs/failed", "runs/killed")  # before its first save: it has no checkpoint either
    Path("runs/killed/failed.json").unlink()
    os.utime("runs/killed/config.json", (0, 0))
    capfd.readouterr()
    assert read_flags(["--resume"])[1] == Path("runs/killed")
    assert "passed over runs/failed: it failed before its first update (ValueError: Incompatible shapes" in (
        capfd.readouterr().out
    )
    assert read_flags(["--resume", "--run-dir", "runs/failed"])[1] == Path("runs/failed"), "who names it, gets it"


@pytest.mark.parametrize(("error", "marked"), [(OSError, False), (StorageError, False), (RuntimeError, True)])
def test_only_a_failure_of_the_run_itself_marks_it_and_not_one_of_the_disk(error, marked, tmp_path):
    with pytest.raises(error), marking_failure(tmp_path):
        raise error("no")
    assert (tmp_path / "failed.json").exists() == marked
    (tmp_path / "failed.json").unlink(missing_ok=True)
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    with pytest.raises(error), marking_failure(tmp_path):
        raise error("no")
    assert not (tmp_path / "failed.json").exists(), "a run with updates behind it goes on"
