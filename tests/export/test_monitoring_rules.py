"""The alerts by Prometheus' own promtool: each fires where it should and is quiet where it should; PSI is PSI."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from alert_cases import CASES, WAITS_HOURS
from google_monitoring import HERE, panels, rule_groups

from himari_jax.drift import BINS, psi
from himari_jax.statistics.significance import minimum_detectable_sharpe

pytest_plugins = ["server_fixtures"]
PROMTOOL = shutil.which("promtool")
real = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here (Debian's package prometheus)")
ALERTS = {rule["alert"]: rule for group in rule_groups() for rule in group["rules"] if "alert" in rule}
BY_DRIFT = ("HimariInputDriftsTwice",)  # of recorded series alone: below


def promtool(folder, tests, every):
    """Runs unit tests of the rules; what promtool says."""
    whole = {"rule_files": [str(HERE / "rules.yml")], "evaluation_interval": every, "tests": tests}
    whole["group_eval_order"] = [group["name"] for group in rule_groups()]  # else by chance
    path = folder / f"tests-{every}.yml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    done = subprocess.run([PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def case(alert, fires, series):
    """A test of promtool: how many series of an alert fire at the 99th sample."""
    step = "1h" if alert in WAITS_HOURS else "1m"
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "interval": step,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"99{step[1]}", "exp_samples": expected}],
    }


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    for fires in (True, False):
        assert {alert for alert, when, _ in CASES if when is fires} | set(BY_DRIFT) == set(ALERTS)


@real
@pytest.mark.parametrize("every", ["5m", "3h"])
def test_each_alert_fires_where_it_should_and_is_quiet_where_it_should(every, tmp_path):
    chosen = [one for one in CASES if (one[0] in WAITS_HOURS) == (every == "3h")]
    code, output = promtool(tmp_path, [case(*one) for one in chosen], every)
    assert code == 0, output
    alert, fires, series = chosen[0]
    code, output = promtool(tmp_path, [case(alert, not fires, series)], every)
    assert code != 0  # the cases can fail


def counted(counts, rows_per_day=24.0):
    """Series of counters that rise evenly over 15 days to 15/7 of the counts of a week, and what they go with."""
    labels, hours = 'job="himari-serve",instance="a",hash="h"', 15 * 24
    feature = f'{labels},feature="f"'
    rises = {
        f'himari_input_bin_total{{{feature},bin="{k}"}}': f"0+{n / 168:.12f}x{hours}" for k, n in enumerate(counts)
    }
    same = {f'himari_input_expected{{{feature},bin="{k}"}}': f"0.1x{hours}" for k in range(BINS)}
    rows = {f"himari_input_rows_total{{{labels}}}": f"0+{rows_per_day / 24}x{hours}"}
    limit = {f'himari_input_drift_threshold{{{feature},window="7d"}}': f"0.25x{hours}"}
    return rises | same | rows | limit | {f'himari_input_window_rows{{{labels},window="7d"}}': f"168x{hours}"}


def drift_case(series, queries):
    given = [{"series": name, "values": values} for name, values in series.items()]
    asked = [{"expr": query, "eval_time": at, "exp_samples": found} for query, at, found in queries]
    return {"interval": "1h", "input_series": given, "promql_expr_test": asked}


@real
def test_the_rule_of_drift_is_the_psi_of_the_bundle_over_its_threshold_once_a_week_is_whole(tmp_path):
    counts = np.array([60, 40, 20, 10, 10, 8, 8, 6, 4, 2])
    score = psi(counts[None], np.full((1, BINS), 0.1))[0] / 0.25
    assert score > 1
    query = f"abs(himari:input_drift:7d - {score:.9f}) < 1e-6"
    twice = 'ALERTS{alertname="HimariInputDriftsTwice",alertstate="firing"}'
    at_once = 'count(ALERTS{alertname="HimariInputsDrift",alertstate="firing"})'
    tests = [
        drift_case(
            counted(counts),
            [
                (f"count({query})", "180h", [{"labels": "{}", "value": 1}]),
                ("count(himari:input_drift:7d)", "160h", []),  # the week is not whole
                (f"count({twice})", "340h", [{"labels": "{}", "value": 1}]),
                (f"count({twice})", "200h", []),
                (at_once, "180h", [{"labels": "{}", "value": 1}]),
            ],
        ),
        drift_case(
            counted(counts, rows_per_day=20), [("count(himari:input_drift:7d)", "180h", [])]
        ),  # asked too seldom
        drift_case(counted(np.full(10, 16.8)), [(twice, "340h", []), (at_once, "340h", [])]),
    ]
    code, output = promtool(tmp_path, tests, "4h")
    assert code == 0, output


@real
def test_promtool_finds_no_fault_in_rules_and_configuration():
    for what, name in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        done = subprocess.run([PROMTOOL, "check", what, str(HERE / name)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_say_how_urgent_they_are_and_slow_ones_that_they_are_slow():
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "warn", "slow")
        assert "{{" not in rule["annotations"]["description"], f"{name}: Cloud Monitoring knows no templates of Go"
    assert {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "slow"} == {
        "HimariSharpe",
        "HimariWinRate",
    }
    words = ALERTS["HimariSharpe"]["annotations"]["description"]
    for sharpe, years in ((1.0, 2.7), (1.2, 1.9), (1.5, 1.2)):
        assert f"{years}" in words
        assert minimum_detectable_sharpe(round(8760 * years), 8760.0) == pytest.approx(sharpe, rel=0.02)


def names_in(text):
    """Metrics of ours that a query names."""
    bare = re.sub(r"\{[^}]*\}", "", text)
    return set(re.findall(r"(?<![\w:])himari_\w+", bare))


def test_rules_and_panels_ask_for_metrics_that_the_programs_export(bundles, tmp_path):
    exported = exported_names(bundles["mlp"], tmp_path)
    rules = [rule["expr"] for group in rule_groups() for rule in group["rules"]]
    asked = [*rules, *(target["expr"] for panel in panels() for target in panel["targets"])]
    assert len(asked) > 40
    for query in asked:
        assert names_in(query) <= exported, names_in(query) - exported
    records = {rule["record"] for group in rule_groups() for rule in group["rules"] if "record" in rule}
    assert {name for query in asked for name in re.findall(r"himari:[\w:]+", query)} <= records


def exported_names(bundle, folder):
    """Names of the samples of server, paper loop and replay."""
    from paper import Paper
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families as parse
    from serving import Desk

    from export.live.book import Book
    from export.live.desk import Desk as PaperDesk
    from export.live.desk import base_by
    from export.live.metrics import PaperMetrics, write_parity
    from export.live.replay import Parity
    from himari_jax.times import HOUR_MS

    served = Desk(bundle)
    served.ask("/predict", b"{")
    paper = Paper(bundle, folder)
    desk = PaperDesk(paper.model, Book(paper.model.symbols, HOUR_MS), paper.terms, base_by(paper.model))
    write_parity(folder / "himari.prom", "m", Parity(1, 1, 0, 0.0, ""), 0.0)
    pages = served.metrics.page(), generate_latest(PaperMetrics(desk, 8760.0).registry)
    texts = [*(page.decode() for page in pages), (folder / "himari.prom").read_text()]
    found = set()
    for family in (family for text in texts for family in parse(text)):
        names = {sample.name for sample in family.samples} or {family.name}
        kinds = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
        found |= names | {family.name + end for end in kinds.get(family.type, ("",))}
    return found
