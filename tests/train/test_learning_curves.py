"""Learning curves: the position of the best validation, and that console, result and report of a run agree on it."""

import json
import math
import shutil

import numpy as np
import pytest
from commands import command
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import make_result, make_run, read, unpack

from train.learning.setup import Best, better
from train.reporting import learning_curves
from train.reporting.learning_curves import curve_advice, curve_summary, locate_best, summarize_curve
from train.reporting.report import write_report

pytest_plugins = ["finished_run"]

SHARPES = st.lists(
    st.sampled_from([-1.5, 0.0, 0.25, 2.0]) | st.floats(-9, 9, width=32, allow_subnormal=False), min_size=2, max_size=9
)


def locate(sharpes, best, total_steps=1000):
    """Locates the best of evaluations at every third update, by its index."""
    return locate_best([3 * k + 3 for k in range(len(sharpes))], sharpes, 3 * best + 3, total_steps)


def lines_of(sharpes):
    """Lines of metrics.jsonl, (E, K)."""
    return [{"update": k + 1, "steps": 10 * k, "validation_sharpe_by_seed": list(x)} for k, x in enumerate(sharpes)]


@settings(max_examples=200, deadline=None)
@given(sharpes=SHARPES)
def test_the_first_of_equals_decides_as_it_does_in_training(sharpes):
    best = Best({}, np.float32([-np.inf]), np.int32([0]))
    for k, sharpe in enumerate(sharpes):
        best = better(best, {}, np.array([sharpe]), 3 * k + 3)
    place = sharpes.index(max(sharpes))
    assert int(best.update[0]) == 3 * place + 3
    word = {0: "first", len(sharpes) - 1: "last"}.get(place, "between")
    assert locate(sharpes, place).position == word


@given(sharpes=SHARPES)
def test_only_a_best_between_needs_no_advice(sharpes):
    found = locate(sharpes, sharpes.index(max(sharpes)))
    assert (found.advice is None) == (found.position == "between")
    assert "\n" not in (found.advice or "")


@pytest.mark.parametrize("sharpes", [[], [1.0], [1.0, None], [math.nan, 1.0], [1.0, math.inf, None]])
def test_a_single_evaluation_says_nothing(sharpes):
    assert all(locate(sharpes, best) is None for best in range(-1, 4))


def test_a_best_that_was_not_measured_says_nothing():
    assert locate([1.0, 2.0], 7) is None
    assert locate([1.0, None, 2.0], 1) is None
    assert locate_best([2, 3], [1.0, 0.5], 0, 1) is None  # nothing was finite in training


def test_what_ends_without_a_number_is_not_still_improving():
    assert locate([1.0, 2.0, math.nan], 1).position == "between"
    assert locate([None, 2.0, 1.0], 1).position == "first"


def test_still_improving_asks_for_twice_the_steps():
    assert "--total-steps 246912," in locate([1.0, 2.0], 1, 123456).advice


def test_unlearned_is_said_only_where_validation_fell():
    assert "only unlearned" in locate([2.0, 1.0, 1.5], 0).advice
    assert "improved nothing" in locate([2.0, 1.0, 2.0], 0).advice
    assert "unlearned" not in locate([0.0, 0.0], 0).advice


def test_the_advice_is_about_the_chosen_seed_and_names_it_among_several():
    metrics = lines_of([(1.0, 5.0), (2.0, 4.0)])
    for chosen, word in enumerate(("last", "first")):
        course = summarize_curve(metrics, [2, 1], chosen, 1000)
        assert course["best"] == word
        assert course["best_by_seed"] == ["last", "first"]
        result = {"chosen_seed": 7 + chosen, "seeds": [{"seed": 7}, {"seed": 8}]}
        assert curve_advice(result, course) == f"seed {7 + chosen}: {course['advice']}"
        assert curve_advice({**result, "seeds": [{"seed": 7 + chosen}]}, course) == course["advice"]


def test_every_line_counts_and_a_line_without_validation_does_not():
    metrics = lines_of([(1.0,), (3.0,), (2.0,)])
    assert summarize_curve(metrics, [2], 0, 1)["best"] == "between"
    assert summarize_curve(metrics[1:], [2], 0, 1)["best"] == "first"
    assert summarize_curve([{"update": 9}, *metrics[:2]], [2], 0, 1)["best"] == "last"
    assert summarize_curve([], [2], 0, 1) == {"best": None, "best_by_seed": [None], "advice": None}


