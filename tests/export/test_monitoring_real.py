"""A real Prometheus reads a server and a paper loop: every panel has series, every query of an alert is answered."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import yaml
from google_monitoring import HERE, inlined, panels, policies
from paper import Paper
from processes import free_port
from serving import running, wait_for

from export.live.book import Book
from export.live.desk import Desk as PaperDesk
from export.live.desk import base_by
from export.live.metrics import PaperMetrics
from himari_jax.times import HOUR_MS

pytest_plugins = ["server_fixtures"]
PROMETHEUS = shutil.which("prometheus")
WEEKS = ("Drift of the requests", "Drift scores", "Inputs outside of training's range")  # of a window that is whole
MONTHS = ("Beside the test span",)


def ask(port, path, **query):
    address = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


@pytest.fixture
def paper(bundles, tmp_path):
    """Metrics of a loop of 200 bars: the interval of policy minus base needs a week."""
    played = Paper(bundles["mlp"], tmp_path)
    played.run(200)
    desk = PaperDesk(played.model, Book(played.model.symbols, HOUR_MS), played.terms, base_by(played.model))
    metrics = PaperMetrics(desk, 8760.0)
    metrics.catch_up(played.records())
    metrics.gauges["multiplier"].labels(metrics.model, "SYN1").set(1)  # what only a new bar sets
    metrics.gauges["candle"].labels(metrics.model, "SYN1").set(time.time())
    return metrics


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not here (Debian's package prometheus)")
def test_a_real_prometheus_has_series_for_every_panel_and_answers_every_alert(mlp, paper, tmp_path):
    body = json.dumps({"instances": [mlp.seen()]}).encode()
    with running(mlp.app) as served:
        ports = {"himari-serve": served, "himari-paper": paper.serve(0)}
        jobs = [{"job_name": k, "static_configs": [{"targets": [f"127.0.0.1:{p}"]}]} for k, p in ports.items()]
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": [str(HERE / "rules.yml")], "scrape_configs": jobs}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        flags = ["--config.file", tmp_path / "prometheus.yml", "--storage.tsdb.path", tmp_path / "tsdb"]
        with subprocess.Popen(
            [PROMETHEUS, *flags, "--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn"]
        ) as process:
            try:
                wait_for(lambda: ready(port), 60)
                for _ in range(8):
                    assert mlp.ask("/predict", body)[0] == 200
                    assert mlp.ask("/predict", b"{")[0] == 400
                    time.sleep(1)
                wait_for(lambda: not [x for panel in panels() for x in empty(port, panel)], 60)
                for policy in policies().values():
                    ask(port, "query", query=policy["conditions"][0]["conditionPrometheusQueryLanguage"]["query"])
            finally:
                process.terminate()


def ready(port):
    try:
        return ask(port, "query", query="vector(1)")
    except OSError:
        return False


def empty(port, panel):
    """Queries of a panel that are without a series, as they stand and with what is recorded written out."""
    if panel["title"] in (*WEEKS, *MONTHS, "Alerts"):
        return []
    queries = [target["expr"] for target in panel["targets"]]
    return [query for query in queries for form in (query, inlined(query)) if not ask(port, "query", query=form)]
