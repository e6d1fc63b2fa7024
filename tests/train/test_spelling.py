"""Spellings of flags: laws over every flag of every command; the names of other programs get an answer."""

import io
import re
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module

import pytest

from himari_jax import spelling
from himari_jax.cli import COMMANDS, dispatch
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.flag_errors import FLAG
from himari_jax.spelling import whole_number
from train.config.cuts import meant_cuts
from train.config.market import DataConfig
from train.config.ppo import Config
from train.training.resume import read_flags

# What must be given, before flags are looked at.
GIVEN = {
    "download": ["--symbols", "BTC/USDT"],
    "plan": ["run"],
    "paper": ["bundle"],
    "replay": ["log"],
    "bundle": ["run", "--out", "x"],
    "request": ["bundle"],
    "report": ["run"],
    "check": ["bundle"],
}
INT = re.compile(r"^ +(--[a-z][\w.-]*)(?: \[INT \[INT \.\.\.\]\]| INT| \{all\}\|INT)", re.MULTILINE)


@cache
def help_of(name):
    """The help of a command."""
    shown = io.StringIO()
    with redirect_stdout(shown), pytest.raises(SystemExit):
        import_module(COMMANDS[name].module).main(["--help"])
    return shown.getvalue()


@cache
def all_flags():
    """Flags of every command together."""
    return {flag for name in COMMANDS for flag in FLAG.findall(help_of(name))}