@pytest.mark.parametrize("algorithm", ["ppo", pytest.param("pathwise", marks=pytest.mark.slow)])
def test_console_result_and_report_of_a_run_agree(algorithm, tmp_path, capsys):
    folder = tmp_path / "run"
    assert command(folder, "--algorithm", algorithm, "--eval-interval", "20") == 0  # 4 of 8 updates of 256 steps
    result = json.loads((folder / "result.json").read_text())
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    early, late = (line["validation_sharpe"] for line in metrics)
    assert result["course"]["best"] == ("last" if np.float32(late) > np.float32(early) else "first")
    without = {name: value for name, value in result.items() if name != "course"}
    assert curve_summary(without, metrics) == result["course"]  # as runs of 0.1.0 are read
    advice = result["course"]["advice"]
    printed = capsys.readouterr().out
    assert advice in printed
    assert advice[1:] in " ".join(read(folder / "report.html").words)


def test_a_run_named_again_says_it_again(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    result = json.loads((folder / "result.json").read_text())
    result["course"] = {"best": "last", "advice": locate([1.0, 2.0], 1).advice}
    for course, said in ((result.pop("course"), True), (None, False)):
        (folder / "result.json").write_text(json.dumps(result | ({"course": course} if course else {})))
        assert command(folder, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
        assert ("still improving" in capsys.readouterr().out) == said


def test_the_best_evaluation_of_every_seed_is_circled_on_its_curve():
    metrics = lines_of([(1.0, 5.0), (3.0, 4.0), (2.0, 1.0)])
    plain = learning_curves.draw_curves(metrics, [0, 1], {})[0]
    figure = learning_curves.draw_curves(metrics, [0, 1], {0: (2, "the best"), 1: (1, "")})[0]
    curves, marks = figure.traces[:2], figure.traces[2:]
    assert curves == plain.traces
    for curve, mark in zip(curves, marks, strict=True):
        points = list(zip(unpack(curve["x"]), unpack(curve["y"]), strict=True))
        assert (mark["x"][0], mark["y"][0]) == max(points, key=lambda point: point[1])
        assert mark["marker"]["color"] == curve["line"]["color"]
    notes = figure.layout["annotations"]
    assert [(note["text"], note["x"], note["y"]) for note in notes] == [("the best", 10, 3.0)]
    assert "the best, 3 at 10 steps" in figure.label
    assert "Circled" in figure.caption
    assert "Circled" not in plain.caption


def test_words_beside_the_mark_lie_towards_the_middle_of_the_plot():
    metrics = lines_of([(1.0,), (3.0,), (4.0,)])
    for update, side in ((1, "left"), (3, "right")):
        note = learning_curves.draw_curves(metrics, [0], {0: (update, "the best")})[0].layout["annotations"][0]
        assert note["xanchor"] == side
        assert (note["ax"] < 0) == (side == "right")


@pytest.mark.parametrize(("best", "says"), [([4, 4], "still improving"), ([0, 4], "the best is the first")])
def test_a_report_of_an_older_run_has_sentence_and_mark(tmp_path, best, says):
    text = write_report(make_run(tmp_path / "run", rows=900, best_update=best)).read_text()
    assert says in text
    assert "Circled" in text


@pytest.mark.parametrize("lost", ["best_update", "course"])
def test_a_report_without_the_learning_curve_says_nothing_of_it(tmp_path, lost):
    run = make_run(tmp_path / "run", rows=900)
    result = make_result(("SYN1", "SYN2"))
    if lost == "best_update":  # the result of a backtest has none
        del result["best_update"]
    else:  # of a single evaluation
        result["course"] = {"best": None, "best_by_seed": [None, None], "advice": None}
    (run / "result.json").write_text(json.dumps(result))
    text = write_report(run).read_text()
    assert "Circled" not in text
    assert "est validation" not in text


def test_a_mark_whose_evaluation_is_no_longer_there_is_left_out(tmp_path):
    course = {"best": "last", "best_by_seed": ["last", "last"], "advice": "x"}
    run = make_run(tmp_path / "run", rows=900, course=course, best_update=[9, 4])
    drawn = read(write_report(run)).packed[:-1]  # the library, which names the mark itself, is the last
    assert sum(figure.count("circle-open") for figure in drawn) == 1
