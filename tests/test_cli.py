"""`himari`: every command, by one table; undisturbed by the user's own modules; wrong words answered in one line."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from himari_jax import __version__, cli, extras
from himari_jax.command import run_command

ROOT = Path(__file__).parent.parent
INNER = {"export.job", "export.loadgen"}  # started by an image or a command, by nobody else
# What the script of a console command is: its folder comes first on the path, the working directory is not on it.
SCRIPT = "import sys\nfrom himari_jax.cli import main\nsys.exit(main())\n"
# The script's folder stays first, and every command prints its help in this one process.
HELP_OF_ALL = """
import sys
from himari_jax import cli
cli.look_elsewhere()
for name in cli.COMMANDS:
    sys.argv[1:] = [name, "--help"]
    try:
        sys.exit(cli.dispatch(sys.argv[1:]))
    except SystemExit as stop:
        assert stop.code in (0, None), name
assert not {"jax", "flax", "gymnax"} & sys.modules.keys()
"""
CHILDREN = """
import subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from himari_jax import cli
if __name__ == "__main__":
    cli.look_elsewhere()
    subprocess.run([sys.executable, "-m", "train.ppo", "--help"], check=True, stdout=subprocess.DEVNULL)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(cli.suggestion, "tran").result() == "; did you mean train?"
"""


def himari(folder, code, *words):
    """Runs a script named `himari` from a folder of its own, in the folder given: exit code, output, errors."""
    script = folder.parent / "bin" / "himari"
    script.parent.mkdir(exist_ok=True)
    script.write_text(code)
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, str(script), *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def hostile(tmp_path):
    """A user's folder whose modules have the names of ours, and must never run."""
    folder = tmp_path / "mine"
    for name in ("train.py", "export.py", "himari_jax.py", "envs/__init__.py", "signal.py", "random.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise SystemExit('{name} of the user ran')")
    return folder


def test_the_script_that_is_installed_is_this_main():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"himari": "himari_jax.cli:main"}


def test_every_module_that_is_a_command_is_in_the_table_once():
    found = set()
    for package in ("train", "export"):
        for path in (ROOT / package).glob("*.py"):
            if any(
                isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(path.read_text()).body
            ):
                found.add(f"{package}.{path.stem}")
    modules = [command.module for command in cli.COMMANDS.values()]
    assert sorted(modules) == sorted(found - INNER)


def test_the_list_fits_80_columns_and_has_every_command_with_its_line(capsys):
    assert cli.dispatch([]) == 0
    alone = capsys.readouterr().out
    assert cli.dispatch(["--help"]) == 0
    assert capsys.readouterr().out == alone
    assert max(map(len, alone.splitlines())) <= 80
    for name, command in cli.COMMANDS.items():
        assert f"  {name} " in alone
        assert command.summary in alone


def test_every_command_has_help_before_jax_is_imported_under_the_name_that_the_user_typed(hostile):
    code, shown, error = himari(hostile, HELP_OF_ALL)
    assert code == 0, shown + error
    for name in cli.COMMANDS:
        assert f"usage: himari {name} [-h]" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_modules_of_the_user_are_never_imported_neither_here_nor_in_processes_that_are_started(hostile):
    code, shown, error = himari(hostile, CHILDREN)
    assert (code, shown) == (0, ""), error
    code, shown, error = himari(hostile, SCRIPT, "train", "--lr", "1")
    assert (code, shown) == (2, "")
    assert error == "error: --lr: no such flag; it is --learning-rate here; see himari train --help\n"


def test_python_m_himari_jax_forgets_the_working_directory_unless_it_is_ours(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/elsewhere"])
    cli.look_elsewhere()
    assert sys.path == ["/elsewhere"]
    assert os.environ["PYTHONSAFEPATH"] == "1"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "path", [str(ROOT), "/elsewhere"])
    cli.look_elsewhere()
    assert sys.path == [str(ROOT), "/elsewhere"]
    assert os.environ["PYTHONSAFEPATH"] == ""


def test_what_hides_our_packages_is_named_and_what_is_not_there_too(monkeypatch, tmp_path, capsys):
    (tmp_path / "train.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "train", raising=False)
        assert cli.dispatch(["train"]) == 2
        assert f"{tmp_path / 'train.py'} hides our package train" in capsys.readouterr().err
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.dispatch(["train"]) == 2  # as in the image of the server
    assert "train is not installed here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "meant"),
    [("tran", "train"), ("walk_forward", "walk-forward"), ("train.ppo", "train"), ("evaluate", "backtest"), ("qq", "")],
)
def test_a_wrong_word_is_answered_with_the_command_that_was_meant(word, meant, capsys):
    assert cli.dispatch([word, "--gamma", "1"]) == 2
    hint = f"; did you mean {meant}?" if meant else ""
    assert capsys.readouterr().err == f"error: {word}: no such command{hint}; see himari --help\n"


def test_aliases_name_commands_and_are_none():
    assert set(cli.ALIASES.values()) <= cli.COMMANDS.keys()
    assert not cli.ALIASES.keys() & cli.COMMANDS.keys()


def test_the_version_is_printed(capsys):
    assert cli.dispatch(["--version"]) == 0
    assert capsys.readouterr().out == f"himari {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "called"),
    [
        (["/x/bin/himari", "train"], "himari walk-forward"),
        ([f"{ROOT}/himari_jax/__main__.py"], "python -m himari_jax walk-forward"),
        ([f"{ROOT}/train/ppo.py"], "python -m train.walk_forward"),
        ([""], "python -m train.walk_forward"),
    ],
)
def test_messages_name_a_command_as_the_user_ran_this_one(argv, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert cli.invocation("train.walk_forward") == called


def test_every_library_of_an_extra_is_said_with_the_extra_that_brings_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for library, names in extras.EXTRAS.items():
        package = {"google": "google-cloud-storage"}.get(library, library.replace("_", "-"))
        for name in names.split(","):
            assert any(
                text.startswith((package + ">", package + "=")) for text in project["optional-dependencies"][name]
            )


@pytest.mark.parametrize(("module", "extra"), [("uvicorn", "[serve]"), ("google.cloud", "[cloud]"), ("jax", "")])
def test_a_library_that_lacks_is_one_line_with_the_command_that_installs_it(module, extra, capsys):
    def lacking(args):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    assert run_command(lacking, []) == 2
    line = capsys.readouterr().err
    assert f"python -m pip install -e {repr('.' + extra) if extra else '.'} in a clone" in line
    assert len(line.splitlines()) == 1
