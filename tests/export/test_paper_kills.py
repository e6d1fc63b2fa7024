"""Hundreds of bars from a faulty exchange, killed again and again: nothing is lost, doubled or decided otherwise."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from paper import Exchange, Paper

from export.live.desk import base_by
from export.live.log import read_log
from export.live.replay import Source, compare
from himari_jax.times import HOUR_MS

pytest_plugins = ("server_fixtures",)
pytest.importorskip("jax2onnx")
pytest.importorskip("ccxt")
ROOT = Path(__file__).parents[2]
BARS, KILLS = 500, 30


def write_candles(path, bundle):
    """The golden candles and enough made ones after them, as an exchange would tell them."""
    exchange, rng = Exchange(bundle), np.random.default_rng(0)
    columns = {}
    for symbol, market in zip(("SYN1", "SYN2"), ("BTC-USDT", "ETH-USDT"), strict=True):
        rows = [list(exchange.versions[symbol, time][0][1][1:]) for time in exchange.time]
        while len(rows) < exchange.first + BARS + 50:
            start, close = rows[-1][4], rows[-1][4] * float(np.exp(rng.normal(0, 0.01)))
            high, low = 1.002 * max(start, close), 0.998 * min(start, close)
            rows.append([rows[-1][0] + HOUR_MS, start, high, low, close, float(rng.uniform(10, 1000))])
        gaps = set(rng.choice(np.arange(exchange.first + 50, len(rows) - 60), 5, replace=False).tolist())
        columns[market] = np.array([row for k, row in enumerate(rows) if k not in gaps])
    np.savez(path, begin=exchange.at(0) + HOUR_MS - 1, **columns)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_kills_lose_and_double_nothing(bundles, name, tmp_path):
    write_candles(tmp_path / "candles.npz", bundles[name])
    log, chance, kills = tmp_path / "log.jsonl", random.Random(0), 0
    command = [sys.executable, str(ROOT / "tests" / "support" / "paper_process.py"), str(bundles[name])]
    command += [str(tmp_path / "candles.npz"), str(log), str(BARS), "binance"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    while True:
        process = subprocess.Popen(
            [*command, str(kills)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}, text=True
        )
        if kills < KILLS:
            for _ in range(chance.randrange(1, 1 + 2 * BARS // (3 * KILLS))):
                process.stdout.readline()
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    records = read_log(log)
    bars = [record for record in records if record["kind"] == "bar"]
    assert kills == KILLS
    assert [record["time"] for record in bars] == [bars[0]["time"] + k * HOUR_MS for k in range(len(bars))]
    assert len(bars) >= BARS
    model = Paper(bundles[name], tmp_path).model
    parity = compare(Source(records, {model.digest: model}, {model.digest: base_by(model)}))
    assert parity.differences == 0
    assert parity.decisions > 0.9 * BARS
    assert sum(record["revised"] for record in bars) > 10
    skipped = sum("skipped" in record["lanes"][0] for record in bars)
    counts = {name: sum(record[name] for record in bars) for name in ("revised", "failures", "late")}
    print(f"{kills} kills, {len(bars)} bars, {parity.decisions} decisions, {skipped} skipped, {counts}")
