"""Laws of the tables and lines on a console of any width: nothing is wider than it, and no number is cut."""

import fcntl
import io
import os
import re
import struct
import termios

import pytest
from rich.console import Console

from himari_jax.command import RobustOutput
from train.oracles.console import table as oracle_table
from train.reporting.console import console, print_lines, sensitivity, symbol_table, table
from train.reporting.tables import Grid, lines, print_grid
from train.reporting.walk_forward.console import block_table
from train.training.progress import ProgressBar, clock, fitting, short

WIDTHS = (40, 47, 60, 80, 95, 118, 200)
NAMES = ("agent (multi-lstm)", "equal weight not rebalanced", "base", "x")


def block(scale):
    return {
        "sharpe": 1.23 * scale, "sharpe_interval": [-1234.56 * scale, 98765.43 * scale], "sortino": 2.5 * scale,
        "cagr": 0.123 * scale, "max_drawdown": -0.456, "turnover": 12345.6 * scale, "exposure": 0.78,
        "win_rate_bar": 0.512, "herfindahl": 0.5, "diversification": 0.5, "decisions": 1_234_567,
        "base_sharpe": 0.5, "constant_sharpe": None, "timing_value": 1e4, "late_sharpe": -3.0, "multiplier": 1.5,
    }  # fmt: skip


def result(symbols=("BTC-USD", "ETH-USD")):
    blocks = [
        {"test": ["2019-01-01T00:00Z", "2020-01-01T00:00Z"], **block(k), "difference": 1e3, "late_difference": -1e3}
        for k in (1, 2)
    ]
    return {
        "symbols": list(symbols), "policy": "multi-lstm", "synthetic": True, "span": "test",
        "spans": {"test": [["2019-01-01T00:00Z", "2020-01-01T00:00Z"]]}, "windows": {"number": 3},
        "name": "mine", "chosen_seed": 0, "agent": block(1) | {"sharpe_difference": {"baseline": "base"}},
        "baselines": {name: block(k) for k, name in enumerate(NAMES[1:], 2)},
        "by_symbol": {symbol: block(1) for symbol in symbols}, "walk_forward": {"blocks": blocks},
        "timing_value": {"value": 0.5, "interval": [0.0, 1.0]}, "delay": {},
    }  # fmt: skip


def grid_rows():
    return [
        {"policy": name, "seed": 0, "cost": cost, "delay": delay, "sharpe": 1e5 + cost}
        for name in ("mine", "base")
        for cost in (0.0, 2.5, 5.0, 10.0, 20.0, 40.0)
        for delay in (0, 1, 2)
    ]


def compared():
    heads = ("cost", "delay", "Sharpe", "a-run-with-a-name-of-more-than-forty-letters", "95 % interval", "p", "seeds")
    found = Grid("one minus the other", heads, labels=2, right=frozenset(heads[:2]))
    for cost in ("2.5 bp", "10 bp"):
        found.add(cost, "0", "+123.45", "-6,789.01", "-12.34 to +56.78", "0.123", "50%")
    return found


def tried():
    heads = ("trial", "Sharpe", "updates", "configuration")
    found = Grid("3 configurations", heads, right=frozenset(heads[:1]), words=frozenset(heads[-1:]))
    for k in range(3):
        found.add(str(k), f"{k}.25", "1,234", "gamma 0.9999  learning_rate 0.000123  ent_coef 0.0123  num_envs 4096")
    return found


def optimum():
    seed = {
        "seed": 0, "value": 4.8441e-05, "error": 1e-7, "ratio": 0.9689, "regret": 1.56e-06, "turnover": 0.0123,
        "weights": [0.123, 0.456, 0.789], "optimum": 5e-5, "naive": 4.4e-5, "optimal_turnover": 0.0111,
        "naive_name": "the multiplier at the start",
    }  # fmt: skip
    return {"env": "merton", "policy": "mlp", "oracle": seed, "seeds": [seed, seed | {"seed": 1, "ratio": None}]}


