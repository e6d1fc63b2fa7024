"""`python -m train.ppo` from outside: what it writes, what it refuses, how it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from himari_jax.command import parse, run_command
from himari_jax.errors import HimariError
from himari_jax.sources.synthetic import SyntheticOptions
from train.config.ppo import Config
from train.config.serialize import differences, flatten, from_json, path_flag, to_json
from train.ppo import main
from train.training.resume import read_flags

ROOT = Path(__file__).parents[2]
TINY = (
    "--source synthetic --synthetic.num-bars 3000 --num-envs 16 --rollout-steps 16 --num-minibatches 2 "
    "--update-epochs 2 --episode-steps 50 --hidden-dim 16 --lstm-hidden-dim 8 --total-steps 2048 --device cpu"
).split()


BASELINES = [
    "cash", "buy_and_hold", "equal_weight", "base", "vol_target", "kelly", "momentum", "random", "constant",
]  # fmt: skip


def command(folder, *args):
    """Runs the command in this process: the exit code."""
    return run_command(main, [*TINY, "--run-dir", str(folder), *args])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two assets that went to its end."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command(folder, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
    return folder


def test_a_run_folder_holds_what_the_next_commands_read(finished):
    names = {path.name for path in finished.iterdir()}
    wanted = {
        "config.json",
        "data_report.json",
        "metrics.jsonl",
        "checkpoints",
        "result.json",
        "equity.parquet",
        "report.html",
    }
    assert wanted <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not [name for name in names if name.endswith(".part")]
    result = json.loads((finished / "result.json").read_text())
    assert {
        "verdict", "chosen_seed", "seeds", "agent", "baselines", "minimum_detectable_sharpe", "spans", "fingerprint",
        "timings",
    } <= set(result)  # fmt: skip
    assert result["verdict"]["word"] in ("EDGE", "NO EDGE", "INCONCLUSIVE")
    assert result["verdict"]["reason"]
    assert list(result["baselines"]) == BASELINES
    assert [block["seed"] for block in result["seeds"]] == [0, 1]
    assert result["agent"] == result["seeds"][result["chosen_seed"]]
    block = {
        "sharpe", "sortino", "cagr", "calmar", "max_drawdown", "cvar_5", "win_rate_bar", "win_rate_trip", "turnover",
        "cost_drag", "exposure", "herfindahl", "diversification", "sharpe_interval", "sharpe_difference",
    }  # fmt: skip
    assert block <= set(result["agent"])
    assert set(result["agent"]["sharpe_difference"]) == {"baseline", "value", "interval"}
    assert result["baselines"]["cash"]["sharpe"] is None
    assert result["synthetic"] is True


def test_every_artifact_says_what_made_it(finished):
    config = json.loads((finished / "config.json").read_text())
    result = json.loads((finished / "result.json").read_text())
    report = json.loads((finished / "data_report.json").read_text())
    assert config["data"]["fingerprint"] == result["fingerprint"] == report["fingerprint"]
    assert config["versions"]["jax"]
    assert from_json(config["flags"]).data.symbols == ("SYN1", "SYN2")


def test_validation_picks_the_seed_and_the_test_span_has_no_say(finished):
    result = json.loads((finished / "result.json").read_text())
    assert result["chosen_seed"] == int(np.argmax(result["validation_sharpe"]))


def test_equity_parquet_has_the_agreed_columns(finished):
    frame = pl.read_parquet(finished / "equity.parquet")
    assert frame.columns == [
        "time", "weight_SYN1", "weight_SYN2", "multiplier_SYN1", "multiplier_SYN2", "base_SYN1", "base_SYN2", "equity",
        *(f"baseline_{name}" for name in BASELINES), "liquidated",
    ]  # fmt: skip
    assert frame.schema["time"] == pl.Datetime("ms", "UTC")
    assert frame["liquidated"].to_list() == [False] * (len(frame) - 1) + [True]
    assert (frame["baseline_cash"] == 1.0).all()
    # 3000 bars: the test span begins at 2400, decisions at 2800, and the last needs a next bar.
    assert len(frame) == 199


def test_candles_and_weights_alone_reproduce_the_equity(finished):
    from himari_jax.sources import SourceRequest, synthetic

    raws = synthetic.load(SourceRequest(("SYN1", "SYN2"), options=SyntheticOptions(num_bars=3000)))
    frame = pl.read_parquet(finished / "equity.parquet")
    start = np.searchsorted(raws[0].time + 3_600_000, frame["time"].dt.epoch("ms").to_numpy()[0])
    opens, closes = (np.stack([getattr(raw, name)[start:] for raw in raws], 1) for name in ("open", "close"))
    held = frame.select("weight_SYN1", "weight_SYN2").to_numpy()
    equity, weights = 1.0, np.zeros(2)
    for t in range(len(held)):
        fill, mark = opens[t + 1] / closes[t], closes[t + 1] / opens[t + 1]
        drift = 1 + weights @ (fill - 1)
        weights = weights * fill / drift
        gain = 1 + held[t] @ (mark - 1) - 0.001 * np.abs(held[t] - weights).sum()
        equity, weights = equity * drift * gain, held[t] * mark / gain
        if frame["liquidated"][t]:
            equity *= 1 - 0.001 * weights.sum()
        assert abs(equity / frame["equity"][t] - 1) < 1e-4


def test_metrics_are_json_lines_in_order(finished):
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == sorted({line["update"] for line in lines})
    assert lines[-1]["update"] == 8
    assert {"steps", "episodes", "validation_sharpe", "steps_per_second", "approx_kl"} <= set(lines[0])


def contents(folder):
    """Every file below a folder with its bytes."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_finished_run_named_again_prints_its_table_and_changes_nothing(finished, capsys):
    before = contents(finished)
    assert command(finished, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
    assert "buy_and_hold" in capsys.readouterr().out
    assert contents(finished) == before


def test_other_flags_are_refused_by_name_and_change_nothing(finished, capsys):
    before = contents(finished)
    assert command(finished, "--symbols", "SYN1", "SYN2", "--num-seeds", "2", "--gamma", "0.9") == 2
    error = capsys.readouterr().err
    assert "--gamma 0.95 -> 0.9" in error
    assert error.count("\n") == 1
    assert command(finished, "--symbols", "SYN1", "SYN2", "--num-seeds", "2", "--total-steps", "1024") == 2
    assert command(finished, "--symbols", "SYN1", "SYN2", "--num-seeds", "2", "--fresh") == 2
    assert contents(finished) == before


def states(folder):
    """Leaves of the newest checkpoint, by their digests."""
    steps = sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    meta = json.loads((folder / "checkpoints" / str(steps[-1]) / "meta" / "metadata").read_text())
    return steps[-1], meta["leaves"]


def start(folder, *args):
    """The command as a process of its own."""
    words = [sys.executable, "-u", "-m", "train.ppo", *TINY, "--run-dir", str(folder), *args]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been_stopped(policy, tmp_path, capsys):
    long = ("--policy", policy, "--total-steps", str(256 * 400), "--eval-interval", "50")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    process = start(parts, *long)
    for line in process.stdout:  # the first evaluation: training has begun
        if line.startswith("update "):
            break
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, out + err
    assert time.monotonic() - begun < 10
    stopped_at = states(parts)[0]
    assert 0 < stopped_at < 400
    assert f"--resume --run-dir {parts}" in err
    assert run_command(main, ["--resume", "--run-dir", str(parts)]) == 0
    assert command(whole, *long) == 0
    assert states(parts) == states(whole)
    first, second = (json.loads((x / "result.json").read_text()) for x in (parts, whole))
    assert first["agent"] == second["agent"]
    updates = [json.loads(line)["update"] for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert updates == sorted(set(updates))


def test_a_folder_of_an_early_death_can_be_used_again(tmp_path):
    process = start(tmp_path / "run")
    for line in process.stdout:  # the folder is claimed, nothing is compiled yet
        if line.startswith("compiling"):
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert command(tmp_path / "run") == 0


def test_two_processes_cannot_train_in_one_folder(tmp_path, capsys):
    folder = tmp_path / "run"
    process = start(folder, "--total-steps", str(256 * 20_000))
    for line in process.stdout:
        if line.startswith("compiling"):
            break
    assert command(folder, "--total-steps", str(256 * 20_000)) == 2
    assert "another process" in capsys.readouterr().err
    process.kill()
    process.communicate()


def test_lost_checkpoints_are_exit_4_again_and_again(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "checkpoints")
    for _ in range(2):
        assert command(folder, "--symbols", "SYN1", "SYN2", "--num-seeds", "2", "--total-steps", "4096") == 4
        assert "no checkpoint is left" in capsys.readouterr().err


def test_other_candles_are_refused_on_continuing(tmp_path, capsys):
    from himari_jax.sources import SourceRequest, synthetic

    def write(seed):
        raw = synthetic.load(SourceRequest(("SYN1",), options=SyntheticOptions(num_bars=3000, seed=seed)))[0]
        columns = {name: getattr(raw, name) for name in ("open", "high", "low", "close", "volume")}
        time = pl.Series(raw.time.astype("datetime64[ms]")).dt.replace_time_zone("UTC")
        pl.DataFrame({"timestamp": time, **columns}).write_parquet(tmp_path / "S.parquet")

    words = [word for word in TINY if "synthetic" not in word and word not in ("--source", "3000")]
    words += ["--data", str(tmp_path / "S.parquet"), "--run-dir", str(tmp_path / "run")]
    write(1)
    assert run_command(main, words) == 0
    write(2)
    before = contents(tmp_path / "run")
    assert run_command(main, words) == 2
    assert run_command(main, [*words, "--total-steps", "4096"]) == 2
    assert "candles are not those" in capsys.readouterr().err
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("damage", ["", "{}", "[]", "nonsense"])
def test_a_damaged_result_is_made_anew(finished, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "result.json").write_text(damage)
    assert command(folder, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
    anew, was = (json.loads((x / "result.json").read_text()) for x in (folder, finished))
    assert anew["agent"] == was["agent"]


def test_a_started_run_takes_a_length_in_the_other_unit_and_forgets_fresh(tmp_path):
    folder = tmp_path / "run"
    assert command(folder, "--fresh") == 0
    # 2048 steps were 8 updates of 256; 80 episodes of 50 bars are 4000 steps, 16 updates.
    assert run_command(main, ["--resume", "--run-dir", str(folder), "--num-episodes", "80"]) == 0
    assert states(folder)[0] == 16


def test_a_run_is_found_however_its_flag_is_written(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs" / "newest")
    (tmp_path / "runs" / "newest" / "result.json").unlink()
    for words in (["--run_dir", str(finished)], [f"--run_dir={finished}"], ["--run-dir", str(finished)]):
        assert read_flags(["--resume", *words])[1] == finished


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path):
    words = " ".join([sys.executable, "-m", "train.ppo", *TINY, "--run-dir", str(tmp_path / "run")])
    subprocess.run(["bash", "-c", f"{words} | head -1"], cwd=ROOT, capture_output=True, timeout=120, check=True)
    assert (tmp_path / "run" / "result.json").exists()


def test_brackets_in_names_are_printed_as_they_are(tmp_path, capsys):
    folder = tmp_path / "[/red][v2]"
    assert command(folder) == 0
    assert "[/red][v2]/report.html" in capsys.readouterr().out.replace("\n", "")


def test_a_run_can_be_made_longer_and_keeps_its_schedule(tmp_path):
    assert command(tmp_path / "run") == 0
    assert command(tmp_path / "run", "--total-steps", "4096") == 0
    assert states(tmp_path / "run")[0] == 16
    assert json.loads((tmp_path / "run" / "result.json").read_text())["timings"]["updates"] == 16


WRONG = {
    "--num-env 64": "did you mean --num-envs",
    "--lerning-rate 3": "--lerning-rate",
    "--policy gru": "'gru'",
    "--num-envs 15": "--num-minibatches",
    "--num-envs x": "--num-envs",
    "--gamma 1.5": "--gamma 1.5: allowed is 0 to 1",
    "--split 0.8 0.6": "--split",
    "--total-steps 5 --num-episodes 5": "one of them",
    "--reward profit": "--reward profit",
    "--bar 1x": "--bar 1x",
    "--max-gross 2": "no leverage",
    "--source nowhere": "available are",
    "--source sample --symbols ETH-USD": "--source synthetic",
    "--source files": "--data",
    "--source files --data nowhere_at_all": "nowhere_at_all",
    "--synthetic.num-bars 1500": "look-back",
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


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
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
