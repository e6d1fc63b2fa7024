"""/docs in a real browser: screen and phone, light and dark."""

import json
import shutil
import time

import pytest
from browser import Browser
from serving import Desk, running, wait_for

from himari_jax.live.clock import now_ms

pytest_plugins = ["server_fixtures"]
pytestmark = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on PATH")


@pytest.fixture(scope="module")
def page(bundles, tmp_path_factory):
    """A browser, and the address of the page of a recurrent model by the clock of today."""
    browser = Browser(tmp_path_factory.mktemp("profile"), seconds=60)
    try:
        with running(Desk(bundles["lstm"], clock=now_ms).app) as port:
            yield browser, f"http://127.0.0.1:{port}"
    finally:
        browser.close()


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_page_is_drawn_without_complaint_and_asks_its_own_server_alone(page, mode, width):
    browser, address = page
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": mode}])
    complaints = browser.open(f"{address}/docs", width)
    assert all(complaint.startswith(f"{address}/") for complaint in complaints), complaints
    assert browser.ask("document.documentElement.scrollWidth") <= width
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (mode == "light")


def test_every_example_is_answered_when_its_button_is_pressed(page):
    browser, address = page
    browser.open(f"{address}/docs", 375)
    names = browser.ask("[...document.querySelectorAll('[data-example]')].map(x => x.dataset.example)")
    assert set(names) == {"candles", "observation", "token", "history"}
    for name in names:
        before = browser.ask("sent.length")
        browser.ask(f"document.querySelector('[data-example={name}]').click()")
        wait_for(lambda before=before: browser.ask("sent.length") > before)
        time.sleep(0.1)  # the token's first asks twice
        assert browser.ask("sent.every(x => x.status === 200)"), browser.ask("sent[0].text")
        asked = json.loads(browser.ask("document.getElementById('body').value"))
        assert ("carry" in asked["instances"][0]) == (name == "token")
        assert ("history" in asked["instances"][0]) == (name == "history")
        answer = json.loads(browser.ask("document.getElementById('answer').textContent"))
        assert browser.ask("document.getElementById('token').textContent") == answer["predictions"][0]["carry"]
    assert browser.ask("document.documentElement.scrollWidth") <= 375
    assert len(browser.ask("[...document.getElementById('sent').tBodies[0].rows].map(x => x.innerText)")) >= len(names)


def test_every_field_stands_there_with_its_explanation(page):
    browser, address = page
    browser.open(f"{address}/docs", 1280)
    lines = "[...document.querySelectorAll('#asked tr, #told tr')].map(x => [...x.cells].map(y => y.textContent))"
    found = browser.ask(lines)
    assert all(place and kind and what for place, kind, what in found), found
    places = {place for place, *_ in found}
    assert "instances[].account.positions.SYMBOL.entry_price" in places
    assert "predictions[].symbols.SYMBOL.multiplier" in places