TABLES = {
    "known optimum": lambda: oracle_table(optimum()),
    "agent and baselines": lambda: table(result()),
    "symbols": lambda: symbol_table(result()),
    "costs and delays": lambda: sensitivity(result(), grid_rows()),
    "blocks": lambda: block_table(result()),
    "comparison": compared,
    "sweep": tried,
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_console_and_every_number_stands_there_whole(name, width):
    grid = TABLES[name]()
    text = [line for line, _ in lines(grid, width)]
    assert max(map(len, text)) <= width
    whole = [word for line in text for word in line.split()]
    for cells, _ in grid.rows:
        for column, cell in enumerate(cells):
            for word in cell.split():
                if re.search(r"\d", word) and not (column < grid.labels and grid.wrapped(column)):
                    assert word in whole, (word, column)
                    whole.remove(word)  # each cell has its own


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_stand_before_every_group_of_columns_and_every_head_stands_once(width):
    grid = compared()
    text = [line for line, _ in lines(grid, width)]
    groups = sum(line.split()[:2] == ["cost", "delay"] for line in text)
    assert groups == sum(line.startswith("2.5 bp") for line in text) == sum(line.startswith(" 10 bp") for line in text)
    assert (groups > 1) == (width < 110)
    for head in ("Sharpe", "interval", "seeds"):
        assert sum(line.split().count(head) for line in text) == 1


def test_a_row_has_as_many_cells_as_the_table_has_columns():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Grid("", ("", "a")).add("x")


def test_of_a_single_asset_no_concentration_is_shown():
    assert {"Herfindahl", "divers."} <= set(table(result()).heads)
    alone = table(result(("BTC-USD",)))
    assert not {"Herfindahl", "divers."} & set(alone.heads)
    assert "turnover/y" in alone.heads


def test_a_console_is_as_wide_as_columns_says_else_118_where_nothing_else_does(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    for said, width in (("60", 60), ("80", 80), ("", 118), ("many", 118)):
        monkeypatch.setenv("COLUMNS", said)
        assert console().width == width


def test_a_console_in_a_pipe_is_as_wide_as_the_terminal_of_standard_error(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    inner, outer = os.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 73, 0, 0))
    with os.fdopen(outer, "w") as terminal, os.fdopen(inner, "rb", buffering=0):
        monkeypatch.setattr("sys.stdout", io.StringIO())
        for name in ("sys.stderr", "sys.__stderr__"):
            monkeypatch.setattr(name, terminal)
        assert console().width == 73
        monkeypatch.setattr("sys.stdout", RobustOutput(terminal))  # as a command has it
        monkeypatch.setattr("sys.__stdout__", terminal)
        assert console().width == 73
        assert console().is_terminal
        monkeypatch.undo()


def test_sentences_are_broken_between_words_on_a_terminal_alone():
    sentence = "the word " * 20 + "/a/long/path/" + "x" * 50
    for terminal in (False, True):
        out = Console(file=io.StringIO(), width=40, force_terminal=terminal, no_color=True)
        print_lines(out, [sentence])
        printed = out.file.getvalue().splitlines()
        assert (len(printed) > 1) == terminal
        assert [word for line in printed for word in line.split()] == sentence.split()


def test_the_row_of_the_agent_stands_out_on_a_terminal_in_every_group():
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    print_grid(out, table(result()))
    printed = out.file.getvalue().splitlines()
    assert (
        [line for line in printed if "agent" in line] == [line for line in printed if line.startswith("\x1b[1m")] != []
    )


def test_a_line_of_progress_says_what_is_done_and_left_and_fits_80_columns(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for width in (60, 80, 118):
        monkeypatch.setenv("COLUMNS", str(width))
        bar = ProgressBar(2_031_616, 31_616, "steps")
        now[0] += 600
        bar.line(1_031_616, "validation Sharpe +0.50  best +0.50  671,113 steps/s  return/episode +0.0954")
        line = capsys.readouterr().out.rstrip("\n")
        assert line.startswith("steps 1.03M/2.03M 50%  10:00, 10:00 left")
        assert len(line) <= min(width, 80)
        assert ("validation Sharpe +0.50  best +0.50" in line) == (width >= 80)
        assert line == fitting(line.split("  "), 200)  # whole parts


def test_share_and_time_left_count_what_is_under_way(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar = ProgressBar(8, 0)
    now[0] += 100
    bar.report("trained", 4, 8, "update 5 of 10", under_way=2.0)  # 4 were kept: 2 in 100 s, 2 are left
    bar.report("trained", 8, 8, "")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["trained 4/8 75%  1:40, 1:40 left  update 5 of 10", "trained 8/8 100%  1:40"]


def test_counts_and_times_are_short_and_right():
    counts = {
        0: "0",
        9_999: "9,999",
        12_345: "12.3k",
        999_499: "999k",
        999_500: "1M",
        2_031_616: "2.03M",
        10**10: "10G",
    }
    assert {number: short(number) for number in counts} == counts
    assert [clock(s) for s in (0.4, 59.6, 3599, 3661, 86400)] == ["0:00", "1:00", "59:59", "1h01m", "24h00m"]
