"""`python -m train.ppo` on a folder that is not empty: what goes on, what is refused, what is left alone."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from commands import TINY, command, contents, start, states

from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.sources.synthetic import Options
from train.artifacts.run_folder import FAILED
from train.ppo import main
from train.training.resume import read_flags
from train.training.trainer import Trainer

pytest_plugins = ["finished_run"]


def test_a_finished_run_named_again_prints_its_table_and_changes_nothing(finished, capsys):
    before = contents(finished)
    assert command(finished, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
    said = capsys.readouterr().out
    assert "buy_and_hold" in said
    assert re.search(r"compiling \S+ s, data \S+ s, evaluating \S+ s, report \S+ s; peak memory", said)
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


@pytest.mark.parametrize("policy", [pytest.param("mlp", marks=pytest.mark.slow), "lstm"])
def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been_stopped(policy, tmp_path, capsys):
    long = ("--policy", policy, "--total-steps", str(256 * 400), "--eval-interval", "50")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    process = start(parts, *long)
    for line in process.stdout:  # the first evaluation: training has begun
        if line.startswith("steps "):
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
    assert first["course"] == second["course"]  # the evaluations before the stop count
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
    from himari_jax.sources import synthetic
    from himari_jax.sources.request import SourceRequest

    def write(seed):
        raw = synthetic.load(SourceRequest(("SYN1",), options=Options(num_bars=3000, seed=seed)))[0]
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


@pytest.mark.parametrize("damage", ["", "{}", "[]", None])
def test_a_result_that_is_damaged_or_has_no_report_is_made_anew(finished, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    if damage is None:  # stopped between the two
        (folder / "report.html").unlink()
    else:
        (folder / "result.json").write_text(damage)
    assert command(folder, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
    anew, was = (json.loads((x / "result.json").read_text()) for x in (folder, finished))
    assert anew["agent"] == was["agent"]
    assert (folder / "report.html").exists()
    assert anew["timings"]["judge_seconds"] > 0


def test_a_signal_in_the_last_chunk_is_heard_before_the_run_is_judged(tmp_path, monkeypatch, capsys):
    folder, save = tmp_path / "run", Trainer.save

    def stopped(self):
        save(self)
        if self.done == self.config.total_updates:
            self.signal = signal.SIGTERM

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", stopped)
        assert command(folder) == 75
    assert f"--resume --run-dir {folder}" in capsys.readouterr().err
    assert not (folder / "result.json").exists()
    assert run_command(main, ["--resume", "--run-dir", str(folder)]) == 0
    assert (folder / "report.html").exists()


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


def test_resume_passes_over_a_run_whose_numbers_went_bad_and_says_so(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("good", "bad"):  # the bad one is the newest
        shutil.copytree(finished, tmp_path / "runs" / name, copy_function=shutil.copyfile)
        (tmp_path / "runs" / name / "result.json").unlink()
    os.utime(tmp_path / "runs" / "good" / "config.json", (0, 0))
    assert read_flags(["--resume"])[1] == Path("runs/bad")
    (tmp_path / "runs" / "bad" / FAILED).write_text("{}")
    capsys.readouterr()
    assert read_flags(["--resume"])[1] == Path("runs/good")
    assert "passed over runs/bad" in capsys.readouterr().out
    assert read_flags(["--resume", "--run-dir", "runs/bad"])[1] == Path("runs/bad"), "who names it, gets it"
    (tmp_path / "runs" / "good" / FAILED).write_text("{}")
    with pytest.raises(InputError, match="that can go on"):
        read_flags(["--resume"])


def test_a_run_can_be_made_longer_keeps_its_schedule_and_says_so(tmp_path, capsys):
    assert command(tmp_path / "run") == 0
    assert "made longer" not in capsys.readouterr().out
    assert command(tmp_path / "run", "--total-steps", "4096") == 0
    assert "made longer, from 8 to 16 updates" in capsys.readouterr().out
    assert states(tmp_path / "run")[0] == 16
    timings = json.loads((tmp_path / "run" / "result.json").read_text())["timings"]
    assert (timings["updates"], timings["schedule_updates"]) == (16, 8)
