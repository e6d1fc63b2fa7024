"""The report: what stands in it, what is left out, what it must never do; once in a real browser."""

import base64
import errno
import json
import os
import shutil
import subprocess
import threading
import time
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from himari_jax import metrics
from himari_jax.command import run_command
from himari_jax.errors import StorageError
from train.report import main
from train.reporting import figure, plots
from train.reporting.report import write_report
from train.reporting.run_files import Extra

BASELINES = figure.BASELINES.names
EVIL = "<script>alert(1)</script>"
YEAR = 8760  # bars of an hour
START_MS = 1_577_836_800_000


def block(sharpe=1.0, **more):
    """An agent's or a baseline's numbers."""
    names = "sortino cagr calmar max_drawdown cvar_5 win_rate_bar win_rate_trip turnover cost_drag exposure".split()
    numbers = dict.fromkeys([*names, "herfindahl", "diversification", "final_equity"], 0.5)
    return {"sharpe": sharpe, **numbers, "sharpe_interval": [-0.5, 2.5], **more}


def make_result(symbols, **more):
    """result.json of two seeds."""
    difference = {"baseline": "base", "value": -0.2, "interval": [-0.9, 0.5]}
    seeds = [block(1.0 + k, seed=k, sharpe_difference=difference) for k in range(2)]
    return {
        "verdict": {"word": "INCONCLUSIVE", "reason": "the interval does not exclude 0"},
        "chosen_seed": 0,
        "seeds": seeds,
        "agent": seeds[0],
        "baselines": {name: block(None if name == "cash" else 1.2) for name in BASELINES},
        "minimum_detectable_sharpe": 1.68,
        "delay": {"sharpe": 0.9, "sharpe_difference": -0.3},
        "across_seeds": {"sharpe_mean": 1.5, "collapsed": True},
        "advice": [],
        "symbols": list(symbols),
        "policy": "mlp",
        "synthetic": True,
        "spans": {"test": [["2020-01-01T00:00:00Z", "2020-03-01T00:00:00Z"]]},
        "fingerprint": "f" * 64,
        "timings": {"steps": 1000},
        **more,
    }


def make_frame(symbols, rows):
    """equity.parquet of random walks."""
    rng = np.random.default_rng(0)
    time = pl.Series(START_MS + 3_600_000 * np.arange(rows)).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    walk = {f"baseline_{name}": np.exp(np.cumsum(rng.normal(0, 0.005, rows))) for name in BASELINES}
    walk["baseline_cash"] = np.ones(rows)
    held = {f"weight_{s}": rng.uniform(0, 1 / len(symbols), rows).astype(np.float32) for s in symbols}
    equity = np.exp(np.cumsum(rng.normal(0, 0.005, rows)))
    return pl.DataFrame({"time": time, **held, "equity": equity, **walk, "liquidated": np.arange(rows) == rows - 1})


