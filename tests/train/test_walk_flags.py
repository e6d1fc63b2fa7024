"""Flags of a walk-forward test: refusals of one line, sources of defaults."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pools import ROWS, START, write_pool
from walks import COMMON, SYNTHETIC, TINY, prepared_for, walk_command, walk_on

from himari_jax.command import run_command
from himari_jax.times import HOUR_MS
from train.artifacts.files import write_json
from train.artifacts.run_folder import FAILED, describe
from train.ppo import main as ppo
from train.studies.walk_forward import run
from train.studies.walk_forward.flags import read_flags
from train.training import kept
from train.training.candles_task import made_by

ROOT = Path(__file__).parents[2]
SHORT = [*SYNTHETIC, *TINY]


class Trained(Exception):
    """Raised where training would begin."""


@pytest.fixture
def untrained(monkeypatch):
    """Every test stops where training would begin, after its folder was made."""
    monkeypatch.setattr(run, "train", stop)


def stop(*_):
    """Takes the place of a training."""
    raise Trained


def refused(args, capsys):
    """The line that refuses some flags."""
    capsys.readouterr()
    assert walk_command(*args) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_help_is_printed_before_jax_is_imported():
    code = "from train.walk_forward import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    script = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "--first-test" in run.stdout
    assert "--learning-rate" in run.stdout
    assert not set(run.stdout.splitlines()[-1].split()) & {"jax", "flax", "gymnax", "polars", "talib"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--first-tset", "2000-03-01"], "did you mean --first-test?"),
        (["--windows", "1y"], "did you mean --window"),
        (["--ensemble", "median"], "--ensemble"),
        (["--split", "0.5", "0.7"], "--split 0.5 0.7: blocks are cut by --first-test, --test and --validation"),
        (["--split", "2000-02-01", "2000-03-01"], "--split 2000-02-01 2000-03-01: blocks are cut by"),
        (["--window", "0y"], "--window 0y: must be expanding, or a number and y, mo, w, d or h"),
        (["--test", "1 year"], "--test 1 year: must be a number and y, mo, w, d or h"),
        (["--first-test", "soon"], "--first-test soon: must be a date such as 2018-01-01"),
        (["--first-test", "2030-01-01"], "--first-test 2030-01-01: the candles go from 2000-01-01T00:00Z to 2000-05-"),
        (["--first-test", "2000-02-01"], "nothing is left to train on before the validation span from 1999-02-01"),
        (["--first-test", "2000-02-01", "--validation", "20d"], "no decision lies in its train span; a look-back of 4"),
        (["--placebo", "63d", "--validation", "20d"], "--placebo 63d: the candles are of 125 days, too few for inputs"),
        (["--placebo", "9999y", "--validation", "20d"], "--placebo 9999y: the candles are of 125 days, too few"),
        (["--placebo", "1y", "1y"], "--placebo 1y 1y: must be named once each"),
        (["--placebo", "none", "1y"], "--placebo none: must be none, or"),
        (["--batch-size", "0"], "--batch-size 0: must be 1 to 65536"),
        (["--embargo", "lookback"], "--embargo lookback: test blocks follow each other without a gap"),
        (["--env", "merton"], "--env merton: a walk-forward test is on candles"),
        (["--run-dir", "gs://bucket/x"], "--run-dir gs://bucket/x: a walk-forward test keeps its folder here"),
        (["--num-processes", "1"], "--num-processes 1: a walk-forward test trains in one process"),
        (["--base-positions", "x.csv", "--permutations", "3"], "belong to the order in which the bars came"),
        (["--base-positions", "x.csv", "--base-sizing", "kelly"], "there is one base; give one of them"),
        (["--config", "nowhere.json"], "--config nowhere.json: No such file"),
        (["--config", "x.json", "--resume"], "a test that goes on keeps its own flags"),
        (["--resume", "--run-dir", "nowhere"], "--run-dir nowhere: no run is there"),
        (["--devices", "99", "--validation", "20d"], "--devices 99: jax finds"),
    ],
)
def test_wrong_flags_are_refused_in_one_line_before_anything_is_trained(args, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(args if args[0] == "--env" else [*SHORT, *args], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more",
    [
        ["--total-steps", "2560"],
        ["--eval-interval", "8"],
        ["--window", "25d"],
        ["--test", "20d"],
        ["--placebo", "25d"],
        ["--ensemble", "best"],
        ["--gamma", "0.5"],
        ["--seed", "1"],
        ["--num-seeds", "2"],
        ["--embargo", "5h"],
    ],
)
def test_other_flags_in_the_folder_of_a_test_are_refused(more, capsys, tmp_path, untrained):
    folder = ["--run-dir", str(tmp_path / "test")]
    assert walk_command(*COMMON, *folder) == 1
    assert f"{more[0]} " in (line := refused([*COMMON, *folder, *more], capsys))
    assert "use those or another --run-dir" in line
    assert f"{more[0]} " in refused(["--resume", *folder, *more], capsys)
    assert walk_command(*COMMON, *folder, "--batch-size", "2", "--permutations", "5", "--device", "cpu") == 1
    assert "not empty" in refused([*COMMON, *folder, "--fresh"], capsys)


def test_another_file_of_features_in_the_folder_of_a_test_is_refused(capsys, tmp_path, untrained):
    own, folder = tmp_path / "own.py", ["--run-dir", str(tmp_path / "test")]
    code = "import numpy as np\n\nLOOKBACK = '2h'\n\n\ndef features(candles):\n    return LOG[..., None], ['a']\n"
    own.write_text(code.replace("LOG", "np.log(candles.close / candles.open)"))
    assert walk_command(*COMMON, *folder, "--features", "base", str(own)) == 1
    own.write_text(code.replace("LOG", "np.log(candles.high / candles.open)"))
    assert "--features own.py: not that of the run" in refused(
        [*COMMON, *folder, "--features", "base", str(own)], capsys
    )
    assert walk_command("--resume", *folder) == 1, "it goes on with its own copy"


def test_train_ppo_and_walk_forward_leave_each_others_folders_alone(capsys, tmp_path, monkeypatch, untrained):
    monkeypatch.chdir(tmp_path)
    assert walk_command(*COMMON, "--run-dir", "runs/test") == 1
    before = sorted(path.name for path in Path("runs/test").iterdir())
    for args in (["--resume"], ["--resume", "--run-dir", "runs/test"], [*SHORT, "--run-dir", "runs/test"]):
        if "--placebo" in args:
            args = [word for word in args if word not in ("--placebo", "none")]
        capsys.readouterr()
        assert run_command(ppo, args) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert "no unfinished run" in said[0] or "a walk-forward test is there, not a run" in said[0]
    assert sorted(path.name for path in Path("runs/test").iterdir()) == before
    session = run.make_walk(*unfinished_run(Path("runs/run"))).sessions[0]
    write_json(Path("runs/run/config.json"), describe(session.config, made_by(session)))
    assert "no walk-forward test is there" in refused([*COMMON, "--run-dir", "runs/run"], capsys)
    assert "no walk-forward test is there" in refused(["--resume", "--run-dir", "runs/run"], capsys)
    assert walk_command("--resume") == 1, "the newest of its own"
    assert "resuming runs/test" in capsys.readouterr().out


def test_resume_passes_over_a_test_whose_numbers_went_bad_before_anything_was_evaluated(
    capsys, tmp_path, monkeypatch, untrained
):
    monkeypatch.chdir(tmp_path)
    assert walk_command(*COMMON, "--run-dir", "runs/good") == 1
    lost = kept.Trained({}, -np.inf, 0, [], 8, failed=True)
    monkeypatch.setattr(run, "train", lambda walk, folder, *_: run.report_failures(walk, [lost] * 3, folder))
    assert walk_command(*COMMON, "--run-dir", "runs/bad") == 3
    assert (Path("runs/bad") / FAILED).exists()
    monkeypatch.setattr(run, "train", stop)
    capsys.readouterr()
    assert walk_command("--resume") == 1
    assert capsys.readouterr().out.startswith("passed over runs/bad: its numbers went bad")
    assert walk_command("--resume", "--run-dir", "runs/bad") == 1, "who names it, gets it"
    assert not (Path("runs/bad") / FAILED).exists()


def unfinished_run(folder):
    """Flags and candles of a run whose folder is made."""
    from train.training.session import prepare

    folder.mkdir()
    flags = read_flags(COMMON)[0]
    return flags, prepare(flags.base)


def test_defaults_come_from_a_preset_a_file_and_the_config_of_a_test(tmp_path, untrained):
    assert read_flags(["--preset", "trend"])[0].base.market.decide_every == "1d"
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"ppo": {"gamma": 0.5}, "run": {"num_seeds": 3}}))
    flags, _ = read_flags(["--config", str(own), "--test", "3mo", "--num_seeds", "4"])
    assert (flags.base.ppo.gamma, flags.base.run.num_seeds, flags.walk.test) == (0.5, 4, "3mo")
    assert walk_command(*COMMON, "--placebo", "20d", "--run-dir", str(tmp_path / "test")) == 1
    stored = str(tmp_path / "test" / "config.json")
    flags, _ = read_flags(["--config", stored, "--window", "2y"])
    assert (flags.walk.test, flags.walk.window, flags.walk.placebo) == ("30d", "2y", ("20d",))
    assert (flags.base.ppo.total_steps, flags.base.run.run_dir) == (1280, None)


def test_a_test_goes_on_with_its_own_flags(tmp_path, untrained):
    folder = str(tmp_path / "test")
    args = [*COMMON, "--placebo", "20d", "--permutations", "7", "--decide-every", "2h", "--draw-phase"]
    assert walk_command(*args, "--run-dir", folder) == 1
    flags, found = read_flags(["--resume", "--run-dir", folder])
    assert found == Path(folder)
    first, _ = read_flags([*args, "--run-dir", folder])
    assert (flags.walk, flags.base.run.permutations) == (first.walk, 7)
    assert flags.base.market == first.base.market


def test_a_symbol_of_a_pool_that_is_nowhere_used_is_refused_or_left_out_on_request(tmp_path, capsys, untrained):
    data = write_pool(tmp_path / "candles", {"AAA": (0, ROWS), "BBB": (ROWS - 300, ROWS), "CCC": (0, 1300)})
    flags = ["--data", str(data), "--pool", "--first-test", "2020-11-20", "--test", "20d", "--validation", "10d", *TINY]
    args = [*flags, "--symbols", "AAA", "BBB", "CCC"]  # the last one ends before the first test
    assert "--pool: BBB: no decision in any span" in refused([*args, "--run-dir", str(tmp_path / "a")], capsys)
    assert walk_command(*args, "--skip-short", "--run-dir", str(tmp_path / "b")) == 1
    assert "AAA: decisions" in (said := capsys.readouterr().out)
    assert "CCC: decisions" in said


def test_own_base_positions_may_have_a_last_block_of_one_decision(tmp_path):
    data = write_pool(tmp_path / "candles", {"AAA": (0, ROWS)})
    hours = START + HOUR_MS * np.arange(1, ROWS)
    base = pl.DataFrame({"timestamp": hours, "AAA": np.full(len(hours), 0.2)})
    utc = pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC")
    base.with_columns(utc).write_parquet(tmp_path / "own.parquet")
    last = str(np.datetime64(START + HOUR_MS * (ROWS - 2 - 480), "ms"))
    flags = ["--data", str(data), "--first-test", last, "--test", "20d", "--validation", "20d", *TINY]
    args = [*flags, "--base-positions", str(tmp_path / "own.parquet"), "--run-dir", str(tmp_path / "test")]
    walk = walk_on(prepared_for(*args), *args)
    assert np.bincount(walk.block).tolist() == [480, 1]
