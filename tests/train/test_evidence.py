"""`python -m train.evidence`: it runs what is not finished, and its tables hold what the results hold."""

import json
import re

import pytest
from pools import write_pool
from walk_runs import make_walk_result, make_walk_run

from himari_jax.command import run_command
from himari_jax.errors import InputError
from train.config.evidence import ROWS, EvidenceConfig
from train.config.walk_forward import WalkForwardConfig
from train.evidence import main
from train.studies.evidence.table import WIDTH, Found, console_page, explored_table, main_table, year_table
from train.studies.walk_forward.flags import read_flags

TINY = (
    "--num-envs 16 --rollout-steps 16 --num-minibatches 2 --update-epochs 1 --episode-steps 20 --hidden-dim 8 "
    "--total-steps 256 --features base --test 30d --validation 30d --embargo 2d --placebo 10d"
)
CONFIG = {"versions": {"jax": "0.10.2"}, "commit": "0123456789", "walk_forward": {"first_test": "2018-01-01"}}


def found(name="twelve-pathwise", **more):
    """A finished test."""
    result = make_walk_result(**more)
    result["walk_forward"] |= {"members": 20}
    result["timings"] |= {"seconds": 90.0, "device": "cpu"}
    return {name: Found(result, CONFIG)}


def cells(table, label):
    """The first row of a table that begins with a label, without it."""
    return next(row[1:] for row in table if row[0] == label)