def refused(capsys, name, *words):
    """The line with which a command refuses."""
    assert dispatch([name, *words]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_that_takes_an_integer_takes_powers_and_underscores_and_says_so(name, capsys):
    flags = INT.findall(help_of(name))
    below = help_of(name).partition("\n\n")[2]  # the usage names the flags of a short help again
    assert len(flags) == len(re.findall(r"\bINT\b(?! \.\.\.)", below))
    # What is refused is the flag behind them, and so the numbers before it were read.
    words = [word for flag in flags for word in (flag, "1e3")]
    assert "--no-flag-at-all: no such flag" in refused(capsys, name, *GIVEN.get(name, ()), *words, "--no-flag-at-all")
    own = set(flags) - set(INT.findall(help_of("train"))) if name in ("walk-forward", "sweep", "submit") else flags
    for flag in own:
        assert refused(capsys, name, *GIVEN.get(name, ()), flag, "2,000").startswith(f"error: {flag} 2,000: must be ")


@pytest.mark.parametrize(
    ("text", "number"),
    [("2e6", 2_000_000), ("2E6", 2_000_000), ("2.5e6", 2_500_000), ("1_000", 1000), ("-3", -3), ("1e+3", 1000)],
)
def test_a_whole_number_is_read_however_it_is_written(text, number):
    assert whole_number(text) == number
    assert type(whole_number(text)) is int


@pytest.mark.parametrize(
    "text", ["1.5", "2.0", "2,000", "1e-3", "1.23e1", "", "e3", "1e999999999", "inf", "nan", "1__0"]
)
def test_what_is_no_whole_number_is_refused_at_once(text):
    with pytest.raises(ValueError, match="whole number"):
        whole_number(text)


def test_every_alias_is_answered_with_a_flag_that_some_command_has_and_is_no_flag_of_train():
    for alias, answers in spelling.ALIASES.items():
        for words in answers:
            assert words.split()[0] in all_flags(), f"{alias}: {words}"
        assert alias not in FLAG.findall(help_of("train")), alias


def test_every_list_of_names_is_one_of_some_command_and_commas_part_it():
    for flag in spelling.NAMES:
        assert any(re.search(rf"^ +{flag} \[", help_of(name), re.MULTILINE) for name in COMMANDS), flag
    for words in (["--symbols", "A,B"], ["--symbols=A,B"], ["--symbols", "A,", "B"], ["--symbols", "A", "B"]):
        assert parse(Config, words, "x").data.symbols == ("A", "B")
    assert parse(Config, ["--features", "base,trend"], "x").market.features == ("base", "trend")
    assert spelling.to_our_spelling(["--features", "a,b/f.py", "--data", "a,b"]) == [
        "--features",
        "a,b/f.py",
        "--data",
        "a,b",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --lr 3", "--lr: no such flag; it is --learning-rate here"),
        ("train --total_timesteps=3", "--total-timesteps: no such flag; it is --total-steps here"),
        ("train -lr 3", "-lr: no such flag; it is --learning-rate here"),
        ("train --num-env 3", "--num-env: no such flag; did you mean --num-envs?"),
        ("train --mu 3", "--mu: no such flag; did you mean --oracle.mu?"),
        ("train --ppo.gamma 3", "--ppo.gamma: no such flag; did you mean --gamma?"),
        ("train --zzz 3 --lr 3", "--zzz: no such flag; --lr: no such flag; it is --learning-rate here"),
        ("backtest x --fee 3", "--fee: no such flag; it is --costs (basis points) here"),
        ("train --fill open", "--fill open: must be one of next-open, same-close"),
        ("trials lst", "lst: must be one of list, explain, strike, restore; did you mean list?"),
        ("train --reward drawdwn=1", "out of log_return, "),
        ("train --reward drawdwn=1", "did you mean drawdown?"),
        ("train --base-sizing vol_taget", "did you mean vol-target?"),
        ("train --features trnd", "or FILE.py; did you mean trend?"),
        ("backtest x --baselines momentun", "did you mean momentum?"),
        ("train --gamma", "--gamma: needs a value"),
        ("train --gamma x", "--gamma x: must be a number"),
        ("train --gamma 0,9", "--gamma 0,9: must be a number; did you mean 0.9?"),
        ("train --commission-rate 0.1%", "--commission-rate 0.1%: must be a number; 0.1% is 0.001"),
        ("train --gamma 0.9 0.8", "--gamma 0.9 0.8: --gamma takes one value"),
        ("train --pool yes", "--pool yes: --pool is a switch and takes no value"),
        ("train --pool=True", "--pool=True: --pool is a switch and takes no value"),
        ("train now", "now: one word too many"),
        ("backtest x --costs 0,5", "must be numbers with blanks between them: --costs 0 5"),
        ("replay nope", "nope: name the bundle that decided behind it"),
        ("bundle", "missing: run folder, or gs://BUCKET/PREFIX of one; --out PATH (folder of the bundle"),
        ("train --max-position-pct 50", "must be a share above 0, up to 1 (0.5 is 50 %)"),
    ],
)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_wrong_flag_is_answered_with_what_was_meant_however_wide_the_console(
    words, said, columns, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", columns)
    assert said in refused(capsys, *words.split())


@pytest.mark.parametrize(
    ("words", "cuts"),
    [
        ("60 20 20", "0.6 0.8"), ("0.6 0.2 0.2", "0.6 0.8"), ("60/20/20", "0.6 0.8"), ("60 80", "0.6 0.8"),
        ("60% 80%", "0.6 0.8"), ("70 15", "0.7 0.85"), ("70,15,15", "0.7 0.85"), ("0.6,0.8", "0.6 0.8"),
    ],
)  # fmt: skip
def test_a_split_in_percent_or_in_lengths_is_answered_with_the_cuts_that_it_means(words, cuts, capsys):
    assert f"--split {cuts} (train " in refused(capsys, "train", "--split", *words.split())
    assert parse(DataConfig, ["--split", *cuts.split()], "x").cuts == tuple(map(float, cuts.split()))


@pytest.mark.parametrize("words", ["80 20", "60 20 30", "0.6", "0.8 0.6", "60 2017-01-01", "0.2 0.5 0.3 0.1", "x y"])
def test_a_split_that_means_no_cuts_is_refused_without_a_guess(words, capsys):
    assert ": must be " in refused(capsys, "train", "--split", *words.split())


def test_what_is_meant_by_a_split_gives_back_lengths_that_add_up_to_the_whole():
    for train in range(1, 98):
        for validation in range(1, 99 - train):
            low, high = meant_cuts((float(train), float(validation), float(100 - train - validation)))
            assert (low, high) == (pytest.approx(train / 100), pytest.approx((train + validation) / 100))


@pytest.mark.parametrize("words", [["--device", "gpu"], ["--device=gpu"]])
def test_gpu_is_understood_as_cuda(words):
    assert parse(Config, words, "x").run.device == "cuda"


@pytest.mark.parametrize(
    ("words", "noted"),
    [("--commission-rate 0.1", "10 %"), ("--slippage-bps 1000", "10 %"), ("--commission-rate 0.01", ""), ("", "")],
)
def test_costs_that_look_like_percent_are_noted_and_taken(words, noted, capsys):
    config, _ = read_flags(words.split())
    error = capsys.readouterr().err
    assert config.market.cost <= 0.11
    assert error.startswith("note: --") and noted in error if noted else error == ""


def test_a_file_of_settings_and_a_sweep_read_whole_numbers_as_flags_do(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"ppo": {"total_steps": 2e6}}')
    assert read_flags(["--config", str(file)])[0].ppo.total_steps == 2_000_000
    file.write_text('{"ppo": {"total_steps": 2.5}}')
    with pytest.raises(InputError, match="must be a whole number"):
        read_flags(["--config", str(file)])


def test_the_parser_has_no_complaint_that_is_told_in_its_own_words(capsys):
    """A text of tyro that is not taken apart would be printed as it is: a sign that its texts have changed."""
    for words in ("--seed x", "--seed", "--zzz", "--pool 3", "--fill x", "--devices x", "--gamma x", "--split"):
        assert run_command(import_module("train.ppo").main, words.split()) == 2
        said = capsys.readouterr().err
        assert not re.search("Unrecognized|invalid choice|Error parsing|Missing value|Expected", said), said
