"""The paper loop's decisions are those of the run's own backtest: a pool by the day, three assets, sessions, kelly."""

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
    "kelly": [*LONG, "--symbols", "SYN1", "--base-sizing", "kelly"],
    "sessions": [*LONG[4:], "--symbols", "ABC", "--calendar", "sessions", "--bar", "1h", "--data"],
    "same-close": [*LONG, "--symbols", "SYN1", "--fill", "same-close", "--min-trade", "0.02"],
}


def write_sessions(path, bars=6000):
    """Seven hours of each weekday, which begin an hour earlier in summer."""
    days = np.arange("2020-01-06", "2025-01-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    month = days.astype("datetime64[M]").astype(int) % 12 + 1
    opens = days.astype("datetime64[h]") + np.where((month >= 4) & (month <= 10), 13, 14)
    time = (opens[:, None] + np.arange(7)).ravel()[:bars].astype("datetime64[s]")
    close = 100 * np.exp(np.random.default_rng(0).normal(0, 0.005, bars).cumsum())
    start = np.concatenate([[100.0], close[:-1]])
    high, low = 1.001 * np.maximum(start, close), 0.999 * np.minimum(start, close)
    columns = {"open": start, "high": high, "low": low, "close": close, "volume": 1 + 0.5 * np.sin(np.arange(bars))}
    pl.DataFrame({"timestamp": [f"{moment}Z" for moment in time], **columns}).write_csv(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_loop_decides_as_the_backtest_did(name, tmp_path, capsys):
    from export.bundle import main as export
    from export.paper import main as paper
    from export.replay import main as replay
    from train.ppo import main as train

    run, bundle, log = (str(tmp_path / x) for x in ("run", "bundle", "log.jsonl"))
    write_sessions(tmp_path / "ABC.csv")
    data = [str(tmp_path / "ABC.csv")] if name == "sessions" else []
    assert run_command(train, [*RUNS[name], *data, "--run-dir", run]) == 0
    assert run_command(export, [run, "--out", bundle]) == 0
    frame = pl.read_parquet(tmp_path / "run" / "equity.parquet")
    step = 24 if name == "pool" else 1
    closes = frame["time"].dt.epoch("ms").to_numpy()
    begin = str(np.datetime64(int(closes[0]) - 1, "ms"))
    capsys.readouterr()
    assert run_command(paper, [bundle, "--simulate", "--begin", begin, "--log", log, "--quiet"]) == 0
    assert ("remembers every candle" in capsys.readouterr().out) == (name == "kelly")
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    bars = {record["time"] + HOUR_MS: record for record in records if record["kind"] == "bar"}
    lanes, compared, largest = records[0]["lanes"], 0, 0.0
    for row in frame[::step].iter_rows(named=True):
        record = bars[int(row["time"].timestamp() * 1000)]
        for symbols, lane in zip(lanes, record["lanes"], strict=True):
            for n, symbol in enumerate(symbols):
                wanted = row[f"multiplier_{symbol}"]
                if wanted is not None and not np.isnan(wanted):
                    largest = max(largest, abs(lane["multiplier"][n] - wanted))
                    np.testing.assert_allclose(lane["base"][n], row[f"base_{symbol}"], atol=1e-6)
                    compared += 1
    assert compared >= len(frame) // step
    assert largest < 1e-6
    print(f"{name}: {compared} multipliers, largest difference {largest:.1e}")
    assert run_command(replay, [log, bundle]) == 0