def refused(args, capsys):
    assert run_command(main, args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_row_is_a_walk_forward_test_of_the_same_blocks_that_differs_in_inputs_and_algorithm_alone(tmp_path):
    config = EvidenceConfig(data=tmp_path, run_dir=tmp_path / "run")
    tests = {name: read_flags(config.flags_of(name))[0] for name in ROWS}
    assert {test.walk for test in tests.values()} == {
        WalkForwardConfig(first_test="2018-01-01", placebo=("1y", "2y", "3y"))
    }
    assert {test.base.data.embargo for test in tests.values()} == {"10d"}
    assert {test.base.run.num_seeds for test in tests.values()} == {4}
    for name, test in tests.items():
        assert test.base.ppo.algorithm == ROWS[name].algorithm
        assert test.base.data.pool
        assert test.base.run.permutations == (200 if name.startswith("trend") else 0)
        assert test.base.run.ledger is None, "one ledger, beside their folders"


def test_the_table_holds_what_the_result_holds():
    table = main_table(found())
    for label, said in {
        "Sharpe": "1.42",
        "constant": "0.98",
        "difference": "+0.44",
        "  one day late": "+0.34",
        "  found 4 in 5": "0.40",
        "  each seed alone": "+0.38 to +0.44",
        "coins ahead": "3 of 3",
        "trend rule alone": "+0.29",
        "policy - trend rule": "+0.15",
        "  one-sided p": "0.121",
        "placebo, 1y late": "-0.60 to +0.05",
        "placebo, 2y late": "+0.03 to +0.63",
        "permuted, p (K)": "0.005 (199)",
        "trials by then": "12",
        "verdict": "EDGE",
    }.items():
        assert cells(table, label) == [said]


def test_the_years_and_what_two_of_them_share_of_the_gain():
    table = year_table(found())
    # .2 + .325 + .45 + .575 - .29 = 1.26; 2020 and 2021 have .45 + .575 = 1.025 of it, 81 %
    assert cells(table, "2018") == ["+0.20 (+0.10)"]
    assert cells(table, "2022") == ["-0.29 (-0.33)"]
    assert cells(table, "years ahead") == ["4 of 5"]
    assert cells(table, "sum of the years") == ["+1.26"]
    assert cells(table, "of it 2020 and 2021") == ["81%"]
    # .325 of 2019 and -.29 of 2022 are left without the three best
    assert cells(table, "without '18 '20 '21") == ["+0.04"]


def test_what_was_not_measured_is_a_dash():
    tests = found(timing_value=None)
    result = tests["twelve-pathwise"].result
    result["walk_forward"] |= {"permutations": None}
    result |= {"power": None, "by_symbol": None}
    table = main_table(tests)
    for label in ("  95 %", "  found 4 in 5", "coins ahead", "permuted, p (K)"):
        assert cells(table, label) == ["-"]


def test_the_exploration_stands_above_the_same_flags_here():
    table = explored_table(found("twelve-ppo") | found("twelve-ppo-before"))
    assert [row[0] for row in table] == ["", "ppo, explored", "ppo, here", "ppo, as then"]
    assert cells(table, "ppo, explored")[:2] == ["+0.15", "+0.06 to +0.24"]
    assert cells(table, "ppo, here")[0] == "+0.44"
    assert not explored_table(found("trend-ppo"))


def test_the_console_is_up_to_80_columns_wide_and_every_test_is_in_it_whole():
    tests = {name: one for name in ROWS for one in found(name).values()}
    for width in (40, 60, 80, 118):
        narrow = console_page(tests, width)
        assert max(map(len, narrow.splitlines())) <= min(width, WIDTH)
        for row in main_table(tests)[2:]:  # every number whole
            assert all(f" {cell}" in narrow for cell in row[1:])
    text = console_page(tests)
    assert WIDTH == 80
    assert all(f"\n{name}: " in text for name in ROWS)
    # three coins with 1,800 decisions each, two placebos and 199 permutations
    assert "3 coins, 5,400 decisions, 2018-01-02 to 2022-12-30; 20 trainings, and again on" in " ".join(text.split())
    assert "again on 201 null markets" in " ".join(text.split())


def test_render_makes_page_and_picture_of_what_is_finished_and_needs_no_candles(tmp_path, capsys):
    run_dir = tmp_path / "evidence"
    for name in ("trend-pathwise", "trend-ppo"):
        folder = make_walk_run(run_dir / name)
        (tests,) = found().values()
        (folder / "result.json").write_text(json.dumps(tests.result))
        (folder / "config.json").write_text(json.dumps(tests.config))
    args = ["--render", "--run-dir", str(run_dir), "--rows", "trend-pathwise", "trend-ppo"]
    assert run_command(main, args) == 0
    page = (run_dir / "evidence.md").read_text()
    assert "| difference | +0.44 | +0.44 |" in page
    assert "| | trend, pathwise | trend, ppo |" in page.replace("|  |", "| |")
    assert "python -m train.walk_forward --data daily/ --preset trend --algorithm ppo" in page
    assert str(tmp_path) not in page
    assert (run_dir / "walk-forward.svg").read_text().startswith("<svg")
    assert "+0.44" in capsys.readouterr().out


@pytest.mark.slow
def test_tiny_tests_are_run_once_count_in_one_ledger_and_are_rendered_again_the_same(tmp_path, capsys):
    data, run_dir = write_pool(tmp_path / "candles"), tmp_path / "evidence"
    args = ["--data", str(data), "--run-dir", str(run_dir), "--rows", "twelve-pathwise", "twelve-ppo"]
    args += ["--first-test", "2020-12-15", "--num-seeds", "1", "--permutations", "2", "--permuted", "twelve-ppo"]
    args += ["--device", "cpu", f"--flags={TINY}", "--out", str(tmp_path / "page.md")]
    assert run_command(main, args) == 0, capsys.readouterr().err
    page = (tmp_path / "page.md").read_text()
    results = {
        name: json.loads((run_dir / name / "result.json").read_text()) for name in ("twelve-pathwise", "twelve-ppo")
    }
    assert [results[name]["trials"] for name in results] == [1, 2]
    assert results["twelve-pathwise"]["walk_forward"]["permutations"] is None
    assert results["twelve-ppo"]["walk_forward"]["permutations"]["number"] == 2
    assert re.search(r"\| permuted, p \(K\) \| - \| \d\.\d{3} \(2\) \|", page)
    written = {path: path.stat().st_mtime_ns for path in run_dir.glob("*/result.json")}
    assert run_command(main, args) == 0
    assert {path: path.stat().st_mtime_ns for path in run_dir.glob("*/result.json")} == written
    assert (tmp_path / "page.md").read_text() == page


def test_what_is_not_finished_is_one_line(tmp_path, capsys):
    line = refused(["--render", "--run-dir", str(tmp_path / "none")], capsys)
    assert line.startswith("error: --rows trend-pathwise: no finished test is there")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "--data (not given)"),
        (["--data", "x", "--rows", "mars"], "--rows mars: must be named once each, out of trend-pathwise, trend-ppo"),
        (["--data", "x", "--permuted", "trend-ppo", "trend-ppo"], "--permuted trend-ppo trend-ppo: must be named"),
        (["--data", "x", "--first-test", "soon"], "--first-test soon: must be a date"),
        (["--data", "x", "--permutations", "-1"], "--permutations -1: must be 0 to 100000"),
        (["--data", "x", "--flags=--num_seeds 3"], "--flags --num-seeds: must be any other flag"),
    ],
)
def test_a_wrong_flag_is_one_line_that_says_what_is_allowed(args, said, capsys):
    assert said in refused(args, capsys)


def test_another_test_in_a_folder_is_refused_and_named(tmp_path):
    with pytest.raises(InputError, match="--flags --ledger"):
        EvidenceConfig(data=tmp_path, flags="--ledger mine")
