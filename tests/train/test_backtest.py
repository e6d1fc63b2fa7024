"""`python -m train.backtest`: one account whatever the batch, files that agree, refusals that leave nothing behind."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from worlds import TINY_RUN as TINY

from envs.market import build_market, to_device
from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.plugins import BASELINES
from train.backtest import main
from train.backtesting.entries import enter
from train.backtesting.grid import Windows, cut_windows
from train.config.backtest import EvaluationDataConfig, GridConfig, parse_span
from train.ppo import main as train_main
from train.simulation import simulator
from train.simulation.engine import Limits, courses, make_lanes, make_tape, run_policy
from train.simulation.simulator import Cell, play_policies
from train.simulation.trained import load_agent

STRATEGIES = Path(__file__).parents[1] / "support" / "strategies"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Strategies leave their trials in runs/ of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


def backtest(out, *args):
    """The exit code."""
    return run_command(main, [*map(str, args), "--out", str(out), "--device", "cpu"])


@pytest.fixture(scope="module")
def done(runs, tmp_path_factory):
    """A backtest of a run on its own test span."""
    out = tmp_path_factory.mktemp("out") / "whole"
    assert backtest(out, runs / "lstm") == 0
    return out


def grid_of(out):
    return pl.read_parquet(out / "backtest.parquet")


def read(path):
    return json.loads(path.read_text())


def test_on_its_own_test_span_a_backtest_says_what_the_run_said(runs, done):
    ours, theirs = read(done / "result.json"), read(runs / "lstm" / "result.json")
    for name in ("sharpe", "max_drawdown", "turnover", "win_rate_trip", "final_equity", "sharpe_interval"):
        assert ours["agent"][name] == theirs["agent"][name], name
    for name, block in theirs["baselines"].items():
        assert ours["baselines"][name] == block, name
    assert ours["chosen_seed"] == theirs["chosen_seed"]
    assert ours["verdict"] == theirs["verdict"]
    own = pl.read_parquet(done / "equity.parquet").filter(
        (pl.col("seed") == ours["chosen_seed"]) & (pl.col("cost") == 10) & (pl.col("delay") == 0)
    )
    before = pl.read_parquet(runs / "lstm" / "equity.parquet")
    assert own.select(before.columns).equals(before)


def test_there_is_a_row_for_every_policy_window_cost_and_delay(done):
    grid = grid_of(done)
    cells = 4 * 3  # costs x delays
    assert grid.filter(pl.col("policy") == "lstm").height == 2 * cells
    for name in BASELINES.names:
        assert grid.filter(pl.col("policy") == name).height == cells
    assert grid.select("policy", "seed", "window", "cost", "delay").is_unique().all()
    equity = pl.read_parquet(done / "equity.parquet")
    assert equity.height == 2 * cells * 199
    last = equity.group_by("seed", "cost", "delay").last().sort("seed", "cost", "delay")
    agents = grid.filter(pl.col("policy") == "lstm").sort("seed", "cost", "delay")
    np.testing.assert_allclose(last["equity"], agents["final_equity"], rtol=1e-12)
    others = grid.filter(pl.col("policy") == "kelly").sort("cost", "delay")
    np.testing.assert_allclose(last["baseline_kelly"][:cells], others["final_equity"], rtol=1e-12)


def test_cost_takes_from_the_same_orders_and_delay_moves_them(done):
    grid = grid_of(done).filter(pl.col("policy") == "momentum").sort("delay", "cost")
    finals = grid["final_equity"].to_numpy().reshape(3, 4)
    assert (np.diff(finals, axis=1) < 0).all()
    assert len(np.unique(finals[:, 0])) == 3
    still = grid_of(done).filter(pl.col("policy") == "equal_weight").sort("delay", "cost")
    assert len(still["final_equity"].unique()) == 4  # nothing to be late with


def one_by_one(agent, candles, span, cell, steps):
    """The course of each seed in a cell, played alone on a market that is late itself."""
    config = agent.config.market
    market = build_market(candles, config.base_sizing, None, config.fill, cell.delay)
    tape = make_tape(to_device(market), span)
    limits = Limits.of(config)
    lanes = make_lanes([cell.start], [0], [cell.rate])
    path = run_policy(agent.policy, steps, agent.variables, tape, lanes, limits)
    for k in range(2):
        one = jax.tree.map(lambda x, k=k: np.asarray(x[k]), path)
        yield next(courses(one, tape, np.array([cell.start]), np.array([cell.rate])))


@pytest.mark.parametrize("name", ["mlp", "lstm"])
@pytest.mark.parametrize("memory", [2**28, 1])
def test_a_batch_of_cells_is_what_each_is_alone_however_it_is_cut(runs, monkeypatch, name, memory):
    monkeypatch.setattr(simulator, "BATCH_BYTES", memory)
    (member,) = enter([str(runs / name)], EvaluationDataConfig(), GridConfig())
    agent, stage = member.source, member.stage
    cells = [Cell(start, delay, rate) for start in (0, 60, 99) for delay in (0, 2) for rate in (0.0, 0.002)]
    found = {}
    for k, played in play_policies(stage, agent.policy, agent.variables, 1, cells, 100):
        assert k == 1 or all((1, index) in found for index, _ in played)  # the one that was asked for comes first
        found |= {(k, index): course for index, course in played}
    assert set(found) == {(k, index) for k in range(2) for index in range(12)}
    for index in range(0, 12, 3):
        for k, theirs in enumerate(one_by_one(agent, stage.candles, stage.span, cells[index], 100)):
            np.testing.assert_allclose(found[k, index].returns, theirs.returns, rtol=0, atol=1e-6)
            np.testing.assert_allclose(found[k, index].held, theirs.held, rtol=0, atol=1e-5)


def test_a_window_begins_and_ends_in_cash(runs, tmp_path):
    assert backtest(tmp_path, runs / "mlp", "--windows", 5, "--window-steps", 60, "--costs", 0, "--delays", 0) == 0
    equity = pl.read_parquet(tmp_path / "equity.parquet").filter((pl.col("delay") == 0) & (pl.col("cost") == 10))
    for _, part in equity.group_by("seed", "window"):
        part = part.sort("time")
        assert part.height == 60
        assert part["liquidated"].sum() == 1
        assert part["liquidated"][-1]
    starts = equity.group_by("window").agg(pl.col("time").min()).sort("window")["time"].to_list()
    whole = read(tmp_path / "result.json")
    assert starts[0].strftime("%Y-%m-%dT%H:%M:%SZ") == whole["spans"]["test"][0][0]
    assert equity["time"].max().strftime("%Y-%m-%dT%H:%M:%SZ") == whole["spans"]["test"][-1][1]
    assert whole["windows"] == {"number": 5, "steps": 60}


def test_windows_touch_both_ends_and_have_one_length():
    assert cut_windows(100, None, None) == Windows((0,), 100)
    assert cut_windows(100, 4, None).starts == (0, 25, 50, 75)
    assert cut_windows(100, None, 30).starts == (0, 35, 70)
    assert cut_windows(100, 3, 50).starts == (0, 25, 50)
    with pytest.raises(InputError, match="--window-steps 101: the span has 100"):
        cut_windows(100, None, 101)
    with pytest.raises(InputError, match="--windows 52: only 51 of 50 bars begin in 100 decisions"):
        cut_windows(100, 52, 50)
    with pytest.raises(InputError, match="--windows 51"):
        cut_windows(100, 51, None)


def test_judging_again_adds_no_trial(runs, tmp_path):
    def count():
        return len((runs / "trials.jsonl").read_text().splitlines())

    assert backtest(tmp_path / "a", runs / "mlp") == 0
    before = count()
    assert backtest(tmp_path / "b", runs / "mlp", "--costs", 50) == 0
    assert count() == before
    assert backtest(tmp_path / "c", runs / "mlp", "--checkpoint", "latest") == 0
    assert count() == before + 2  # other parameters, two seeds
    assert read(tmp_path / "c" / "result.json")["trials"] == read(tmp_path / "a" / "result.json")["trials"] + 2


def test_bars_that_training_may_have_seen_can_show_no_edge(runs, tmp_path):
    assert backtest(tmp_path, runs / "mlp", "--span", "train") == 0
    found = read(tmp_path / "result.json")
    assert found["verdict"]["word"] != "EDGE"
    (member,) = enter([str(runs / "mlp")], EvaluationDataConfig(span="all"), GridConfig())
    assert "training may have known them" in member.doubts[0]
    (member,) = enter([str(runs / "mlp")], EvaluationDataConfig(), GridConfig())
    assert member.doubts == ()


def test_candles_that_it_never_saw(runs, tmp_path):
    other = ["--synthetic.seed", "5"]
    assert run_command(train_main, [*TINY, "--run-dir", str(tmp_path / "x"), "--symbols", "SYN1", "SYN2", *other]) == 0
    folder = tmp_path / "files"
    folder.mkdir()
    (member,) = enter([str(tmp_path / "x")], EvaluationDataConfig(span="all"), GridConfig())
    for n, symbol in enumerate(("ELSE1", "ELSE2")):
        columns = {k: getattr(member.stage.candles, k)[:, n] for k in ("open", "high", "low", "close", "volume")}
        stamp = pl.Series(member.stage.candles.time).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        pl.DataFrame({"timestamp": stamp, **columns}).write_parquet(folder / f"{symbol}.parquet")
    args = ["--data", folder, "--symbols", "ELSE1", "ELSE2"]
    assert backtest(tmp_path / "out", runs / "mlp", *args) == 0
    found = read(tmp_path / "out" / "result.json")
    assert found["symbols"] == ["ELSE1", "ELSE2"]
    assert found["fingerprint"] != read(runs / "mlp" / "result.json")["fingerprint"]


CONSTANT = "import numpy as np\ndef weights(market):\n    return np.full(market.base.shape, 0.3)\n"
NAN = "import numpy as np\ndef weights(m):\n    w = np.full(m.base.shape, 0.3)\n    w[-50] = np.nan\n    return w\n"
FICKLE = "import numpy as np\ndef weights(market):\n    return np.random.random(market.base.shape) / 2\n"
CANDLES = ["--source", "synthetic", "--symbols", "SYN1", "SYN2"]


def test_a_function_and_a_file_of_the_same_weights_play_alike(runs, tmp_path):
    rule = "def weights(market, candles):\n    return 0.4 * (market.features[..., 3] > 0)\n"
    (tmp_path / "rule.py").write_text(rule)
    (member,) = enter([str(tmp_path / "rule.py")], EvaluationDataConfig(source="synthetic"), GridConfig())
    stage = member.stage
    stamp = pl.Series(stage.candles.time + stage.candles.bar_ms).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    wanted = pl.Series(stage.rules["rule"][:, 0])
    pl.DataFrame({"time": stamp, "weight_SYN1": wanted}).write_parquet(tmp_path / "kept.parquet")
    args = [tmp_path / "rule.py", tmp_path / "kept.parquet", "--source", "synthetic"]
    assert backtest(tmp_path / "out", *args) == 0
    grid = grid_of(tmp_path / "out").sort("cost", "delay")
    ours, theirs = (grid.filter(pl.col("policy") == name) for name in ("rule", "kept"))
    assert ours.drop("policy").equals(theirs.drop("policy"))
    assert ours.height == 12
    found = read(tmp_path / "out" / "result-kept.json")
    assert found["verdict"]["word"] != "EDGE"
    assert {a["name"]: a["passed"] for a in found["audits"]}["causality"] is None
    assert (tmp_path / "out" / "report-kept.html").exists()


def test_several_policies_are_judged_together(runs, tmp_path):
    assert backtest(tmp_path, runs / "mlp", runs / "lstm", "--delays", 0, "--costs", 10, "--equity", "own") == 0
    found = read(tmp_path / "result.json")
    assert found["many"]["policies"] == 4
    assert 0 < found["many"]["spa_pvalue"] <= 1
    assert [one["name"] for one in found["policies"]] == ["mlp", "lstm"]
    assert read(tmp_path / "result-lstm.json")["name"] == "lstm"
    grid = grid_of(tmp_path)
    assert grid.select("policy", "seed", "window", "cost", "delay").is_unique().all()
    assert {"constant", "constant of lstm", "random of lstm"} <= set(grid["policy"])
    equity = pl.read_parquet(tmp_path / "equity.parquet")
    assert set(equity["cost"]) == {10.0}
    assert set(equity["delay"]) == {0}


def test_the_known_leak_one_bar_later_has_no_edge(tmp_path):
    leak = STRATEGIES / "known_leak.py"
    assert backtest(tmp_path, leak, "--source", "synthetic", "--delays", 1, 2) == 0
    found = read(tmp_path / "result.json")
    assert found["verdict"]["word"] in ("NO EDGE", "INCONCLUSIVE")
    assert {a["name"]: a["passed"] for a in found["audits"]}["causality"] is True


def broken(runs, folder, name):
    """A copy of a run with something wrong."""
    copy = folder / "run"
    shutil.copytree(runs / "mlp", copy)
    if name == "without checkpoint":
        shutil.rmtree(copy / "checkpoints")
    elif name == "damaged":
        for path in (copy / "checkpoints").rglob("*"):
            if path.is_file() and path.stat().st_size > 2000:
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 255
                path.write_bytes(bytes(data))
    return copy


@pytest.mark.parametrize(
    ("what", "args", "code", "says"),
    [
        ("run", ["--span", "2040-01-01:"], 2, "--span 2040-01-01:: no two decisions lie there"),
        ("run", ["--span", "yesterday"], 2, "--span yesterday: allowed are train, val, test, all, or FROM:TO"),
        ("run", ["--window-steps", "5000"], 2, "--window-steps 5000: the span has 199 decisions"),
        ("run", ["--symbols", "SYN1"], 2, "trained on 2 symbols (SYN1 SYN2), given 1 (SYN1)"),
        ("run", ["--source", "sample", "--symbols", "BTC-USD"], 2, "trained on 2 symbols"),
        ("run", ["--costs", "-1"], 2, "--costs -1.0: allowed is 0 up to 5000"),
        ("run", ["--delays", "0.5"], 2, "--delays"),
        ("run", ["--checkpoint", "77"], 2, "--checkpoint 77:"),
        ("run", ["--baselines", "magic"], 2, "--baselines magic: allowed is all, none, or some of cash"),
        ("run", ["--kosts", "1"], 2, "did you mean --costs"),
        ("nowhere", [], 2, "no such folder"),
        ("without checkpoint", [], 2, "no checkpoint is there; train it first"),
        ("damaged", [], 4, "damaged"),
        (NAN, CANDLES, 2, "the weight of SYN1 at "),
        (FICKLE, CANDLES, 2, "gives other weights when called again"),
        (CONSTANT.replace("0.3", "0.6"), CANDLES, 2, "sum to 1.2; allowed: at most 1"),
        (CONSTANT.replace("0.3", "-0.1"), CANDLES, 2, "is -0.1"),
        (CONSTANT.replace("market.base.shape", "3"), CANDLES, 2, "gave the shape (3,)"),
        (CONSTANT.replace("np.full", "np.fool"), CANDLES, 2, "weights() failed: AttributeError"),
        ("def other(): pass", CANDLES, 2, "needs a function weights(market)"),
        ("1 +", CANDLES, 2, "cannot be run: SyntaxError"),
        ((STRATEGIES / "known_leak.py").read_text(), CANDLES, 2, "the audit of causality failed"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_report(runs, tmp_path, capfd, what, args, code, says):
    if what in ("run", "without checkpoint", "damaged"):
        entrant = broken(runs, tmp_path, what)
    elif what == "nowhere":
        entrant = tmp_path / "nowhere"
    else:
        entrant = tmp_path / "strategy.py"
        entrant.write_text(what)
    assert backtest(tmp_path / "out", entrant, *args) == code
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_run_is_only_read(runs, tmp_path):
    def state():
        return {p: p.stat().st_mtime_ns for p in sorted((runs / "mlp").rglob("*"))}

    before = state()
    assert backtest(tmp_path, runs / "mlp", "--costs", 10, "--delays", 0) == 0
    assert state() == before


def test_the_checkpoint_says_which_parameters(runs):
    best, latest = (load_agent(runs / "mlp", which) for which in ("best", "latest"))
    assert best.digest != latest.digest
    steps = sorted(int(p.name) for p in (runs / "mlp" / "checkpoints").iterdir() if p.name.isdigit())
    named = load_agent(runs / "mlp", str(steps[-1]))
    for ours, theirs in zip(jax.tree.leaves(named.variables), jax.tree.leaves(latest.variables), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert best.seeds == [0, 1]


@pytest.mark.parametrize("text", ["2024-01-01:2024-06-30", ":2024-06-30", "2024-01-01:", "2024-01-01T05:00:2024-02-01"])
def test_spans_of_times(text):
    begin, end = parse_span(text)
    assert begin < end
    if text == "2024-01-01:2024-06-30":
        assert begin == np.datetime64("2024-01-01", "ms").astype(int)
        assert end == np.datetime64("2024-07-01", "ms").astype(int) - 1  # the whole of the last day, no bar of the next


@pytest.mark.parametrize("text", ["", ":", "a:b", "2024-06-30:2024-01-01", "2024"])
def test_spans_that_are_none(text):
    with pytest.raises(InputError, match="--span"):
        parse_span(text)
