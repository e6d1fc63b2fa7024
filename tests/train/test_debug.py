"""`--debug` shows where an error came from, in every command; without it there is one line."""

import pytest

from himari_jax.cli import COMMANDS, dispatch
from himari_jax.command import run_command
from himari_jax.errors import InputError


@pytest.mark.parametrize("error", [InputError("--data nothere: no such file"), ZeroDivisionError("division")])
@pytest.mark.parametrize("cause", [None, KeyError("inner")])
def test_debug_shows_the_traceback_of_any_error_before_its_line(error, cause, capsys):
    def fail_in_here(args):
        raise error from cause

    assert run_command(fail_in_here, ["--debug"]) in (1, 2)
    shown = capsys.readouterr().err
    assert run_command(fail_in_here, []) in (1, 2)
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert len(line.splitlines()) == 1
    assert "Traceback (most recent call last)" in shown
    assert "in fail_in_here" in shown
    assert "NoneType" not in shown
    assert ("KeyError: 'inner'" in shown) == (cause is not None)
    assert shown.splitlines()[-1] == line.strip()


# What a command refuses, all of it in the code of that command, so that the traceback has a frame in it.
WRONG = {
    "train": "--data nothere", "walk-forward": "--run-dir nothere --resume", "sweep": "--vary gamma=2",
    "evidence": "--data nothere --first-test x", "backtest": "nothere", "compare": "nothere", "report": "nothere",
    "trials": "explain nothere", "bundle": "nothere --out b", "check": "nothere", "request": "nothere",
    "serve": "nothere", "prove": "--only nothere", "calibrate": "--repeats 1", "bench": "--num-envs x",
    "bench-models": "--merge nothere", "bench-peers": "--out x --peers nothere", "bench-serve": "nothere",
    "submit": "--fresh", "download": "--symbols", "plan": "nothere", "paper": "nothere", "replay": "nothere nothere",
    "doctor": "--device x", "bench-gpu": "--minutes x", "monitoring": "nothere",
}  # fmt: skip


def test_every_command_has_an_error_here():
    assert WRONG.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_the_traceback_with_debug_and_one_line_without(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = WRONG[name].split()
    assert dispatch([name, *words, "--debug"]) == 2
    shown = capsys.readouterr().err
    assert dispatch([name, *words]) == 2
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert line.startswith("error: ")
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith(line)


def test_a_wrong_path_is_shown_with_its_traceback(tmp_path, capsys):
    from train.ppo import main

    args = ["--data", str(tmp_path / "nothere"), "--run-dir", str(tmp_path / "run"), "--device", "cpu"]
    assert run_command(main, [*args, "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "in load_raw" in shown
    assert not (tmp_path / "run").exists()
