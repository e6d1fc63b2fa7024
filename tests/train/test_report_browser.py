"""The report in a real browser."""

import shutil

import numpy as np
import pytest
from browser import Browser
from report_runs import EVIL, make_extra, make_frame, make_run

from train.reporting.packing import LEVELS
from train.reporting.report import write_report

pytestmark = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on PATH")


def test_a_browser_draws_it_without_complaint_or_request(tmp_path):
    path = write_report(make_run(tmp_path / "run", symbols=(EVIL, "SYN2")), make_extra((EVIL, "SYN2")))
    planted = tmp_path / "planted.html"
    planted.write_text(path.read_text().replace("<main>", '<main><img src="http://example.invalid/x.png">'))
    browser = Browser(tmp_path / "profile")
    try:
        for width in (1280, 320):
            assert browser.open(path, width) == []
            assert browser.ask("document.documentElement.scrollWidth") <= width
            drawn = "[...document.querySelectorAll('.plot')].every(x => x.querySelector('.js-line, .point'))"
            assert browser.ask(drawn) is True
        assert EVIL in browser.ask("document.querySelectorAll('.canvas')[4].textContent")  # the legend of the weights
        browser.ask("document.querySelector('.switch input').click()")
        assert browser.ask("document.querySelectorAll('.canvas')[2].layout.yaxis.type") == "log"
        assert browser.open(planted, 1280)  # the check sees what it is there to see
    finally:
        browser.close()


def test_a_browser_reads_the_curves_that_were_packed(tmp_path):
    frame = make_frame(("A",), 900)
    path = write_report(make_run(tmp_path / "run", symbols=("A",), rows=900))
    browser = Browser(tmp_path / "profile")
    try:
        assert browser.open(path, 1280) == []
        plot = "[...document.querySelectorAll('.plot')].find(x => x.textContent.startsWith('Equity'))"
        canvas = f"{plot}.querySelector('.canvas')"
        curve = f"Array.from({canvas}.data.at(-1).AXIS)"
        equity = frame["equity"].to_numpy()
        drawn = browser.ask(curve.replace("AXIS", "y"))
        np.testing.assert_allclose(drawn, equity, atol=np.ptp(equity) / LEVELS)
        assert browser.ask(curve.replace("AXIS", "x")) == frame["time"].dt.epoch("ms").to_list()
    finally:
        browser.close()


def test_a_browser_that_cannot_unpack_says_so_and_keeps_words_and_tables(tmp_path):
    path = write_report(make_run(tmp_path / "run", rows=900))
    old = tmp_path / "old.html"
    old.write_text(path.read_text().replace("<main>", "<script>delete window.DecompressionStream</script><main>"))
    browser = Browser(tmp_path / "profile")
    try:
        assert browser.open(old, 1280) == []
        assert "cannot be drawn: this browser has no DecompressionStream" in browser.ask("document.body.innerText")
        assert browser.ask("document.querySelectorAll('table').length > 1")
    finally:
        browser.close()
