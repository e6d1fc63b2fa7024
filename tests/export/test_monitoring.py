"""Files and command of the monitoring: of the official message types, made of the rules, applied once and renewed."""

import copy
import json
import re
import sys

import pytest
import yaml
from google_messages import check, messages
from google_monitoring import HERE, NOT_THERE, files, panels, rule_groups
from serving import ROOT

from export import monitoring
from himari_jax.command import run_command

ARGS = ["--project", "desk-1"]
ALERTS = {rule["alert"] for group in rule_groups() for rule in group["rules"] if "alert" in rule}


def sent(name):
    return json.loads((HERE / "google" / name).read_text())


def test_googles_files_are_what_rules_and_panels_say():
    made = files()
    there = {str(path.relative_to(HERE / "google")) for path in (HERE / "google").rglob("*.json")}
    assert there == set(made)
    for path, text in made.items():
        assert (HERE / "google" / path).read_text() == text, "tests/support/google_monitoring.py writes them"


def test_they_are_of_the_official_message_types_and_a_misspelt_field_is_not():
    v1, v3 = messages("monitoring.v1"), messages("monitoring.v3")
    check(sent("dashboard.json"), v1["Dashboard"], v1)
    names = {path.stem for path in (HERE / "google" / "policies").glob("*.json")}
    assert names == ALERTS - set(NOT_THERE)
    for name in names:
        policy = sent(f"policies/{name}.json")
        check(policy, v3["AlertPolicy"], v3)
        condition = policy["conditions"][0]["conditionPrometheusQueryLanguage"]
        assert condition["disableMetricValidation"]
        assert "himari:" not in condition["query"]  # Cloud Monitoring records nothing
        assert int(condition["evaluationInterval"][:-1]) % 30 == 0
    spoiled = copy.deepcopy(policy)
    spoiled["conditions"][0]["conditionPrometheusQueryLanguage"]["querry"] = "up"
    with pytest.raises(ValueError, match="querry: no such field"):
        check(spoiled, v3["AlertPolicy"], v3)


def test_tiles_of_the_dashboard_stay_on_it_and_do_not_overlap():
    layout = sent("dashboard.json")["mosaicLayout"]
    taken = set()
    for tile in layout["tiles"]:
        cells = {(tile["xPos"] + x, tile["yPos"] + y) for x in range(tile["width"]) for y in range(tile["height"])}
        assert not cells & taken
        taken |= cells
    assert max(x for x, _ in taken) < layout["columns"]


def test_grafana_finds_its_data_source_by_a_fixed_uid_and_each_panel_has_its_own_place():
    folder = HERE / "grafana"
    board = json.loads((folder / "dashboards" / "himari.json").read_text())
    (source,) = yaml.safe_load((folder / "provisioning" / "datasources" / "himari.yaml").read_text())["datasources"]
    assert board["id"] is None
    assert "${" not in json.dumps(board)  # provisioning resolves none
    ids, taken = [panel["id"] for panel in board["panels"]], set()
    assert len(set(ids)) == len(ids)
    for panel in panels():
        for what in (panel, *panel["targets"]):
            assert what["datasource"] == {"type": source["type"], "uid": source["uid"]}
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells


def test_grafanas_own_types_read_the_dashboard_and_give_it_back():
    dashboards = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip has grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    board = json.loads((HERE / "grafana" / "dashboards" / "himari.json").read_text())
    again = json.loads(json.dumps(dashboards.Dashboard.from_json(board), cls=JSONEncoder))
    for panel, found in zip(board["panels"], again["panels"], strict=True):
        assert panel.items() >= {key: found[key] for key in ("title", "type", "gridPos", "id")}.items()
        assert [x["expr"] for x in panel.get("targets", [])] == [x["expr"] for x in found.get("targets") or []]


