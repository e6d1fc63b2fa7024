"""Console, report and picture of a walk-forward test show the numbers that its folder holds."""

import copy
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import polars as pl
import pytest
from browser import Browser
from report_runs import EVIL, make_run, read, unpack
from walk_runs import SYMBOLS, make_blocks, make_walk, make_walk_frame, make_walk_result, make_walk_run

from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.times import parse_iso
from train.report import main
from train.reporting import walk_sentences
from train.reporting.report import write_report
from train.reporting.walk_forward import plots
from train.reporting.walk_forward.console import print_walk_forward
from train.reporting.walk_forward.picture import write_picture

SECTIONS = [
    "Walk-forward",
    "Test blocks",
    "Blocks and symbols",
    "Permutations and placebo",
    "Ensemble and trend rule",
]
FIGURES = ["Out-of-sample track", "Difference by block", "Difference by block and symbol", "Permutation test"]


def numberless(value):
    """The same with null for every number; what is counted and named stays."""
    if isinstance(value, dict):
        return {k: x if k in ("number", "decisions", "symbols") else numberless(x) for k, x in value.items()}
    if isinstance(value, list):
        return [numberless(x) for x in value]
    return None if isinstance(value, float) else value


def printed(capsys, tmp_path, result):
    print_walk_forward(result, 100_000.0, tmp_path)
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished walk-forward test of three coins."""
    return make_walk_run(tmp_path_factory.mktemp("walk") / "run")


def test_each_block_is_a_row_with_its_numbers_and_the_whole_track_is_the_last(capsys, tmp_path):
    result = make_walk_result()
    rows = printed(capsys, tmp_path, result).splitlines()
    for block in result["walk_forward"]["blocks"]:
        row = next(x for x in rows if x.startswith(f"{block['test'][0][:10]} to {block['test'][1][:10]}"))
        numbers = [f"{block[key]:.2f}" for key in ("sharpe", "base_sharpe", "constant_sharpe")]
        numbers += [f"{block['difference']:+.2f}", f"{block['late_difference']:+.2f}", f"{block['turnover']:.1f}"]
        assert row.split()[3:] == numbers
    whole = next(x for x in rows if x.startswith("all ")).split()
    assert whole[1:6] == ["1.42", "1.20", "0.98", "+0.44", "+0.34"]


def test_the_console_says_seeds_trend_placebo_permutations_trials_and_the_verdict_as_train_ppo_does(capsys, tmp_path):
    text = " ".join(printed(capsys, tmp_path, make_walk_result()).split())
    for said in (
        "retrained 5 times: window expanding, validation 1y, test 1y, embargo 2 bars; evaluated: the mean action of 4",
        "seeds: 4, each alone +0.38 to +0.44 to its constant, mean +0.41",
        "the policy is +0.15 to it (one-sided p 0.121), one bar late +0.08",
        "alone it is +0.29 [+0.01, +0.55]",
        "1y -0.28 [-0.60, +0.05]; 2y +0.33 [+0.03, +0.63]",
        "p 0.005; S +0.44",
        "199 markets of permuted bars",
        "trials on this span: 12",
        "EDGE: the multiplier adds +0.44 Sharpe against its own mean exposure held",
    ):
        assert said in text


@pytest.mark.parametrize("symbols", [SYMBOLS, tuple(f"LONGNAME{k}USDT" for k in range(12))])
@pytest.mark.parametrize("blank", [False, True])
def test_tables_and_lines_fit_into_80_columns(capsys, tmp_path, symbols, blank):
    walk = make_walk(blocks=make_blocks(symbols, range(2014, 2026)))
    text = printed(capsys, tmp_path, make_walk_result(symbols, numberless(walk) if blank else walk))
    tables, _ = text.split("\nEDGE")
    assert max(map(len, tables.splitlines())) <= 80


def test_what_is_undefined_is_a_dash_on_the_console_and_in_the_report(capsys, tmp_path):
    walk = numberless(make_walk())
    result = make_walk_result(walk=walk)
    text = printed(capsys, tmp_path, result)
    assert re.search(r"^2018-01-02 to 2018-12-30( +-){6}$", text, re.MULTILINE)
    page = read(write_report(make_walk_run(tmp_path / "run", walk=walk)))
    assert set(SECTIONS) <= set(page.headings)
    assert "Permutation test" not in page.headings
    assert not {"None", "nan"} & set(" ".join(page.words).split())


def test_what_was_not_run_is_left_out(capsys, tmp_path):
    walk = make_walk(placebo=[], permutations=None, trend=None, trend_rule=None, timings={})
    walk["seeds"] = walk["seeds"][:1]
    text = printed(capsys, tmp_path, make_walk_result(walk=walk))
    assert not re.search("^(placebo|permutations|trend rule|seeds)", text, re.MULTILINE)
    assert "evaluated: one seed" in " ".join(text.split())
    headings = read(write_report(make_walk_run(tmp_path / "run", walk=walk))).headings
    assert "Walk-forward" in headings
    assert not {"Permutations and placebo", "Ensemble and trend rule"} & set(headings)


def test_the_report_has_its_sections_and_a_run_that_was_trained_once_has_none(run, tmp_path):
    headings = read(write_report(run)).headings
    assert [x for x in headings if x in SECTIONS] == SECTIONS
    assert [x for x in headings if x in FIGURES] == FIGURES
    assert "Training" not in headings  # no metrics.jsonl
    assert not set(SECTIONS) & set(read(write_report(make_run(tmp_path / "once", rows=900))).headings)


def test_the_report_is_made_of_the_files_alone(run, capsys):
    before = write_report(run).read_bytes()
    (run / "report.html").unlink()
    assert run_command(main, [str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").read_bytes() == before


def test_without_a_track_or_a_pool_their_figures_alone_are_missing(tmp_path):
    walk = make_walk(blocks=[block | {"by_symbol": {}} for block in make_blocks(("ONE",))])
    folder = make_walk_run(tmp_path / "run", ("ONE",), frame=False, walk=walk, by_symbol={})
    headings = read(write_report(folder)).headings
    assert [x for x in headings if x in FIGURES] == ["Difference by block", "Permutation test"]
    assert "Blocks and symbols" not in headings


def test_the_table_of_blocks_and_the_first_screen_hold_the_numbers(run):
    text = write_report(run).read_text()
    table = text.split("<h2>Test blocks</h2>")[1].split("</section>")[0]
    for block in json.loads((run / "result.json").read_text())["walk_forward"]["blocks"]:
        row = table.split(f'<th scope="row">{block["test"][0][:10]}')[1].split("</tr>")[0]
        for shown in (f"{block['decisions']:,}", f"{block['difference']:+.2f}", f"{block['multiplier']:.2f}"):
            assert f"<td>{shown}</td>" in row
        assert f"<td>{block['train'][0][:10]} to {block['train'][1][:10]}</td>" in table
    assert "5 test blocks, retrained before each, 2018-01-02 to 2022-12-30" in text.split("<h1")[0]


def test_bars_and_heat_map_are_the_differences_and_empty_where_a_symbol_has_no_decision():
    result = make_walk_result()
    blocks = result["walk_forward"]["blocks"]
    on_time, late = plots.by_block(result).traces
    assert on_time["x"] == late["x"] == ["2018", "2019", "2020", "2021", "2022"]
    assert on_time["y"] == [block["difference"] for block in blocks]
    assert late["y"] == [block["late_difference"] for block in blocks]
    (heat,) = plots.by_symbol(result).traces
    assert heat["y"] == ["all together", *SYMBOLS]
    assert heat["z"][0] == on_time["y"]
    for k, symbol in enumerate(SYMBOLS):
        own = [block["by_symbol"][symbol] for block in blocks]
        assert heat["z"][k + 1] == [None if x is None else x["difference"] for x in own]
    assert heat["z"][-1][0] is None


def test_the_track_is_marked_where_the_policy_was_retrained():
    result = make_walk_result()
    frame, blocks = make_walk_frame(), result["walk_forward"]["blocks"]
    drawn = plots.track(frame, result)
    assert [mark["x0"] for mark in drawn.layout["shapes"]] == [parse_iso(block["test"][0]) for block in blocks[1:]]
    assert [trace["name"] for trace in drawn.traces] == ["trend", "constant", "base", "agent"]
    assert unpack(drawn.traces[-1]["y"])[-1] == pytest.approx(frame["equity"][-1])
    assert drawn.layout["yaxis"]["type"] == "log"
    ruined = plots.track(frame.with_columns(equity=pl.lit(0.0)), result)
    assert "type" not in ruined.layout["yaxis"]


def test_the_null_is_whole_and_the_real_one_and_p_are_marked():
    # 2 of 9 are 0.5 or more: p = (1 + 2) / (1 + 9)
    found = {"kind": "blocks", "number": 9, "value": 0.5, "null": [0.1] * 7 + [0.5, 0.9], "p": 0.3}
    drawn = plots.permutation_null(found)
    assert unpack(drawn.traces[0]["y"]).sum() == 9
    assert 0.5 in [mark["x0"] for mark in drawn.layout["shapes"]]
    assert drawn.layout["annotations"][0]["text"].strip() == "S +0.50, p 0.300"
    assert "2 of 9 do as well" in drawn.caption
    assert "p = (1 + 2) / (1 + 9) = 0.300" in drawn.caption
    assert "volatility clusters kept" in drawn.caption
    low, high = drawn.layout["xaxis"]["range"]
    assert low < 0.1 < 0.9 < high
    for none in (None, found | {"null": []}, found | {"null": [None, 0.1]}):
        assert plots.permutation_null(none) is None


def test_a_placebo_above_0_is_marked(run):
    table = write_report(run).read_text().split("shift of the inputs")[1].split("</table>")[0]
    assert "✓ flat" in table.split('<th scope="row">1y')[1].split("</tr>")[0]
    assert "✗ above 0" in table.split('<th scope="row">2y')[1].split("</tr>")[0]


def test_pooled_real_symbols_carry_the_caution_in_every_figure_and_others_do_not():
    frame, result = make_walk_frame(), make_walk_result()

    def captions(result):
        drawn = plots.track(frame, result), plots.by_block(result), plots.by_symbol(result)
        return [figure.caption for figure in drawn]

    assert all("survived" in caption for caption in captions(result))
    assert any("survived" in line for line in walk_sentences.lines(result))
    for other in (result | {"synthetic": True}, result | {"symbols": SYMBOLS[:1]}):
        assert not any("survived" in caption for caption in captions(other))
        assert not any("survived" in line for line in walk_sentences.lines(other))


@pytest.mark.parametrize(
    ("starts", "names"),
    [
        (["2018-01-02T00:00:00Z", "2019-01-02T00:00:00Z"], ["2018", "2019"]),
        (["2018-07-01T00:00:00Z", "2019-07-01T00:00:00Z"], ["2018-07", "2019-07"]),
        (["2018-01-02T00:00:00Z", "2018-04-02T00:00:00Z"], ["2018-01", "2018-04"]),
        (["2018-01-02T00:00:00Z", "2018-01-12T00:00:00Z"], ["2018-01-02", "2018-01-12"]),
        (["2018-01-02T01:00:00Z", "2018-01-02T07:00:00Z"], ["2018-01-02T01:00:00", "2018-01-02T07:00:00"]),
    ],
)
def test_no_two_blocks_have_the_same_name(starts, names):
    assert walk_sentences.labels([{"test": [start, start]} for start in starts]) == names


def test_text_from_data_is_never_markup(tmp_path):
    symbols = (EVIL, "B")
    walk = make_walk(blocks=make_blocks(symbols))
    walk["placebo"][0]["shift"] = EVIL
    walk["permutations"] |= {"kind": EVIL, "statistic": EVIL}
    folder = make_walk_run(tmp_path / "run", symbols, walk=walk)
    page = read(write_report(folder))
    assert {kind for kind, _ in page.scripts} == {None, "text/plain"}
    assert not any(EVIL in text for text in page.packed[:-1])
    svg = write_picture(tmp_path / "p.svg", {EVIL: folder}).read_text()
    assert EVIL not in svg


def test_the_picture_shows_each_test_and_its_bars_are_as_high_as_their_differences(run, tmp_path):
    path = write_picture(tmp_path / "walk.svg", {"pathwise": run, "PPO": run})
    tree = ElementTree.parse(path)
    words = [element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"pathwise", "PPO", "2018", "2022"} <= set(words)
    assert any("survived" in text for text in words)
    assert any("pathwise +0.44" in text for text in words)
    rects = [element.attrib for element in tree.iter("{http://www.w3.org/2000/svg}rect")][1:]  # the first is the ground
    blocks = json.loads((run / "result.json").read_text())["walk_forward"]["blocks"]
    values = [block[key] for block in blocks for _ in range(2) for key in ("difference", "late_difference")]
    assert len(rects) == len(values)
    heights = [float(each["height"]) for each in rects]
    unit = heights[0] / abs(values[0])
    assert heights == pytest.approx([unit * abs(value) for value in values], abs=0.3)
    tops = [float(each["y"]) for each in rects]
    zero = tops[0] + heights[0]
    expected = [zero if value < 0 else zero - unit * value for value in values]
    assert tops == pytest.approx(expected, abs=0.3)


def test_a_picture_needs_finished_walk_forward_tests(run, tmp_path):
    once = make_run(tmp_path / "once", rows=900)
    for folders, says in (
        ({}, "0 tests"),
        ({"ppo": once}, "ppo"),
        ({"x": tmp_path / "none"}, "result.json is missing"),
    ):
        with pytest.raises(InputError, match=says):
            write_picture(tmp_path / "p.svg", folders)
    assert not (tmp_path / "p.svg").exists()
    blank = make_walk_run(tmp_path / "blank", walk=numberless(copy.deepcopy(make_walk())))
    ElementTree.parse(write_picture(tmp_path / "p.svg", {"blank": blank}))


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on PATH")
def test_a_browser_draws_it_without_complaint(run, tmp_path):
    browser = Browser(tmp_path / "profile", seconds=60)
    try:
        for width in (1280, 320):
            complaints = browser.open(write_report(run), width)
            assert [x for x in complaints if not x.startswith("data:")] == []  # a heat map is a picture inside the page
            assert browser.ask("document.documentElement.scrollWidth") <= width
            drawn = "[...document.querySelectorAll('.plot')].every(x => x.querySelector('.js-line, .point, .hm'))"
            assert browser.ask(drawn) is True
    finally:
        browser.close()
