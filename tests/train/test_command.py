"""`python -m train.ppo` from outside: what a run folder holds, what is printed."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
from commands import ROOT, TINY, command

from himari_jax.sources.synthetic import Options
from train.config.serialize import from_json

pytest_plugins = ["finished_run"]

BASELINES = [
    "cash", "buy_and_hold", "equal_weight", "base", "vol_target", "kelly", "momentum", "trend", "random",
    "constant",
]  # fmt: skip


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
    assert len(frame) == 575


def test_candles_and_weights_alone_reproduce_the_equity(finished):
    from himari_jax.sources import synthetic
    from himari_jax.sources.request import SourceRequest

    raws = synthetic.load(SourceRequest(("SYN1", "SYN2"), options=Options(num_bars=3000)))
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


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path):
    words = " ".join([sys.executable, "-m", "train.ppo", *TINY, "--run-dir", str(tmp_path / "run")])
    subprocess.run(["bash", "-c", f"{words} | head -1"], cwd=ROOT, capture_output=True, timeout=120, check=True)
    assert (tmp_path / "run" / "result.json").exists()


def test_brackets_in_names_are_printed_as_they_are(tmp_path, capsys):
    folder = tmp_path / "[/red][v2]"
    assert command(folder) == 0
    assert "[/red][v2]/report.html" in capsys.readouterr().out.replace("\n", "")
