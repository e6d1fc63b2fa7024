"""The benchmark of the three models: rows are kept and merged, tables fit, wrong flags are one line."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from himari_jax.command import run_command
from himari_jax.errors import InputError
from train.bench_models import main
from train.benchmarks.models import measure as measuring
from train.benchmarks.models.config import MODELS, ModelsConfig
from train.benchmarks.models.rows import Row, merged, read_rows, write_rows
from train.benchmarks.models.table import labels, render

ROOT = Path(__file__).parents[2]
GPU = ("NVIDIA H100 80GB HBM3", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, 16 cores")
TINY = "--num-envs 16 --rollout-steps 16 --num-minibatches 2 --hidden-dim 8 --episode-steps 50 --update-epochs 1"


def row_of(model="base", **changes):
    """A row of a small processor, with large numbers in it."""
    start = Row(
        model=model,
        device="CPU, 2 cores",
        processor="AMD EPYC, 2 cores",
        made_by="jax 0.10.2, commit 0123456, 2026-11-26",
        warm_starts=3,
        decisions=2000,
        data="BTC-USD, 20,111 bars of 1h",
        flags="",
        num_episodes=1000,
        episode_steps=500,
        steps=524_288,
        train_seconds=1234.5,
        steps_per_second=123_456_789.0,
        compile_cold=123.4,
        compile_warm=12.3,
        command_cold=3600.0,
        command_warm=1234.5,
        host_mb=12_345.6,
        device_mb=None,
        parameters=1_234_567,
        jax_p50_ms=0.04,
        jax_p99_ms=123.456,
        onnx_p50_ms=0.01,
        onnx_p99_ms=0.02,
    )
    return replace(start, **changes)


def on_gpu(model="base", **changes):
    return row_of(model, device=GPU[0], processor=GPU[1], device_mb=12_345.6, **changes)


def refused(args, capsys):
    """The one line with which the command refuses."""
    assert run_command(main, args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_rows_survive_their_file(tmp_path):
    rows = [row_of(model) for model in MODELS]
    write_rows(tmp_path / "x.json", rows)
    assert read_rows(tmp_path / "x.json") == rows


@pytest.mark.parametrize("flags", ["", "--hidden-dim 8"])
@pytest.mark.parametrize("price", [None, 12.34])
def test_tables_of_two_devices_fit_80_columns_and_have_a_row_each(price, flags):
    changes = {"price_per_hour": price, "flags": flags}
    text = render([*(row_of(model, **changes) for model in MODELS), *(on_gpu(m, **changes) for m in MODELS)], False)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("CPU, 2 cores ") == text.count("H100 80GB HBM3 ") == 6
    assert ("12.3400" in text) == (price is not None)  # an hour at that price
    assert ("hidden-dim" in text) == bool(flags)


def test_markdown_has_the_same_cells_as_the_console():
    rows = [row_of(), on_gpu("lstm", onnx_p50_ms=None, onnx_p99_ms=None)]
    lines = [line for line in render(rows, True).splitlines() if line.startswith("| ")]
    assert len(lines) == 6
    for line in lines[1:3] + lines[4:]:
        for cell in line.strip("| ").split(" | "):
            assert cell in render(rows, False)


def test_what_is_not_installed_is_said():
    assert "not installed" not in render([row_of()], False)
    assert "ONNX none: not installed" in render([row_of(onnx_p50_ms=None, onnx_p99_ms=None)], False)


def test_machines_of_one_name_are_told_apart():
    names = labels([row_of(), row_of(processor="Intel, 2 cores"), on_gpu()])
    assert len(set(names.values())) == 3
    assert max(map(len, names.values())) <= 14


def test_the_newer_row_of_a_model_on_a_machine_wins_and_others_stay():
    rows = merged([on_gpu("lstm"), row_of(), on_gpu()], [replace(row_of(), train_seconds=1.0)], "x")
    assert [(row.device, row.model) for row in rows] == [(GPU[0], "base"), (GPU[0], "lstm"), ("CPU, 2 cores", "base")]
    assert rows[-1].train_seconds == 1.0


@pytest.mark.parametrize(
    "changes", [{"num_episodes": 10}, {"flags": "--hidden-dim 8"}, {"episode_steps": 50}, {"data": "ETH, 7 bars of 1h"}]
)
def test_rows_that_trained_something_else_share_no_table(changes):
    with pytest.raises(InputError, match=r"gpu\.json: .* one table needs the same"):
        merged([row_of()], [on_gpu(**changes)], "gpu.json")


def test_merge_prints_and_keeps_the_rows_of_both_files(tmp_path, capsys):
    here, there = tmp_path / "cpu.json", tmp_path / "gpu.json"
    write_rows(here, [row_of()])
    write_rows(there, [on_gpu()])
    assert run_command(main, ["--merge", str(there), "--out", str(here)]) == 0
    printed = capsys.readouterr().out
    assert "CPU, 2 cores" in printed
    assert "H100 80GB HBM3" in printed
    assert read_rows(here) == [row_of(), on_gpu()]


def test_a_price_belongs_to_one_machine(tmp_path, capsys):
    path = tmp_path / "x.json"
    write_rows(path, [row_of()])
    assert run_command(main, ["--merge", str(path), "--price-per-hour", "0.5"]) == 0
    assert "0.5000" in capsys.readouterr().out  # the cold command of an hour
    write_rows(path, [row_of(), on_gpu()])
    assert "2 machines" in refused(["--merge", str(path), "--price-per-hour", "0.5"], capsys)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"rows": [{}]}', '{"rows": [1]}', json.dumps({"rows": [asdict(row_of()) | {"model": "big"}]}),
     json.dumps({"rows": [asdict(row_of()) | {"steps": "many"}]})],
)  # fmt: skip
def test_another_file_is_refused_by_name(content, tmp_path, capsys):
    (tmp_path / "x.json").write_text(content)
    assert "x.json: no file that `train.bench_models --out` wrote" in refused(
        ["--merge", str(tmp_path / "x.json")], capsys
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--modles base", "--models"),
        ("--models base base", "--models base base: must be named once each"),
        ("--num-episodes 0", "--num-episodes 0"),
        ("--repeats 0", "--repeats 0"),
        ("--price-per-hour -1", "--price-per-hour -1"),
        ("--symbols A B", "--symbols: belongs to --data"),
        ("--data x --symbols A", "--symbols A"),
        ("--merge x.json --device cpu", "--device and --merge"),
        ("--merge nothing.json", "nothing.json: No such file"),
        ("--out nowhere/x.json", "there is no folder nowhere"),
        ("--flags=--policy=lstm", "--flags --policy"),
        ("--flags=--run_dir=x", "--flags --run-dir"),
        ("--flags=--num-envs=7", "--num-envs 7"),
        ("--flags=--num-envz=8", "--num-envs?"),
        ("--flags='", "--flags '"),
    ],
)
def test_a_wrong_flag_is_one_line_before_anything_runs(args, said, capsys):
    assert said in refused(args.split(), capsys)


def test_a_file_of_another_length_is_refused_before_anything_runs(tmp_path, capsys):
    write_rows(tmp_path / "x.json", [row_of("lstm")])
    args = ["--out", str(tmp_path / "x.json"), "--models", "base", "--num-episodes", "10"]
    assert "choose another file" in refused(args, capsys)


def test_one_asset_takes_the_first_symbol_and_several_take_all():
    bench = ModelsConfig(data=Path("candles"), symbols=("A", "B", "C"), flags="--gamma 0.9")
    for model, count in (("base", 1), ("lstm", 1), ("multi", 3)):
        flags = bench.flags_of(model)
        assert flags[flags.index("--symbols") + 1 : flags.index("--num-episodes")] == ["A", "B", "C"][:count]
        assert flags[-2:] == ["--gamma", "0.9"]


def test_a_row_has_medians_of_warm_starts_and_the_largest_memory(monkeypatch, tmp_path):
    warm = iter([3.0, 9.0, 4.0])

    def start(model, what, flags, scratch, decisions):
        seconds = 20.0 if what == "cold start" else next(warm)
        copied = {name: getattr(row_of(), name) for name in measuring.COPIED}
        timed = dict.fromkeys(("compile_seconds", "command_seconds", "train_seconds", "steps_per_second"), seconds)
        decided = {name: getattr(row_of(), name) for name in measuring.DECIDED if decisions}
        return copied | timed | decided | {"host_mb": seconds, "device_mb": None}

    monkeypatch.setattr(measuring, "start", start)
    row = measuring.measure("base", ModelsConfig(), tmp_path)
    assert (row.compile_cold, row.command_cold, row.host_mb, row.device_mb) == (20, 20, 20, None)
    assert (row.compile_warm, row.command_warm, row.train_seconds) == (4, 4, 4)


def test_help_is_printed_and_files_are_merged_without_jax(tmp_path):
    write_rows(tmp_path / "x.json", [row_of()])
    code = (
        "import sys\nfrom train.bench_models import main\n"
        f"main(['--merge', {str(tmp_path / 'x.json')!r}])\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'jax', 'flax', 'gymnax', 'polars', 'talib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
def test_each_model_is_measured_and_kept(tmp_path, capsys):
    out = tmp_path / "rows.json"
    args = ["--num-episodes", "2", f"--flags={TINY}", "--repeats", "1", "--decisions", "100", "--out", str(out)]
    assert run_command(main, [*args, "--device", "cpu"]) == 0
    rows = read_rows(out)
    assert [row.model for row in rows] == list(MODELS)
    for row in rows:
        assert row.command_cold > row.compile_cold > 0
        assert row.command_warm > row.train_seconds > 0
        assert row.host_mb > 100
        assert 0 < row.jax_p50_ms <= row.jax_p99_ms
        assert 0 < row.onnx_p50_ms <= row.onnx_p99_ms
        assert row.steps == 2 * 50 + 156  # up to a whole update of 256
    # 16 inputs, two layers of 8, two heads, a log deviation: 16 * 8 + 8 + 8 * 8 + 8 + 2 * 9 + 1
    assert rows[0].parameters == 227
    assert capsys.readouterr().out.endswith(render(rows, False) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_jax_and_the_bundle_decide_alike_from_bar_to_bar(runs, name, tmp_path):
    from train.benchmarks.models.latency import decide_by_jax, decide_by_onnx, width_of
    from train.benchmarks.models.worker import export
    from train.simulation.trained import load_agent

    agent = load_agent(runs / name)
    (tmp_path / name).symlink_to(runs / name)
    by_jax, by_onnx = decide_by_jax(agent), decide_by_onnx(agent, export(tmp_path / name) / "policy.onnx")
    for row in np.random.default_rng(1).normal(size=(20, width_of(agent))).astype(np.float32):
        np.testing.assert_allclose(by_jax(row), by_onnx(row), atol=1e-5)
