"""The report of a sweep, of any size and in a real browser."""

import csv
import json
import shutil

import numpy as np
import pytest

from train.config.vary import parse_vary
from train.studies.sweep.points import draw
from train.studies.sweep.report import write_sweep_report, write_table
from train.studies.sweep.store import Finished

EVIL = "<script>alert(1)</script>"
SPACE = parse_vary(
    ["learning_rate=log:1e-5:1e-2", "gamma=0.8:0.99", "policy=mlp,lstm", "hidden_dim=16:256", "symbols=A|A B|A B C"]
)
COUNT = {"number": 3, "luck": 0.4, "deflated_sharpe": 0.7}
VERDICT = {"word": "INCONCLUSIVE", "reason": "the interval does not exclude 0"}
RESULT = {
    "symbols": ["A", EVIL],
    "chosen": {"trial": 0, "point": {"gamma": "0.9"}, "validation_sharpe": 1.0},
    "counted": {"configurations": 4, "own_clusters": 3, "clusters": COUNT, "trials": COUNT},
    "test": {"verdict": VERDICT, "agent": {"sharpe": 0.5}},
    "timings": {"train_seconds": 1.0},
}
CONFIG = {"flags": {"ppo": {"gamma": 0.95}}, "sweep": {"vary": ["gamma=0.9"], "search": "random"}}


def make_trials(count, seeds=2):
    rng, states = np.random.default_rng(0), ("complete", "dropped", "complete", "failed")
    points = draw(SPACE, count, seed=0)
    return [trial(number, point, states[number % 4], rng.normal(size=seeds)) for number, point in enumerate(points)]


def trial(number, point, state, scores):
    found = () if state == "failed" else tuple(scores.tolist())
    return Finished(number, point, state, 8, found, (1,) * len(found), (), "h", "f", why=EVIL * (state == "failed"))


@pytest.mark.parametrize("count", [1, 2, 600])
def test_it_is_one_page_without_markup_of_the_user_and_small(tmp_path, count):
    write_sweep_report(tmp_path, RESULT, CONFIG, make_trials(count), SPACE)
    page = (tmp_path / "report.html").read_text()
    assert EVIL not in page
    assert len(page) < 2_500_000
    assert ("All settings at once" in page) == (count > 1)
    assert ("100 more are in trials.csv" in page) == (count == 600)


def test_the_table_has_a_row_for_each_configuration_the_best_first(tmp_path):
    trials = make_trials(8)
    write_table(tmp_path, trials, SPACE)
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["dropped"] * 2 + ["failed"] * 2
    scores = [float(row["validation_sharpe"]) for row in rows[:4]]
    assert scores == sorted(scores, reverse=True)
    best = trials[int(rows[0]["trial"])]
    assert {name: rows[0][name] for name in best.point} == best.point
    assert float(rows[0]["validation_sharpe"]) == best.score
    assert json.loads(f"[{rows[0]['by_seed'].replace(' ', ',')}]") == list(best.scores)


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on PATH")
def test_a_browser_draws_it_without_complaint_or_request(tmp_path):
    from browser import Browser

    write_sweep_report(tmp_path, RESULT, CONFIG, make_trials(24), SPACE)
    browser = Browser(tmp_path / "profile")
    try:
        for width in (1280, 360):
            assert browser.open(tmp_path / "report.html", width) == []
            assert browser.ask("document.documentElement.scrollWidth") <= width
            assert browser.ask(
                "[...document.querySelectorAll('.plot')].every(x => x.querySelector('.js-line, .point'))"
            )
        assert browser.ask("document.querySelectorAll('.plot').length") == 1 + len(SPACE)
        names = browser.ask("document.querySelector('.plot .xaxislayer-above').textContent")
        assert all(each.name in names for each in SPACE)
    finally:
        browser.close()
