"""`--debug` shows where an error came from, in every command; without it there is one line."""

import pytest

from himari_jax.command import run_command
from himari_jax.errors import InputError

COMMANDS = [
    "train.ppo", "train.backtest", "train.compare", "train.report", "train.prove", "train.calibrate", "train.bench",
    "train.bench_peers", "export.bundle", "export.server", "export.check", "export.bench",
]  # fmt: skip


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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_debug(name, capsys):
    main = getattr(__import__(name, fromlist=["main"]), "main")  # noqa: B009
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code in (0, None)
    assert "--debug" in capsys.readouterr().out


def test_a_wrong_path_is_shown_with_its_traceback(tmp_path, capsys):
    from train.ppo import main

    args = ["--data", str(tmp_path / "nothere"), "--run-dir", str(tmp_path / "run"), "--device", "cpu"]
    assert run_command(main, [*args, "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "in load_raw" in shown
    assert not (tmp_path / "run").exists()
