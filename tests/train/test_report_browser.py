"""The report in a real browser."""

import shutil

import pytest
from browser import Browser
from report_runs import EVIL, make_extra, make_run

from train.reporting.report import write_report


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on PATH")
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
