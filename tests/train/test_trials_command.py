"""`python -m train.trials`, and `--ledger` of the commands that evaluate."""

import json
import re

import pytest
from backtests import CANDLES, backtest, read
from ledgers import luck, note, note_seeds, write_old
from worlds import TINY_RUN

from himari_jax.command import run_command
from train.artifacts.run_folder import stored_json
from train.compare import main as compare_main
from train.evaluation.ledger import open_ledger
from train.ppo import main as train_main
from train.trials import main

pytest_plugins = ["buckets"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The usual ledger is runs/trials.jsonl of the folder in which a command is started."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tried():
    """A ledger of two trials that are alike, one that is not, one of 0.1.0, one on another series."""
    ledger = open_ledger("runs")
    note(ledger, luck(1))
    note(ledger, luck(1)[:-1], "copy", fingerprint="g")
    note(ledger, luck(2), "b")
    note(ledger, luck(3), "coin", symbols=("ETH-USD",), fingerprint="h")
    write_old(ledger.path)
    return ledger


def trials(*args):
    """The exit code."""
    return run_command(main, list(map(str, args)))


def said(capsys, *args):
    """Returns what the command prints where it succeeds."""
    assert trials(*args) == 0
    return capsys.readouterr().out


def refused(capsys, *args):
    """The one line of an error."""
    assert trials(*args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def id_of(ledger, config):
    return next(trial.id for trial in ledger.read().trials.values() if trial.config_hash == config)


ROW = re.compile(r"^ *(\d+ )?\w{8} (\S+) +(\d+) (\S{10}) (\S{10}) +(\S+)( +\S+)? +(\S+)$", re.MULTILINE)


def rows(text):
    """Two cells of the rows of the tables, by the trial's name: its cluster, and what counts or overlaps."""
    return {cells[1]: ((cells[0] or cells[-2]).strip(), cells[-1]) for cells in ROW.findall(text)}


def test_every_trial_is_listed_with_the_number_that_counts_with_it(tried, capsys):
    text = said(capsys)
    assert rows(text) == {
        "run-a": ("1", "3"), "run-copy": ("1", "3"), "run-b": ("2", "3"), "old": ("1", "4"), "run-coin": ("1", "2"),
    }  # fmt: skip
    heads = [line.strip() for line in text.splitlines() if line.strip().endswith(", 1h") or "candles" in line]
    assert heads == ["symbols not known, 1h, candles then", "BTC-USD, 1h", "ETH-USD, 1h"]
    assert "5 trials in runs/trials.jsonl, 0 struck" in text


def test_tables_fit_a_console_of_80_columns(tried, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    note(tried, luck(7), "c", name="20260101T000000-mlp-with-a-long-name-BTC-USD+ETH-USD")
    for args in ([], ["explain", id_of(tried, "c")]):
        text = said(capsys, *args)
        assert max(len(line) for line in text.splitlines() if ROW.match(line)) <= 80
        assert "20260101T000000-" in text  # the name goes on below
        assert "USD+ETH-USD" in text


def test_explain_says_who_counts_and_who_does_not(tried, capsys):
    text = said(capsys, "explain", id_of(tried, "a")[:6])
    assert "run-a, seed 0, is deflated by 3 trials: 4 evaluations of BTC-USD" in text
    assert "an edge needs a one-sided p of 0.017 or less" in text  # 1 - .95^(1/3)
    found = rows(text)
    assert {name: cluster for name, (cluster, _) in found.items()} == {
        "run-a": "1", "run-copy": "1", "run-b": "2", "old": "3",
    }  # fmt: skip
    assert (found["run-copy"][1], found["old"][1]) == ("100%", "36%")
    assert "not counted: 0 seeds that validation did not choose, 1 of other series, 0 of this one at" in text


def test_seeds_that_validation_left_out_are_listed_and_do_not_count(capsys):
    note_seeds(open_ledger("runs"), [luck(k) for k in range(3)], chosen=1)
    text = said(capsys)
    assert [(cells[2], cells[-1]) for cells in ROW.findall(text)] == [("0", "no"), ("1", "1"), ("2", "no")]
    assert "no: a seed that validation did not choose" in text


def test_trials_that_a_sweep_did_not_choose_count_without_showing_their_test_sharpe(capsys):
    ledger = open_ledger("runs")
    for number in range(3):
        note(ledger, luck(number), str(number), name=f"sweep/{number}")
    mine = id_of(ledger, "1")
    cells = [cells[5] for args in ([], ["explain", mine]) for cells in ROW.findall(said(capsys, *args))]
    assert cells == ["-"] * 6
    # Where the sweep lies beside the ledger, its choice is known; whatever else evaluated that trial names it anew.
    (ledger.path.parent / "sweep").mkdir()
    (ledger.path.parent / "sweep" / "choice.json").write_text('{"trial": 1}')
    note(ledger, luck(2), "2", name="run")
    shown = {cells[1]: cells[5] for cells in ROW.findall(said(capsys))}
    assert shown.keys() == {"sweep/0", "sweep/chosen", "run"}
    assert shown["sweep/0"] == "-"
    annual = {trial.name: f"{trial.annual:.2f}" for trial in ledger.read().trials.values()}
    assert [shown[name] for name in ("sweep/chosen", "run")] == [annual[name] for name in ("sweep/chosen", "run")]
    assert "is deflated by 3 trials" in said(capsys, "explain", mine)


def test_a_strike_stays_on_record_with_its_reason(tried, capsys):
    wrong = id_of(tried, "b")
    before = tried.path.read_text()
    assert "counts no more: the fee was 100 %" in said(capsys, "strike", wrong[:8], "--reason", "the fee was 100 %")
    assert tried.path.read_text().startswith(before)
    text = said(capsys)
    assert "5 trials in runs/trials.jsonl, 1 struck" in text
    assert any(
        line.startswith(f"{wrong[:8]} struck ") and line.endswith("the fee was 100 %") for line in text.splitlines()
    )
    assert rows(text)["run-a"] == ("1", "2")
    assert "does not count: struck" in said(capsys, "explain", id_of(tried, "a"))
    assert "it is struck itself" in said(capsys, "explain", wrong)
    assert "struck already" in refused(capsys, "strike", wrong, "--reason", "again")
    said(capsys, "restore", wrong, "--reason", "it was right")
    assert rows(said(capsys))["run-a"] == ("1", "3")
    assert tried.path.read_text().count("the fee was 100 %") == 1
    assert "not struck" in refused(capsys, "restore", wrong, "--reason", "again")


def test_a_strike_of_several_is_all_or_none(tried, capsys):
    assert "no id" in refused(capsys, "strike", id_of(tried, "a"), "feed", "--reason", "both")
    assert not tried.read().strikes


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["strike"], "the id of a trial"),
        (["strike", "abcd"], "--reason TEXT"),
        (["strike", "abcd", "--reason", " "], "--reason TEXT"),
        (["strike", "abcd", "--reason", "x"], "no run folder, and no id"),
        (["explain", "abcd", "--reason", "x"], "belongs to strike"),
        (["explain"], "a run, or an id"),
        (["explain", "a"], "no run folder, and no id"),
        (["explain", "runs/none"], "no run is there"),
        (["list", "abcd"], "list shows all"),
        (["forget", "abcd"], "forget: must be one of list, explain, strike, restore"),
        (["--ledger", "gs://"], "gs://BUCKET/PREFIX"),
        (["--ledger", ""], "a folder, FILE.jsonl"),
        (["--ledger", "nowhere"], "nowhere/trials.jsonl: no trial is there"),
    ],
)
def test_what_cannot_be_done_is_one_line(tried, capsys, args, message):
    assert message in refused(capsys, *args)


