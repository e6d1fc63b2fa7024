"""`python -m train.backtest`: refusals in one line that leave nothing behind, and a run that is only read."""

import shutil

import numpy as np
import pytest
from backtests import CANDLES, STRATEGIES, backtest

from himari_jax.command import run_command
from himari_jax.errors import InputError
from train.backtest import main as backtest_main
from train.compare import main as compare
from train.config.backtest import parse_span
from train.report import main as report


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Strategies leave their trials in runs/ of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


CONSTANT = "import numpy as np\ndef weights(market):\n    return np.full(market.base.shape, 0.3)\n"
NAN = "import numpy as np\ndef weights(m):\n    w = np.full(m.base.shape, 0.3)\n    w[-50] = np.nan\n    return w\n"
FICKLE = "import numpy as np\ndef weights(market):\n    return np.random.random(market.base.shape) / 2\n"


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
        ("run", ["--span", "yesterday"], 2, "--span yesterday: must be train, val, test, all, or FROM:TO"),
        ("run", ["--window-steps", "5000"], 2, "--window-steps 5000: the span has 575 decisions"),
        ("run", ["--symbols", "SYN1"], 2, "trained on 2 symbols (SYN1 SYN2), given 1 (SYN1)"),
        ("run", ["--source", "sample", "--symbols", "BTC-USD"], 2, "trained on 2 symbols"),
        ("run", ["--costs", "-1"], 2, "--costs -1.0: must be 0 up to 5000"),
        ("run", ["--delays", "0.5"], 2, "--delays"),
        ("run", ["--checkpoint", "77"], 2, "--checkpoint 77:"),
        ("run", ["--baselines", "magic"], 2, "--baselines magic: must be all, none, or some of cash"),
        ("run", ["--kosts", "1"], 2, "did you mean --costs"),
        ("nowhere", [], 2, "no such folder"),
        ("without checkpoint", [], 2, "no checkpoint is there; train it first"),
        ("damaged", [], 4, "damaged"),
        (NAN, CANDLES, 2, "the weight of SYN1 at "),
        (FICKLE, CANDLES, 2, "gives other weights when called again"),
        (CONSTANT.replace("0.3", "0.6"), CANDLES, 2, "sum to 1.2; must be at most 1"),
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
        entry = broken(runs, tmp_path, what)
    elif what == "nowhere":
        entry = tmp_path / "nowhere"
    else:
        entry = tmp_path / "strategy.py"
        entry.write_text(what)
    assert backtest(tmp_path / "out", entry, *args) == code
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_bundle_or_a_folder_of_runs_says_what_to_name_instead(runs, tmp_path, capsys):
    bundle = tmp_path / "bundles" / "base"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text('{"name": "mlp"}')
    for place, says in ((bundle, "a bundle, not a run; name the run that it was exported from, "), (runs, "such as ")):
        for command in (backtest_main, compare, report):
            assert run_command(command, [str(place)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert says in line
            assert line.endswith("mlp" if place == bundle else str(runs / "lstm"))
    shutil.copytree(runs / "mlp", tmp_path / "runs" / "mlp")
    assert run_command(report, [str(bundle)]) == 2
    assert capsys.readouterr().err.endswith(", runs/mlp\n")


def test_a_run_is_only_read(runs, tmp_path):
    def state():
        return {p: p.stat().st_mtime_ns for p in sorted((runs / "mlp").rglob("*"))}

    before = state()
    assert backtest(tmp_path, runs / "mlp", "--costs", 10, "--delays", 0) == 0
    assert state() == before


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