def test_the_service_with_a_sidecar_is_the_service_and_a_sidecar():
    plain, watched = (
        yaml.safe_load((ROOT / "export" / "deploy" / name).read_text())
        for name in ("cloudrun.yaml", "cloudrun-metrics.yaml")
    )
    annotations, inner = (watched["spec"]["template"][key] for key in ("metadata", "spec"))
    depends = json.loads(annotations["annotations"].pop("run.googleapis.com/container-dependencies"))
    server, sidecar = inner["containers"]
    assert depends == {sidecar["name"]: [server.pop("name")]}
    (mount,) = sidecar["volumeMounts"]
    config = inner["volumes"].pop(0)
    assert mount == {"name": config["name"], "mountPath": "/etc/rungmp"}
    assert config["secret"]["items"] == [{"key": "latest", "path": "config.yaml"}]
    assert sidecar["image"].endswith("/cloud-run-gmp-sidecar:1.2.0")
    inner["containers"].remove(sidecar)
    assert watched == plain
    scraped = yaml.safe_load((HERE / "run-monitoring.yaml").read_text())
    (endpoint,) = scraped["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (server["ports"][0]["containerPort"], "/metrics")


class Cloud:
    """Cloud Monitoring as far as the command asks it: keeps what is sent, lists a page of two at a time."""

    def __init__(self, status=200):
        self.there, self.asked, self.status = {}, [], status

    def request(self, method, address, json=None, timeout=None):
        self.asked.append((method, address))
        assert timeout
        if self.status != 200:
            return self.answer({"error": {"message": "the caller\nmay not"}}, self.status)
        path, _, page = address.removeprefix("https://monitoring.googleapis.com/").partition("?pageToken=")
        if method == "GET":
            kind = path.rsplit("/", 1)[1]
            found = [x for name, x in self.there.items() if f"/{kind}/" in name]
            start = int(page or 0)
            more = {"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}
            return self.answer({kind: found[start : start + 2]} | more)
        if method == "POST":
            assert "name" not in json
            name = f"{path.split('/', 1)[1]}/{len(self.there)}"
        else:
            name = path.split("/", 1)[1]
            assert json["name"] == name in self.there
            assert json.get("etag") == self.there[name].get("etag")
        self.there[name] = json | {"name": name} | ({"etag": str(len(self.asked))} if "dashboards" in name else {})
        return self.answer(self.there[name])

    @staticmethod
    def answer(content, status=200):
        return type("Answer", (), {"status_code": status, "text": json.dumps(content)})


@pytest.fixture
def cloud(monkeypatch):
    found = Cloud()
    monkeypatch.setattr(monitoring, "open_session", lambda: found)
    return found


def test_it_prints_what_it_would_create_and_asks_nobody(cloud, capsys):
    assert run_command(monitoring.main, ARGS) == 0
    shown = capsys.readouterr().out
    assert all(f"/{name} " in shown for name in ALERTS - set(NOT_THERE))
    assert "gcloud monitoring dashboards create --project desk-1 --config-from-file" in shown
    assert "POST https://monitoring.googleapis.com/v3/projects/desk-1/alertPolicies" in shown
    assert cloud.asked == []


def test_it_creates_each_once_and_renews_it_the_next_time(cloud, capsys):
    channel = "projects/desk-1/notificationChannels/7"
    assert run_command(monitoring.main, [*ARGS, "--apply"]) == 0
    assert capsys.readouterr().out.count("created: ") == len(files())
    before = set(cloud.there)
    assert run_command(monitoring.main, [*ARGS, "--apply", "--channel", channel]) == 0
    assert capsys.readouterr().out.count("renewed: ") == len(files())
    assert set(cloud.there) == before
    assert len(before) == len(files())
    policies = [x for name, x in cloud.there.items() if "alertPolicies" in name]
    assert all(policy["notificationChannels"] == [channel] for policy in policies)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(403, 5, "monitoring.editor"), (400, 2, "refused"), (429, 5, "again"), (503, 5, "again")],
)
def test_a_refusal_is_one_line(status, code, words, cloud, capsys):
    cloud.status = status
    assert run_command(monitoring.main, [*ARGS, "--apply"]) == code
    line = capsys.readouterr().err
    assert re.fullmatch(rf"error: GET https://\S+ .*the caller may not.*{words}.*\n|error: GET .*{words}.*\n", line)


def test_without_credentials_or_library_it_says_so_in_one_line(monkeypatch, capsys):
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def none(**_):
        raise DefaultCredentialsError("no")

    monkeypatch.setattr(google.auth, "default", none)
    assert run_command(monitoring.main, [*ARGS, "--apply"]) == 5
    assert "no credentials of Google Cloud" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "google.auth", None)
    assert run_command(monitoring.main, [*ARGS, "--apply"]) == 5
    assert "google-auth is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("args", [[], ["--project", "a b"], [*ARGS, "--channel", "7"]])
def test_a_bad_flag_is_one_line_that_names_it(args, capsys):
    assert run_command(monitoring.main, args) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert ("--channel" if "--channel" in args else "--project") in line
