"""Flags of `python -m train.ppo`: refusals, defaults, derived values."""

import os

import pytest
from commands import command, start
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from himari_jax.command import parse
from himari_jax.errors import HimariError
from train.config.ppo import Config
from train.config.serialize import differences, flatten, from_json, path_flag, to_json
from train.training.resume import read_flags

WRONG = {
    "--num-env 64": "did you mean --num-envs",
    "--lerning-rate 3": "--lerning-rate",
    "--policy gru": "--policy gru: must be one of lstm, mlp",
    "--base-sizing martingale": "--base-sizing martingale: must be one of constant, vol-target, kelly",
    "--preset none": "--preset none: must be one of common, fees, quick, trend",
    "--num-envs 15": "--num-minibatches",
    "--num-envs x": "--num-envs",
    "--gamma 1.5": "--gamma 1.5: must be 0 to 1",
    "--split 0.8 0.6": "--split",
    "--total-steps 5 --num-episodes 5": "one of them",
    "--reward profit": "--reward profit",
    "--bar 1x": "--bar 1x",
    "--max-gross 2": "no leverage",
    "--source nowhere": "must be one of ccxt, coingecko, files, sample, synthetic",
    "--source sample --symbols ETH-USD": "--source synthetic",
    "--source files": "--data",
    "--source files --data nowhere_at_all": "nowhere_at_all",
    "--synthetic.num-bars 600": "look-back",
    "--episode-steps 5000": "--episode-steps 5000",
    "--resume --fresh": "--run-dir",
    "--device cuda": "--device cuda",
}


@pytest.mark.parametrize(("args", "said"), WRONG.items())
def test_bad_input_is_one_line_with_exit_2_and_writes_nothing(args, said, tmp_path, capsys):
    if "cuda" in args:  # a process of its own: jax chooses its device once
        process = start(tmp_path / "run", *args.split())
        _, error = process.communicate(timeout=60)
        assert process.returncode == 2
    else:
        assert command(tmp_path / "run", *args.split()) == 2
        error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert said in lines[0]
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_exit_5(tmp_path):
    tmp_path.chmod(0o500)
    assert command(tmp_path / "run") == 5


def test_a_run_folder_in_the_place_of_a_file_is_exit_5(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert command(tmp_path / "file" / "run") == 5
    assert "--run-dir" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_foreign_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert command(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


NUMBERS = st.one_of(
    st.integers(-3, 600).map(str),
    st.floats(-2, 2).map(str),
    st.sampled_from(["nan", "inf", "-inf", "1e400", "", "x", "0", "None", "--seed", "🦊", "1_000"]),
)
OWN = ("--run-dir", "--debug")  # a folder of its own, and a traceback on request
FLAGS = ["--help-me", *(name for name in map(path_flag, flatten(to_json(Config()))) if name not in OWN)]


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(words=st.lists(st.tuples(st.sampled_from(FLAGS), NUMBERS), max_size=4))
def test_no_flags_give_a_traceback(words):
    args = [word for pair in words for word in pair if word != "--help"]
    try:
        config, _ = read_flags(args)
        assert config.total_updates >= 1
        assert from_json(to_json(config)) == config or "nan" in str(config)
    except (HimariError, SystemExit):
        pass


def test_flags_survive_json_and_differences_are_named():
    old = parse(Config, ["--gamma", "0.9", "--symbols", "A", "B"], "ppo")
    assert from_json(to_json(old)) == old
    new = parse(Config, ["--gamma", "0.8", "--symbols", "A", "B", "--total-steps", "9", "--synthetic.seed", "1"], "ppo")
    assert differences(old, new) == ["--synthetic.seed 0 -> 1", "--gamma 0.9 -> 0.8"]


def test_episodes_become_steps_and_are_rounded_up_to_whole_updates():
    config = parse(Config, ["--num-episodes", "1000"], "ppo")
    # 1000 x 500 = 500,000 steps; an update is 512 x 64 = 32,768; 15.26 of them.
    assert config.wanted_steps == 500_000
    assert config.total_updates == 16
    assert config.interval_updates(100, 10) == 2  # 100 x 500 / 32,768 = 1.53