def test_lines_that_cannot_be_read_are_told(tried, capsys):
    with tried.path.open("a") as file:
        file.write("torn")
    assert "1 line could not be read" in said(capsys)


def test_a_ledger_in_a_bucket_is_listed_and_struck_from(bucket, capsys):
    place = f"{bucket}/team/ledger"
    note(open_ledger(place), luck(1))
    (trial,) = open_ledger(place).read().trials.values()
    said(capsys, "strike", trial.id, "--reason", "a typo", "--ledger", place)
    text = said(capsys, "--ledger", place)
    assert f"1 trial in {place}, 1 struck" in text
    assert "a typo" in text


def test_explain_tells_what_the_verdict_of_a_run_was_deflated_by(runs, capsys):
    result = read(runs / "mlp" / "result.json")
    text = said(capsys, "explain", runs / "mlp")
    hashes = {stored_json(runs / name)["config_hash"] for name in ("mlp", "lstm")}
    here = [
        line for line in (runs / "trials.jsonl").read_text().splitlines() if json.loads(line)["config_hash"] in hashes
    ]
    assert len(here) >= 4
    assert f"mlp, seed {result['chosen_seed']}, is deflated by" in text
    assert result["trials"] <= int(text.partition("is deflated by ")[2].split()[0])


@pytest.mark.slow
def test_a_ledger_that_is_shared_counts_the_trials_of_every_run_root(tmp_path, capsys):
    def train(root, seed, *args):
        folder = tmp_path / root / "run"
        symbols = ["--symbols", "SYN1", "--seed", str(seed)]
        assert run_command(train_main, [*TINY_RUN, "--run-dir", str(folder), *symbols, *args]) == 0
        return read(folder / "result.json")["trials"]

    team = ["--ledger", str(tmp_path / "team.jsonl")]
    assert [train("one", 0), train("other", 1)] == [1, 1]
    assert [train("third", 2, *team), train("fourth", 3, *team)] == [1, 2]
    # Backtest and compare of such a run go on in its ledger.
    late = ["--span", "2000-04-20:", "--delays", "0", "--costs", "10"]
    assert backtest(tmp_path / "out", tmp_path / "third" / "run", *late) == 0
    assert read(tmp_path / "out" / "result.json")["trials"] == 3
    args = [tmp_path / "third" / "run", "--against", "base", "--span", "2000-04-25:", "--delays", "0", "--costs", "10"]
    assert run_command(compare_main, [*map(str, args), "--device", "cpu"]) == 0
    assert len(open_ledger(tmp_path / "team.jsonl").read().trials) == 4
    assert not (tmp_path / "third" / "trials.jsonl").exists()
    text = said(capsys, "explain", tmp_path / "third" / "run")
    assert "is deflated by 4 trials" in text
    assert "its verdict was deflated by 1; train.backtest" in text
    (tmp_path / "team.jsonl").rename(tmp_path / "moved.jsonl")
    assert backtest(tmp_path / "out", tmp_path / "third" / "run", *late) == 2
    assert "its ledger" in capsys.readouterr().err
    assert backtest(tmp_path / "out", tmp_path / "third" / "run", *late, "--ledger", "moved.jsonl") == 0


def test_strategies_count_in_the_ledger_that_is_named(tmp_path):
    name = tmp_path / "up.py"
    name.write_text("def weights(market):\n    return 0.4 * (market.features[..., 3] > 0)\n")
    few = ["--delays", "0", "--costs", "10", "--equity", "none", "--ledger", str(tmp_path / "team")]
    assert backtest(tmp_path / "out", name, *CANDLES, *few) == 0
    (trial,) = open_ledger(tmp_path / "team").read().trials.values()
    assert (trial.name, trial.synthetic) == (name.stem, True)
    assert not (tmp_path / "runs").exists()


def test_a_ledger_that_cannot_be_written_ends_a_run_before_it_trains(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    args = ["--run-dir", str(tmp_path / "run"), "--ledger", str(tmp_path / "file")]
    assert run_command(train_main, [*TINY_RUN, *args]) == 5
    assert "file/trials.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_market_with_a_known_optimum_has_no_ledger(capsys):
    assert run_command(train_main, ["--env", "merton", "--ledger", "x"]) == 2
    assert "--ledger x: belongs to candles" in capsys.readouterr().err