def make_run(folder, symbols=("SYN1", "SYN2"), rows=2000, **more):
    """A finished run folder, without any training."""
    folder.mkdir(parents=True, exist_ok=True)
    finding = {"kind": "gap", "symbol": symbols[0], "count": 3, "detail": f"bars filled in {symbols[0]}.parquet"}
    data = {"symbols": list(symbols), "bar": "1h", "calendar": "continuous", "findings": [finding]}
    config = {"flags": {"market": {"commission_rate": 0.001, "delay": 0}}, "himari_jax": "0.1.0", "commit": "c" * 40}
    for name, value in (("result", make_result(symbols, **more)), ("config", config), ("data_report", data)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    keys = "episode_return approx_kl entropy log_std explained_variance policy_loss value_loss".split()
    lines = [{"steps": k * 100, "validation_sharpe_by_seed": [k, k / 2], **dict.fromkeys(keys, 0.1)} for k in range(5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    make_frame(symbols, rows).write_parquet(folder / "equity.parquet")
    return folder


def make_extra(symbols=("SYN1", "SYN2"), rows=2000):
    """Everything a report can show beyond the run folder."""
    prices = make_frame(symbols, rows).select("time", *(pl.col("equity").alias(s) for s in symbols))
    grid = [
        {"policy": p, "seed": s, "window": 0, "cost": float(c), "delay": d, "sharpe": 1 - c / 10 - d + s}
        for p in ("mlp", *BASELINES)
        for s in range(2)
        for c in (0, 10)
        for d in (0, 1)
    ]
    audits = [{"name": "causality", "passed": True, "detail": "fine"}, {"name": "lag", "passed": False, "detail": ""}]
    samples = np.random.default_rng(0).normal(0, 1, 500)
    return Extra(prices=prices, backtest=pl.DataFrame(grid), samples=samples, audits=audits)


class Page(HTMLParser):
    """What a browser would make of the page: tags, words, headings and scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.headings, self.scripts, self.open = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = (tag, dict(attrs))
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        tag = self.open[0] if self.open else ""
        if tag == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif tag != "style":
            self.words.append(data)
            self.headings += [data] if tag in ("h1", "h2", "h3") else []


def read(path):
    """The page as parsed."""
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report with everything in it."""
    return write_report(make_run(tmp_path_factory.mktemp("report") / "run"), make_extra())


def test_the_verdict_comes_first_then_the_table_then_the_plots(whole):
    text = whole.read_text()
    places = [
        text.index(x) for x in ("<h1", "The interval does not exclude 0.", "<table", 'class="plot"', "plotly.js v")
    ]
    assert places == sorted(places)
    assert read(whole).headings[0] == "INCONCLUSIVE"


def test_every_baseline_is_a_row_with_its_interval_and_undefined_is_a_dash(whole):
    table = whole.read_text().split("<table", 2)[1].split("</table>")[0]
    for name in BASELINES:
        row = table.split(f'<th scope="row">{name}')[1].split("</tr>")[0]
        assert "-0.50 to 2.50" in row
        assert (">–<" in row) == (name == "cash")
    assert "SYNTHETIC" in " ".join(read(whole).words)


def test_nothing_is_fetched_and_the_library_is_inlined_once(whole):
    page, text = read(whole), whole.read_text()
    assert text.count("* plotly.js v") == get_plotlyjs().count("* plotly.js v") == 1
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "img", "object", "embed", "base")]
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_text_from_data_is_never_markup(tmp_path):
    verdict = {"word": EVIL, "reason": EVIL}
    result = {"advice": [EVIL], "policy": EVIL, "verdict": verdict, "baselines": {EVIL: block(), "base": block()}}
    run = make_run(tmp_path / "a&b<i>", symbols=(EVIL, "x\" onload='alert(2)"), rows=900, **result)
    page = read(write_report(run, make_extra((EVIL,), 900)))
    runs = [text for kind, text in page.scripts if kind is None]
    assert len(runs) == 2  # the library and the page's own
    assert not any("alert(" in text for text in runs)
    assert all(json.loads(text) for kind, text in page.scripts if kind == "application/json")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert EVIL in " ".join(page.words)


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        ("equity.parquet", ["Course over the span", "Equity", "Weights over time", "Position against price: SYN1"]),
        ("metrics.jsonl", ["Training", "Validation Sharpe"]),
        ("data_report.json", ["Data"]),
    ],
)
def test_a_missing_file_leaves_its_sections_out(whole, tmp_path, file, gone):
    run = make_run(tmp_path / "run", rows=900)
    (run / file).unlink()
    headings = read(write_report(run, make_extra(rows=900))).headings
    assert set(gone) <= set(read(whole).headings)
    assert not set(gone) & set(headings)


def test_what_extra_lacks_is_left_out_and_the_delays_stand_in_for_a_backtest(whole, tmp_path):
    optional = {"Position against price: SYN1", "Bootstrap of the difference", "Sharpe against cost", "Audits"}
    page = read(write_report(make_run(tmp_path / "run", rows=900)))
    assert optional <= set(read(whole).headings)
    assert not optional & set(page.headings)
    assert "one bar later" in page.words
    assert "one bar later" not in read(whole).words


