"""Cloud Monitoring's alert policies and dashboard, made of the Prometheus rules and of Grafana's panels.

`python tests/support/google_monitoring.py` writes the files under export/deploy/monitoring/google anew.
"""

import json
import re
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parents[2] / "export" / "deploy" / "monitoring"
RECORD = re.compile(r"himari:[\w:]+")
SEVERITIES = {"page": "CRITICAL", "warn": "ERROR", "slow": "WARNING"}
COLUMNS = 48  # of a mosaic
# It looks at a recorded series of a week ago, which Cloud Monitoring does not keep.
NOT_THERE = ("HimariInputDriftsTwice",)


def rule_groups():
    return yaml.safe_load((HERE / "rules.yml").read_text())["groups"]


def panels():
    """Grafana's panels that show series."""
    board = json.loads((HERE / "grafana" / "dashboards" / "himari.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def inlined(query):
    """A query without recorded names, each in its place by what it is."""
    records = {rule["record"]: rule["expr"] for group in rule_groups() for rule in group["rules"] if "record" in rule}
    while found := RECORD.search(query):
        query = f"{query[: found.start()]}({records[found[0]]}){query[found.end() :]}"
    return " ".join(query.split())


def seconds(duration):
    """Prometheus' duration as Google has it."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return f"{int(duration[:-1]) * units[duration[-1]]}s"


def policies():
    """Alert policies by name, one for each alert."""
    found = {}
    for group in rule_groups():
        for rule in group["rules"]:
            if "alert" not in rule or rule["alert"] in NOT_THERE:
                continue
            severity, name = rule["labels"]["severity"], rule["alert"]
            condition = {
                "query": inlined(rule["expr"]),
                "duration": seconds(rule.get("for", "0s")),
                "evaluationInterval": "60s",
                "ruleGroup": group["name"],
                "alertRule": name,
                "disableMetricValidation": True,
            }
            found[name] = {
                "displayName": f"{group['name']}/{name}",
                "documentation": {"content": rule["annotations"]["description"], "mimeType": "text/markdown"},
                "userLabels": {"project": "himari-jax", "severity": severity},
                "severity": SEVERITIES[severity],
                "combiner": "OR",
                "conditions": [{"displayName": name, "conditionPrometheusQueryLanguage": condition}],
            }
    return found


def dashboard():
    """The dashboard: a chart for each of Grafana's panels that is not of Prometheus' own alerts."""
    tiles = []
    for panel in panels():
        if "ALERTS" in panel["targets"][0]["expr"]:
            continue
        sets = [
            {
                "timeSeriesQuery": {"prometheusQuery": inlined(target["expr"])},
                "plotType": "LINE",
                "legendTemplate": re.sub(r"\{\{(\w+)\}\}", r"${labels.\1}", target["legendFormat"]),
            }
            for target in panel["targets"]
        ]
        k = len(tiles)
        place = {"xPos": 16 * (k % 3), "yPos": 12 * (k // 3), "width": 16, "height": 12}
        tiles.append({**place, "widget": {"title": panel["title"], "xyChart": {"dataSets": sets}}})
    return {"displayName": "HIMARI JAX", "mosaicLayout": {"columns": COLUMNS, "tiles": tiles}}


def files():
    """Contents by path under google/."""
    made = {"dashboard.json": dashboard()} | {f"policies/{name}.json": x for name, x in policies().items()}
    return {path: json.dumps(content, indent=2) + "\n" for path, content in made.items()}


if __name__ == "__main__":
    for path, text in files().items():
        (HERE / "google" / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / "google" / path).write_text(text)
