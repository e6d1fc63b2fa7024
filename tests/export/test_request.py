"""`export.request` writes what the server answers as the run's environment decided, and names commands that work."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from processes import free_port
from serving import ROOT, multipliers, wait_for

from export.request import main
from himari_jax.candles import COLUMNS
from himari_jax.command import run_command
from himari_jax.times import HOUR_MS, iso_second

pytest_plugins = ["server_fixtures"]


def words_of(account):
    """Flags of an account as a request has it."""
    held = [f"{symbol}={x['units']!r}@{x['entry_price']!r}" for symbol, x in account["positions"].items()]
    return ["--equity", repr(account["equity"]), *(["--holding", *held] if held else [])]


def write(folder, bundle, *flags):
    """The body that the command writes."""
    out = folder / "request.json"
    assert run_command(main, [str(bundle), "--out", str(out), *map(str, flags)]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("step", [0, 100, 255])
def test_a_request_of_the_runs_candles_is_answered_as_the_environment_decided(mlp, tmp_path, step):
    mlp.at(step)
    row, account = int(mlp.golden["row"][step]), mlp.account(step)
    until = iso_second(mlp.golden["time"][row] + HOUR_MS)
    body = write(tmp_path, mlp.path, "--until", until, *words_of(account))
    (instance,) = body["instances"]
    assert instance == {"candles": mlp.candles(step, rows=mlp.model.min_candles), "account": account}
    found = mlp.one(instance)
    np.testing.assert_allclose(multipliers(found), mlp.golden["multiplier"][step], rtol=0, atol=1e-6)
    assert found["candle"]["close_time"] == until


def test_without_flags_it_is_the_newest_candle_and_a_flat_account(lstm, tmp_path):
    (instance,) = write(tmp_path, lstm.path)["instances"]
    assert instance["account"] == {"equity": 100_000.0, "positions": {}}
    assert instance["candles"]["SYN2"]["time"][-1] >= lstm.golden["time"][-1]
    lstm.now = instance["candles"]["SYN1"]["time"][-1] + HOUR_MS
    assert lstm.one(instance)["carry"]


def test_candles_of_other_files_are_taken_under_the_models_names(mlp, tmp_path):
    for name, symbol in (("one", "SYN1"), ("two", "SYN2")):
        columns = mlp.candles()[symbol]
        rows = zip(columns["time"], *(columns[x] for x in COLUMNS), strict=True)
        text = "\n".join(",".join(map(repr, row)) for row in rows)
        (tmp_path / f"{name}.csv").write_text(f"timestamp,{','.join(COLUMNS)}\n{text}\n")
    flags = ("--data", tmp_path, "--symbols", "one", "two")
    (instance,) = write(tmp_path, mlp.path, *flags)["instances"]
    assert instance["candles"] == mlp.candles(rows=mlp.model.min_candles)


def test_own_base_positions_are_sent_as_money(mlp, tmp_path):
    (instance,) = write(tmp_path, mlp.path, "--base", "SYN2=0", "SYN1=12500")["instances"]
    assert instance["base_position"] == {"SYN1": 12500.0, "SYN2": 0.0}


def test_the_lines_that_it_prints_can_be_pasted_in_a_folder_with_spaces(bundles, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my desk's"
    shutil.copytree(bundles["mlp"], folder / "a bundle")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "orig_argv", [sys.executable])
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run_command(main, ["a bundle", "--out", "my request.json"]) == 0
    printed = capsys.readouterr().out
    serve, ask = (re.search(rf"^{start}: (.*)$", printed, re.M)[1] for start in ("next", "then, in another terminal"))
    server = subprocess.Popen(f"exec {serve}", shell=True, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: '"model"' in server.stdout.readline())
        if shutil.which("curl") is None:
            pytest.skip("no curl")
        answer = json.loads(subprocess.check_output(ask, shell=True))
    finally:
        server.kill()
        server.wait()
    assert set(answer["predictions"][0]["symbols"]) == {"SYN1", "SYN2"}


@pytest.mark.parametrize(("bars", "needed"), [(2, False), (3, True)])
def test_the_server_is_told_of_old_candles_only_where_they_are_old(mlp, tmp_path, monkeypatch, capsys, bars, needed):
    end = write(tmp_path, mlp.path)["instances"][0]["candles"]["SYN1"]["time"][-1] + HOUR_MS
    capsys.readouterr()
    monkeypatch.setattr("export.request.time.time", lambda: (end + bars * HOUR_MS) / 1000)
    write(tmp_path, mlp.path)
    assert ("--max-age-bars 0" in capsys.readouterr().out) is needed


def test_the_server_is_told_to_take_a_body_that_is_larger_than_it_takes_otherwise(mlp, tmp_path, capsys):
    write(tmp_path, mlp.path)
    assert "--max-body-bytes" not in capsys.readouterr().out
    write(tmp_path, mlp.path, "--bars", "5900")
    size, allowed = (
        (tmp_path / "request.json").stat().st_size,
        capsys.readouterr().out.partition("--max-body-bytes ")[2],
    )
    assert 2**20 < size <= int(allowed.split()[0])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--bars", "399"], "399 bars of"),
        (["--bars", "100000"], "the policy needs 400 or more"),
        (["--until", "2000-01-10"], "216 in a row up to 2000-01-10T00:00Z"),
        (["--until", "1999-01-01"], "the first candle closes at 2000-01-01T01:00Z"),
        (["--until", "noon"], "--until noon"),
        (["--equity", "0"], "--equity 0"),
        (["--holding", "SYN1=3"], "SYMBOL=UNITS@PRICE"),
        (["--holding", "DOGE=3@4"], "SYN1 SYN2"),
        (["--holding", "SYN1=nan@4"], "--holding SYN1=nan@4"),
        (["--base", "SYN1=3"], "each of SYN1 SYN2"),
        (["--base", "SYN1=3", "SYN2=-1"], "--base SYN1=3 SYN2=-1"),
        (["--symbols", "SYN1"], "trained on 2 symbols (SYN1 SYN2), given 1 (SYN1)"),
        (["--bar", "15m"], "15m"),
        (["--calendar", "sessions"], "--calendar sessions"),
        (["--data", "nowhere"], "no such file or folder"),
    ],
)
def test_what_makes_no_request_is_one_line_and_no_file(mlp, tmp_path, monkeypatch, capsys, flags, says):
    monkeypatch.chdir(tmp_path)
    assert run_command(main, [str(mlp.path), *flags]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_requests_are_made_without_jax(bundles, tmp_path):
    code = f"import sys; from export.request import main; main([{str(bundles['mlp'])!r}]); print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert not {name.split(".")[0] for name in run.stdout.split()} & {"jax", "jaxlib", "flax", "orbax"}
