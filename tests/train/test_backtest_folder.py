"""Laws of where a backtest is written: what is evaluated decides, so that no backtest overwrites another one's."""

from itertools import combinations
from pathlib import Path

import pytest

from himari_jax.command import parse
from train.artifacts.backtest_folder import output_folder
from train.config.backtest import BacktestConfig

OTHERS = (
    "--data daily",
    "--data spot/daily",
    "--data other/daily",
    "--data /there/daily",
    "--data a b",
    "--symbols ETH-USD",
    "--source synthetic",
    "--span all",
    "--span 2024-01-01:2024-06-30",
    "--span 2024-01-01:",
    "--span :2024-01-01",
    "--checkpoint latest",
    "--data daily --span all",
    "--data daily-all",
    "--base-positions mine.parquet",
    "runs/other",
    "more/other",
    "other",
    "rule.py",
    "runs/rule.py",
    "runs/other/equity.parquet",
    "runs/other/backtest/equity.parquet",
    "more/other/equity.parquet",
    f"--data {'x' * 90}1",
    f"--data {'x' * 90}2",
)


def place(*words):
    return output_folder(parse(BacktestConfig, [word for text in words for word in text.split()], "x"))


@pytest.mark.parametrize("first", ["runs/mine", "rule2.py"])
def test_what_else_is_evaluated_has_a_folder_of_its_own_always_the_same_one(first):
    own = place(first)
    found = [place(f"{first} {more}") if more[0] != "-" else place(first, more) for more in OTHERS]
    assert found == [place(f"{first} {more}") if more[0] != "-" else place(first, more) for more in OTHERS]
    for one, other in combinations([own, *found], 2):
        assert one != other
    for folder in found:
        assert folder.parent == (Path("runs/mine/backtests") if first == "runs/mine" else Path("backtests"))
        assert len(folder.name) < 100


def test_how_finely_and_how_it_is_told_changes_no_folder():
    for more in ("--costs 0 10", "--delays 0", "--windows 20", "--equity none", "--baselines none", "--ledger x"):
        assert place("runs/mine", more) == Path("runs/mine/backtest")
        assert place("runs/mine --span all", more) == Path("runs/mine/backtests/all")
    assert place("runs/mine --data daily --out there") == Path("there")


def test_a_folder_says_in_words_what_was_evaluated():
    assert place("runs/mine --data daily/ --symbols BTCUSD --span 2025-01-01:2025-06-30") == Path(
        "runs/mine/backtests/daily,BTCUSD,2025-01-01..2025-06-30"
    )
    assert place("runs/mine runs/other my_rule.py").name.startswith("with=other,with=my_rule.py")
    assert place("runs/mine runs/other/equity.parquet").name == "with=other-equity.parquet"
    assert place("rule.py") == Path("backtests/rule")


def test_candles_that_are_named_as_the_run_had_them_are_its_own(runs):
    run = str(runs / "mlp")
    assert place(f"{run} --source synthetic --symbols SYN1 SYN2") == runs / "mlp" / "backtest"
    assert place(f"{run} --source synthetic --symbols SYN1 SYN3").parent == runs / "mlp" / "backtests"
