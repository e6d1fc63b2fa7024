"""`python -m train.compare`: paired differences that obey their laws, gates that decide the exit code."""

import json

import numpy as np
import pytest

from himari_jax.command import run_command
from train.backtest import main as backtest
from train.backtesting.comparison import play_baseline, play_sides
from train.backtesting.entries import load_entries
from train.compare import main
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.simulation.play import Cell

HOLD = "import numpy as np\ndef weights(market):\n    return np.full(market.base.shape, {})\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Strategies leave their trials in runs/ of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


def compare(*args):
    """The exit code."""
    return run_command(main, [*map(str, args), "--device", "cpu"])


def written(folder, *args):
    """The comparison as JSON."""
    assert compare(*args, "--out", folder / "found.json") == 0
    return json.loads((folder / "found.json").read_text())


def holding(folder, weight):
    """A strategy that holds a share of equity in each asset."""
    path = folder / f"hold{weight}.py"
    path.write_text(HOLD.format(weight))
    return path


def test_two_runs_swapped_give_the_difference_with_the_other_sign(runs, tmp_path):
    ours = written(tmp_path, runs / "mlp", runs / "lstm")
    theirs = written(tmp_path, runs / "lstm", runs / "mlp")
    assert len(ours["cells"]) == 4 * 3
    for a, b in zip(ours["cells"], theirs["cells"], strict=True):
        assert (a["cost"], a["delay"], a["bars"]) == (b["cost"], b["delay"], b["bars"])
        assert a["difference"]["value"] == pytest.approx(-b["difference"]["value"], abs=1e-12)
        assert a["difference"]["interval"] == pytest.approx([-x for x in b["difference"]["interval"][::-1]], abs=1e-9)
        assert a["difference"]["p"] == pytest.approx(b["difference"]["p"])
        assert a["seeds_better"] == pytest.approx(1 - b["seeds_better"])


def test_a_batched_comparison_equals_one_cell_at_a_time(runs, tmp_path):
    grid = GridConfig(costs=(0.0, 10.0), delays=(0, 2))
    entries = load_entries(
        [str(runs / "mlp"), str(runs / "lstm"), str(holding(tmp_path, 0.2))], EvaluationDataConfig(), grid
    )
    cells = [Cell(0, delay, cost) for delay in (0, 1, 2) for cost in (0.0, 0.001)]
    for entry in entries:
        batched = play_sides(entry, cells)
        assert list(batched) == cells
        for cell in cells:
            alone = play_sides(entry, [cell])[cell]
            np.testing.assert_allclose(batched[cell].returns, alone.returns, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(batched[cell].history.returns, batched[cell].returns[entry.chosen])
            ours, theirs = (play_baseline(entry, sides, "momentum")[cell] for sides in (batched, {cell: alone}))
            np.testing.assert_array_equal(ours.returns, theirs.returns)


def test_what_a_comparison_says_is_what_the_backtest_says(runs, tmp_path):
    assert run_command(backtest, [str(runs / "mlp"), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    best = result["agent"]["sharpe_difference"]["baseline"]
    found = written(tmp_path, runs / "mlp", "--against", best)
    own = next(c for c in found["cells"] if (c["cost"], c["delay"]) == (10, 0))
    # Float32 products round otherwise in batches of another size.
    assert own["a"] == pytest.approx(result["agent"]["sharpe"], abs=1e-3)
    assert own["difference"]["value"] == pytest.approx(result["agent"]["sharpe_difference"]["value"], abs=1e-3)


def test_the_same_strategy_at_twice_the_size_has_the_same_sharpe_without_costs(tmp_path):
    pair = holding(tmp_path, 0.2), holding(tmp_path, 0.4)
    found = written(tmp_path, *pair, "--source", "synthetic", "--costs", 0, "--delays", 0)
    free = next(c for c in found["cells"] if c["cost"] == 0 and c["delay"] == 0)
    # Drift between the fill and the next fill bends returns a little.
    assert free["difference"]["value"] == pytest.approx(0, abs=0.05)
    assert free["difference"]["interval"][0] <= 0.02


GATE = '[[gate]]\nmetric = "{}"\ncomparison = "{}"\nthreshold = {}\n{}\n'


def test_gates_decide_the_exit_code_and_a_pass_inside_the_noise_is_said_to_be_so(tmp_path, capsys):
    args, file = (holding(tmp_path, 0.2), "--source", "synthetic", "--costs", 10, "--delays", 0), tmp_path / "gate.toml"
    sharpe = written(tmp_path, *args)["cells"][0]["a"]
    met = [("sharpe", ">", sharpe - 0.01), ("exposure", "<", 0.5), ("sharpe", ">", -1000), ("max_drawdown", "<", 1.0)]
    missed = [("exposure", ">", 0.5), ("sharpe", ">", 1000)]
    for gates, code in ((met, 0), (met + missed, 1)):
        file.write_text("".join(GATE.format(*gate, "") for gate in gates))
        capsys.readouterr()
        assert compare(*args, "--gate", file) == code
        lines = capsys.readouterr().out.strip().splitlines()[-len(gates) :]
        for gate, line in zip(gates, lines, strict=True):
            assert line.startswith(f"{'PASS' if gate in met else 'FAIL'} {gate[0]}")
            assert "95 % interval" in line
        assert "inside the noise" in lines[0]


def test_a_gate_against_another_run_is_paired(runs, tmp_path, capsys):
    (tmp_path / "gate.toml").write_text(GATE.format("sharpe", ">", -100, 'relative_to = "other"'))
    assert compare(runs / "mlp", runs / "lstm", "--gate", tmp_path / "gate.toml") == 0
    said = capsys.readouterr().out
    assert "sharpe minus the other run's" in said
    assert "at its own cost and delay mlp is " in said  # in a pipe nothing is bold
    assert compare(runs / "mlp", "--gate", tmp_path / "gate.toml") == 2  # no other run


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--against", "magic"], "--against magic: must be one of cash, buy_and_hold"),
        (["--gate", "gold"], "--gate gold: one of base, lstm, multi"),
        (["--gate", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--against", "kelly", "--agianst", "kelly"], "did you mean --against"),
        (["--span", "2031-01-01:2032-01-01"], "no two decisions lie there"),
    ],
)
def test_bad_input_is_one_line(runs, capfd, args, says):
    assert compare(runs / "mlp", *args) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert says in lines[0]


def test_two_runs_and_a_baseline_are_too_many(runs, capfd):
    assert compare(runs / "mlp", runs / "lstm", "--against", "cash") == 2
    assert "--against cash" in capfd.readouterr().err
