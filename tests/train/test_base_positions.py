"""A desk's own base positions on their way from a file through training, backtest and bundle to the server."""

import json

import numpy as np
import polars as pl
import pytest
from serving import Desk
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.positions.own_positions import hold, read_own_positions
from train.backtest import main as backtest
from train.config.serialize import config_hash, from_json, to_json
from train.data.base import idle_lines, idle_shares
from train.data.loading import checked, load_raw
from train.ppo import main as train
from train.training.resume import parse_flags

WORLD = [*("6000" if x == "3000" else x for x in TINY_RUN), "--symbols", "SYN1", "SYN2"]
DAY = 86_400_000
LOST = 30  # decisions of the training span before the file begins


def world():
    """The candles of WORLD."""
    config = parse_flags(WORLD, None)
    return checked(load_raw(config.data, config.source_options), config.data)[0]


def write_base(path, candles, seed=0, **changes):
    """A row a day with chance shares; the first is of the decision LOST of training."""
    time = (candles.time + candles.bar_ms)[400 + LOST :: 24]
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0, 0.6, (len(time), 2)) * (rng.random((len(time), 2)) > 0.2)
    pl.DataFrame({"timestamp": time, "SYN2": shares[:, 1], "SYN1": shares[:, 0], **changes}).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the file of a desk, an mlp and an lstm run on it, and their bundles; only to be read."""
    pytest.importorskip("jax2onnx", reason="a bundle is made by the extra export")
    from export.bundle import main as export

    folder = tmp_path_factory.mktemp("desk")
    path = write_base(folder / "own.parquet", world(), note=0)
    for name in ("mlp", "lstm"):
        args = [*WORLD, "--policy", name, "--base-positions", str(path), "--run-dir", str(folder / name)]
        assert run_command(train, args) == 0
        assert run_command(backtest, [str(folder / name), "--device", "cpu"]) == 0
        assert run_command(export, [str(folder / name), "--out", str(folder / f"{name}-bundle")]) == 0
    return folder


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_own_base_positions_travel_from_the_file_to_the_accounts_of_training_and_backtest(trained, name):
    candles = world()
    base = hold(read_own_positions(trained / "own.parquet", candles.symbols, 7 * DAY), candles)
    for place in (trained / name, trained / name / "backtest"):
        frame = pl.read_parquet(place / "equity.parquet")
        if "policy" in frame.columns:
            frame = frame.filter((pl.col("policy") == name) & (pl.col("delay") == 0) & (pl.col("cost") == 10))
        rows = np.searchsorted(candles.time + candles.bar_ms, frame["time"].dt.epoch("ms").to_numpy())
        for n, symbol in enumerate(candles.symbols):
            if f"base_{symbol}" in frame.columns:
                np.testing.assert_allclose(frame[f"base_{symbol}"].to_numpy(), base[rows, n], rtol=1e-6)
            idle = base[rows, n] == 0
            assert idle.any()
            assert (frame[f"weight_{symbol}"].to_numpy()[idle] < 1e-6).all()


def test_the_run_says_what_it_was_trained_on_and_where_the_multiplier_is_idle(trained):
    stored = json.loads((trained / "mlp" / "config.json").read_text())
    report = json.loads((trained / "mlp" / "data_report.json").read_text())
    result = json.loads((trained / "mlp" / "result.json").read_text())
    own = read_own_positions(trained / "own.parquet", ("SYN1", "SYN2"), 7 * DAY)
    assert stored["data"]["base_sha256"] == own.sha256 == report["base"]["sha256"]
    assert report["base"] == result["base"]
    assert set(result["base"]["idle"]) == {"train", "val", "test"}
    found = {entry["kind"]: entry for entry in report["findings"]}
    assert found["base unknown"]["count"] == LOST + 1  # and the row whose decision a bar later would not know it
    assert "note" in found["extra columns"]["detail"]
    page = (trained / "mlp" / "report.html").read_text()
    assert own.sha256[:12] in page
    assert "cannot say what the file knew" in page


def test_no_doubt_is_added_for_base_positions_from_a_file(trained):
    result = json.loads((trained / "mlp" / "backtest" / "result.json").read_text())
    assert result["doubts"] == []
    audit = next(audit for audit in result["audits"] if audit["name"] == "causality")
    assert audit["passed"]


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_a_bundle_of_own_base_positions_asks_for_them_and_multiplies_them(trained, name):
    manifest = json.loads((trained / f"{name}-bundle" / "manifest.json").read_text())
    assert manifest["sizing"]["base_sizing"] == "file"
    desk = Desk(trained / f"{name}-bundle")
    for instance in (desk.asked(), desk.seen()):
        status, answer = desk.predict(instance)
        assert (status, answer["error"]["field"]) == (400, "instances[0].base_position")
        assert "file" in answer["error"]["message"]
    base = {"SYN1": 1e4, "SYN2": 2e4}
    found = desk.one(desk.asked(base_position=base))["symbols"]
    for symbol, money in base.items():
        assert found[symbol]["position"] == pytest.approx(min(money * found[symbol]["multiplier"], 5e4))
    status, _ = desk.predict(desk.asked(base_position=base | {"SYN1": -1.0}))
    assert status == 400


def test_another_file_is_another_configuration_and_no_run_goes_on_with_it(trained, tmp_path, capsys):
    other = write_base(tmp_path / "own.parquet", world(), seed=1)
    moved = tmp_path / "moved.parquet"
    moved.write_bytes((trained / "own.parquet").read_bytes())
    args = [*WORLD, "--run-dir", str(trained / "mlp")]
    assert run_command(train, [*args, "--base-positions", str(moved)]) == 0  # the same file elsewhere
    assert run_command(train, [*args, "--base-positions", str(other)]) == 2
    assert "not the file that the run there was started with" in capsys.readouterr().err
    assert run_command(train, args) == 2
    assert "no file" in capsys.readouterr().err
    config = from_json(json.loads((trained / "mlp" / "config.json").read_text())["flags"])
    assert len({config_hash(config), config_hash(config, "a"), config_hash(config, "b")}) == 3


def test_a_backtest_takes_other_base_positions_only_where_they_are_named(trained, tmp_path, capsys):
    import shutil

    shutil.copytree(trained / "mlp", tmp_path / "mlp")
    stored = json.loads((tmp_path / "mlp" / "config.json").read_text())
    other = write_base(tmp_path / "own.parquet", world(), seed=1)
    stored["flags"]["market"]["base_positions"] = str(other)
    (tmp_path / "mlp" / "config.json").write_text(json.dumps(stored))
    args = [str(tmp_path / "mlp"), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert run_command(backtest, args) == 2
    assert "changed since" in capsys.readouterr().err
    assert run_command(backtest, [*args, "--base-positions", str(other)]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["base"]["file"] == str(other)


def test_own_base_positions_need_a_run_that_has_some(runs, capsys):
    assert run_command(backtest, [str(runs / "mlp"), "--device", "cpu", "--base-positions", "x.csv"]) == 2
    assert "no run here was trained with own base positions" in capsys.readouterr().err


REFUSED = {
    "--base-sizing kelly --base-positions x.csv": "there is one base",
    "--base-sizing constant --base-positions x.csv": "there is one base",
    "--base-positions x.csv --base-max-age 3": "--base-max-age 3",
    "--base-max-age 3d": "--base-positions",
    "--base-positions nowhere.csv": "no such file",
}


@pytest.mark.parametrize(("args", "said"), REFUSED.items())
def test_flags_of_the_base_that_do_not_fit_are_one_line(args, said, tmp_path, capsys):
    assert run_command(train, [*WORLD, "--run-dir", str(tmp_path / "run"), *args.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "run").exists()


def test_a_file_that_begins_after_a_span_is_refused(tmp_path, capsys):
    candles = world()
    late = (candles.time + candles.bar_ms)[4000::24]
    path = tmp_path / "own.csv"
    pl.DataFrame({"timestamp": late, "SYN1": 0.1, "SYN2": 0.1}).write_csv(path)
    args = [*WORLD, "--run-dir", str(tmp_path / "run"), "--base-positions", str(path)]
    assert run_command(train, args) == 2
    assert "the train span has no two decisions" in capsys.readouterr().err
    assert run_command(train, [*args, "--base-max-age", "2h"]) == 2
    assert "more than 2 h after the row" in capsys.readouterr().err


def test_a_flag_of_the_base_beside_a_file_of_settings_replaces_what_the_file_says(tmp_path):
    from train.training.resume import read_flags

    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"market": {"base_sizing": "kelly"}}))
    config, _ = read_flags(["--config", str(path), "--base-positions", "own.csv", "--base-max-age", "1d"])
    assert (config.market.sizing, config.market.base_max_age) == ("file", "1d")
    path.write_text(json.dumps({"market": {"base_positions": "own.csv", "base_max_age": "1d"}}))
    config, _ = read_flags(["--config", str(path), "--base-sizing", "kelly"])
    assert config.market.sizing == "kelly"


def test_a_run_of_before_keeps_its_constant_base_and_its_hash():
    config = parse_flags(["--symbols", "A", "B", "C", "--source", "synthetic"], None)
    values = to_json(config)
    for name in ("base_positions", "base_max_age"):
        del values["market"][name]
    assert from_json(values) == config
    values["data"]["symbols"] = ["A", "B", "C", "D"]
    assert from_json(values).market.base_sizing == "constant-on-cap"


def test_idle_shares_are_counted_by_span_and_symbol_and_told_above_a_tenth():
    base = np.array([[0.0, 0.1], [0.5, 0.1], [0.6, 0.1], [0.2, np.nan]], np.float32)
    spans = {"train": (range(3),), "test": (range(1, 3),)}
    shares = idle_shares(base, spans, ("A", "B"), 0.5)
    assert shares["train"]["A"] == {"zero": pytest.approx(1 / 3), "at_cap": pytest.approx(2 / 3)}
    assert shares["test"]["A"] == {"zero": 0.0, "at_cap": 1.0}
    assert shares["train"]["B"] == shares["test"]["B"] == {"zero": 0.0, "at_cap": 0.0}
    (line,) = idle_lines({"sizing": "kelly", "cap": 0.5, "idle": shares})
    for word in ("A: the base position (kelly)", "33% of train", "67% of train", "100% of test", "0.5"):
        assert word in line
