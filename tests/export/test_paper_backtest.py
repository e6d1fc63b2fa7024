"""The paper loop's decisions are those of the run's own backtest: a pool by the day, three assets, own positions."""

import json

import numpy as np
import polars as pl
import pytest
from pool_desks import DAILY, WORLD
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.times import HOUR_MS

pytest.importorskip("jax2onnx")
LONG = ["6000" if x == "3000" else x for x in TINY_RUN]
RUNS = {
    "pool": [*WORLD, "--policy", "lstm", *DAILY],
    "three": [*LONG, "--symbols", "SYN1", "SYN2", "SYN3", "--base-sizing", "vol-target", "--commission-rate", "0.002"],
    "same-close": [*LONG, "--symbols", "SYN1", "--fill", "same-close", "--min-trade", "0.02"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_loop_decides_as_the_backtest_did(name, tmp_path):
    from export.bundle import main as export
    from export.paper import main as paper
    from export.replay import main as replay
    from train.ppo import main as train

    run, bundle, log = (str(tmp_path / x) for x in ("run", "bundle", "log.jsonl"))
    assert run_command(train, [*RUNS[name], "--run-dir", run]) == 0
    assert run_command(export, [run, "--out", bundle]) == 0
    frame = pl.read_parquet(tmp_path / "run" / "equity.parquet")
    step = 24 if name == "pool" else 1
    closes = frame["time"].dt.epoch("ms").to_numpy()
    begin = str(np.datetime64(int(closes[0]) - 1, "ms"))
    assert run_command(paper, [bundle, "--simulate", "--begin", begin, "--log", log, "--quiet"]) == 0
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    bars = {record["time"] + HOUR_MS: record for record in records if record["kind"] == "bar"}
    lanes, compared, largest = records[0]["lanes"], 0, 0.0
    for row in frame[::step].iter_rows(named=True):
        record = bars[int(row["time"].timestamp() * 1000)]
        for symbols, lane in zip(lanes, record["lanes"], strict=True):
            for n, symbol in enumerate(symbols):
                said = row[f"multiplier_{symbol}"]
                if said is not None and not np.isnan(said):
                    largest = max(largest, abs(lane["multiplier"][n] - said))
                    np.testing.assert_allclose(lane["base"][n], row[f"base_{symbol}"], atol=1e-6)
                    compared += 1
    assert compared >= len(frame) // step
    assert largest < 1e-6
    print(f"{name}: {compared} multipliers, largest difference {largest:.1e}")
    assert run_command(replay, [log, bundle]) == 0
