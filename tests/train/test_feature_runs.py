"""Runs with chosen features: flags, the copy of a user's file in the run folder, resume, refusals of one line."""

import json
import shutil
from dataclasses import replace

import pytest
from commands import command, contents, states
from own import GOOD, bad_files

from himari_jax.command import run_command
from himari_jax.features.market import BASE
from train.artifacts.run_folder import stored_config
from train.backtest import main as backtest
from train.config.market import MarketConfig
from train.config.ppo import Config
from train.config.serialize import config_hash, from_json, to_json
from train.simulation.trained import load_agent

ASSETS = ("--symbols", "SYN1", "SYN2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with base and a file of the user, which is gone since; only to be read."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my.py").write_text(GOOD)
    assert command(folder / "run", *ASSETS, "--features", "base", str(folder / "my.py")) == 0
    (folder / "my.py").unlink()
    return folder / "run"


@pytest.fixture
def copy(run, tmp_path):
    """The run, to be changed."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def one_line(capfd):
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_run_keeps_the_file_and_says_its_hash_and_names(run):
    assert (run / "my.py").read_text() == GOOD
    known = json.loads((run / "config.json").read_text())["data"]["features"]
    assert known["sets"] == {"base": list(BASE.names), "my.py": ["far", "range"]}
    agent = load_agent(run)
    assert known["files"] == {"my.py": agent.features.marks[1]}
    assert agent.features.names == (*BASE.names, "far", "range")
    assert agent.variables["constants"]["normaliser"]["mean"].shape == (1, 2 * (12 + 2 + 4) + 2)


def test_a_backtest_uses_the_copy(run, tmp_path):
    assert run_command(backtest, [str(run), "--out", str(tmp_path / "bt"), "--device", "cpu"]) == 0
    found = {x["name"]: x for x in json.loads((tmp_path / "bt" / "result.json").read_text())["audits"]}
    assert found["causality"]["passed"]


@pytest.mark.parametrize("change", ["altered", "missing"])
def test_a_copy_that_is_not_the_file_of_then_is_refused(copy, tmp_path, capfd, change):
    if change == "missing":
        (copy / "my.py").unlink()
    else:
        (copy / "my.py").write_text(GOOD + "\n")
    before = contents(copy)
    assert run_command(backtest, [str(copy), "--out", str(tmp_path / "bt")]) == 2
    assert change in one_line(capfd)
    assert command(copy, "--resume", "--total-steps", "4096") == 2
    assert change in one_line(capfd)
    assert contents(copy) == before


@pytest.mark.slow
def test_resuming_with_the_copy_is_going_on_with_the_file(copy, tmp_path):
    (tmp_path / "my.py").write_text(GOOD)
    flags = (*ASSETS, "--features", "base", str(tmp_path / "my.py"))
    assert command(tmp_path / "other", *flags) == 0
    assert command(tmp_path / "other", *flags, "--total-steps", "4096") == 0
    assert command(copy, "--resume", "--total-steps", "4096") == 0
    assert states(copy) == states(tmp_path / "other")


def test_the_same_command_with_a_changed_file_is_refused_and_names_resume(tmp_path, capfd):
    file = tmp_path / "my.py"
    file.write_text(GOOD)
    flags = (*ASSETS, "--features", "base", str(file))
    assert command(tmp_path / "run", *flags) == 0
    before = contents(tmp_path / "run")
    file.write_text(GOOD.replace("- close[:-36]", "- close[:-36] + 0.0"))
    capfd.readouterr()
    assert command(tmp_path / "run", *flags) == 2
    line = one_line(capfd)
    assert "--features my.py: not that of the run" in line
    assert "--resume" in line
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("wrong", ["peeks a bar", "nan in the decision rows", "raises", "leaves at once"])
def test_a_bad_file_is_one_line_before_anything_is_written(tmp_path, capfd, wrong):
    text, says = bad_files()[wrong]
    (tmp_path / "my.py").write_text(text)
    assert command(tmp_path / "run", *ASSETS, "--features", "base", str(tmp_path / "my.py")) == 2
    assert says in one_line(capfd)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["waves"], "--features waves: must be base, trend, or FILE.py"),
        (["base", "base"], "--features base: must be named once each"),
        (["a/my.py", "b/my.py"], "--features a/my.py: must be named once each: sets, and names of files"),
        (["my file.py"], "--features my file.py: must be a name of letters"),
        (["nowhere.py"], "--features nowhere.py: No such file"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, capfd, given, says):
    assert command(tmp_path / "run", "--features", *given) == 2
    assert says in one_line(capfd)
    assert not (tmp_path / "run").exists()


def test_daily_bars_train_with_the_trend(tmp_path):
    flags = ("--features", "base", "trend", "--bar", "1d", "--symbols", "SYN1")
    assert command(tmp_path / "run", *flags) == 0
    agent = load_agent(tmp_path / "run")
    assert agent.features.marks == ("base", "trend")
    assert agent.features.lookback(86_400_000) == 366
    assert not list((tmp_path / "run").glob("*.py"))


def test_a_run_of_before_has_the_features_of_before(tmp_path):
    assert command(tmp_path / "run", "--symbols", "SYN1") == 0
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    del stored["flags"]["market"]["features"], stored["data"]["features"]
    path.write_text(json.dumps(stored))
    assert stored_config(tmp_path / "run").market.features == ("base",)
    assert load_agent(tmp_path / "run").features is BASE
    assert command(tmp_path / "run", "--resume", "--total-steps", "4096") == 0


def test_the_hash_of_a_configuration_counts_content_and_not_path():
    plain = Config()
    older = to_json(plain)
    del older["market"]["features"]
    assert config_hash(from_json(older)) == config_hash(plain) == config_hash(plain, None, ("base",))
    here, there = (replace(plain, market=MarketConfig(features=("base", x))) for x in ("my.py", "elsewhere/my.py"))
    assert config_hash(here, None, ("base", "1234")) == config_hash(there, None, ("base", "1234")) != config_hash(plain)
    assert config_hash(here, None, ("base", "1234")) != config_hash(here, None, ("base", "5678"))