def test_one_seed_has_no_section_of_seeds(whole, tmp_path):
    one = make_result(("SYN1",))["seeds"][:1]
    page = read(write_report(make_run(tmp_path / "run", rows=900, seeds=one, across_seeds=None)))
    assert "Seeds" in read(whole).headings
    assert "Seeds" not in page.headings


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 3000), most=st.integers(4, 300), seed=st.integers(0, 99), hole=st.booleans())
def test_thinning_keeps_the_ends_and_the_extremes(rows, most, seed, hole):
    values = np.random.default_rng(seed).normal(size=rows)
    values[: rows // 3 if hole else 0] = np.nan
    kept = figure.thin(values, most)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == rows - 1
    assert np.nanmin(values[kept]) == np.nanmin(values)
    assert np.nanmax(values[kept]) == np.nanmax(values)


def unpack(array):
    """Numbers of a plotly typed array."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])


def test_curves_agree_with_the_metrics():
    frame = make_frame(("A",), 1500)
    r = plots.returns(frame["equity"].to_numpy())
    deepest = unpack(plots.drawdown(frame).traces[-1]["y"]).min()
    assert deepest == pytest.approx(metrics.max_drawdown(r), rel=1e-6)
    rolling = plots.rolling_sharpe(frame, YEAR, "base")
    assert unpack(rolling.traces[0]["y"])[-1] == pytest.approx(metrics.sharpe(r[-720:], YEAR), rel=1e-5)
    assert unpack(rolling.traces[0]["x"])[-1] == plots.epoch(frame)[-1]


def test_five_years_of_hours_add_little_to_the_library(tmp_path):
    path = write_report(make_run(tmp_path / "run", rows=5 * YEAR), make_extra(rows=5 * YEAR))
    assert path.stat().st_size < len(get_plotlyjs().encode()) + 1_500_000


def disk_is_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", rows=900)
    before = write_report(run).read_bytes()
    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(StorageError, match=r"report\.html: No space left"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob("*.part"))


def test_the_command_writes_the_report_again(tmp_path, capsys):
    run = make_run(tmp_path / "run", rows=900)
    assert run_command(main, [str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert not list(run.glob("*.part"))


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("result.json", None, "result.json is missing"),
        ("result.json", "{", "damaged"),
        ("result.json", "{}", "no verdict"),
        ("result.json", "[1]", "damaged"),
        ("config.json", "[1]", "damaged"),
        ("metrics.jsonl", "{\n", "damaged"),
        ("equity.parquet", "no parquet", "damaged"),
    ],
)
def test_a_folder_that_is_no_finished_run_is_one_line_and_exit_2(tmp_path, capsys, file, content, says):
    run = make_run(tmp_path / "run", rows=900)
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    assert run_command(main, [str(run)]) == 2
    info = capsys.readouterr().err
    assert says in info
    assert info.count("\n") == 1
    assert not (run / "report.html").exists()


class Browser:
    """Headless Chromium, spoken to through a pipe; it ends itself after a while."""

    def __init__(self, profile, seconds=20):
        ours, theirs = os.pipe(), os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
        ).split()
        shell = ["bash", "-c", f'exec chromium "$@" 3<&{theirs[0]} 4>&{ours[1]}', "chromium"]
        self.process = subprocess.Popen(
            [*shell, *flags, "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"],
            pass_fds=(theirs[0], ours[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs[0])
        os.close(ours[1])
        self.inbox, self.outbox, self.session, self.count, self.events = ours[0], theirs[1], {}, 0, []
        self.rest = b""
        self.timer = threading.Timer(seconds, self.process.kill)
        self.timer.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """One command of the DevTools protocol; what happens meanwhile is kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.outbox, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                chunk = os.read(self.inbox, 1 << 20)
                assert chunk, "the browser ended"
                self.rest += chunk
            answer, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(answer)
            if answer.get("id") == self.count:
                return answer["result"]
            self.events.append(answer)

    def ask(self, script):
        """What a script says."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, path, width):
        """Opens a page and waits until it is drawn: the complaints and requests that it caused."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.ask("location.href != 'about:blank' && document.documentElement.dataset.ready"):
            time.sleep(0.05)
        return [complaint for event in self.events if (complaint := complains(event))]

    def close(self):
        """Ends the browser."""
        self.process.kill()
        self.process.wait()
        self.timer.cancel()
        os.close(self.inbox)
        os.close(self.outbox)


def complains(event):
    """What an event of the browser has against a page, if anything."""
    kind, params = event.get("method", ""), event.get("params", {})
    if kind in (
        "Runtime.exceptionThrown",
        "Log.entryAdded",
        "Runtime.consoleAPICalled",
        "Page.javascriptDialogOpening",
    ):
        return kind
    url = params.get("request", {}).get("url", "file:")
    return None if kind != "Network.requestWillBeSent" or url.startswith("file:") else url


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
        assert EVIL in browser.ask("document.querySelectorAll('.canvas')[3].textContent")  # the legend of the weights
        browser.ask("document.querySelector('.switch input').click()")
        assert browser.ask("document.querySelectorAll('.canvas')[1].layout.yaxis.type") == "log"
        assert browser.open(planted, 1280)  # the check sees what it is there to see
    finally:
        browser.close()
