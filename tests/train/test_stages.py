"""Stages of long work are printed, and so is the schedule of a run that is made longer."""

import time

import jax.numpy as jnp
from worlds import HYPER

from train.learning.state import Hyperparameters
from train.reporting import stages
from train.training.longer import longer_line


def test_a_stage_that_lasts_is_named_while_it_lasts_and_a_short_one_is_not(monkeypatch, capsys):
    monkeypatch.setattr(stages, "SOON", 0.05)
    work = stages.Stages("evaluating 5 decisions")
    with work.stage("a short one"):
        pass
    with work.stage("a long one"):
        until = time.monotonic() + 10
        while not (said := capsys.readouterr().out) and time.monotonic() < until:
            time.sleep(0.01)
    assert said == "evaluating 5 decisions: a long one ... 0 s\n"
    assert capsys.readouterr().out == ""
    assert work.seconds > 0.05


def hyper(**values):
    """Hyperparameters of two seeds."""
    return Hyperparameters(**{name: jnp.full(2, value, jnp.float32) for name, value in (HYPER | values).items()})


def test_a_run_made_longer_says_where_its_learning_rate_is_and_stays():
    begun = hyper(learning_rate=0.002, final_learning_rate=0.02, total_updates=10)
    # 0.002 (1 - 0.5 0.98) = 0.00102 half way, 0.00004 at the end
    line = longer_line(begun, 5, 20)
    assert "from 10 to 20 updates" in line
    assert "0.001 now and 4e-05 from update 10 on" in line
    assert "4e-05 now and 4e-05" in longer_line(begun, 10, 20)
    assert "--final-std 0.5" in longer_line(begun._replace(final_std=jnp.full(2, 0.5)), 10, 20)
    assert "--final-std" not in longer_line(begun._replace(final_std=jnp.ones(2)), 10, 20)


def test_a_run_of_its_own_length_says_nothing():
    assert longer_line(hyper(total_updates=10), 5, 10) is None
