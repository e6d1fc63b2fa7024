import copy
import json
import shutil
import subprocess
import sysconfig

import pytest
import yaml
from google_messages import check, messages
from processes import ask, ready, started
from serving import ROOT, Desk, multipliers, wait_for

from export.server import PROG, ServerConfig, chosen_port
from export.serving.processes.uvicorn_server import FINISH_SECONDS, SETTLE_SECONDS
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.storage import list_files, upload_folder

pytest_plugins = ["buckets", "server_fixtures"]

FILES = {
    "cloudrun.yaml": ("run.v1", "Service"),
    "vertex-model.yaml": ("aiplatform.v1", "GoogleCloudAiplatformV1Model"),
    "vertex-train.yaml": ("aiplatform.v1", "GoogleCloudAiplatformV1CustomJob"),
}


def read(name):
    return yaml.safe_load((ROOT / "export" / "deploy" / name).read_text())


def check_file(name, content):
    api, message = FILES[name]
    check(content, messages(api)[message], messages(api))


def places(value, path=()):
    """The path of every field of a message."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(key, str):
            yield (*path, key)
        yield from places(item, (*path, key))


FREE = ("annotations", "labels", "limits", "volumeAttributes")  # maps of any names


@pytest.mark.parametrize("name", FILES)
def test_a_cloud_file_is_of_the_official_message_type_and_any_misspelt_field_is_not(name):
    content = read(name)
    check_file(name, content)
    tried = 0
    for *parents, last in places(content):
        if parents and parents[-1] in FREE:
            continue
        spoiled = copy.deepcopy(content)
        inside = spoiled
        for key in parents:
            inside = inside[key]
        inside[last + "s"] = inside.pop(last)
        with pytest.raises(ValueError, match=f"{last}s: no such field"):
            check_file(name, spoiled)
        tried += 1
    assert tried > 15


def test_values_of_another_kind_and_fields_of_the_service_are_found_too():
    model = read("vertex-model.yaml")
    for path, value, info in (
        (("containerSpec", "ports", 0, "containerPort"), "8080", "no integer"),
        (("containerSpec", "env", 0, "value"), 1, "no string"),
        (("containerSpec", "args"), "--quiet", "no list"),
        (("createTime",), "2020-01-01T00:00:00Z", "only the service"),
    ):
        spoiled = copy.deepcopy(model)
        inside = spoiled
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
        with pytest.raises(ValueError, match=info):
            check_file("vertex-model.yaml", spoiled)


def test_the_container_of_each_file_asks_the_server_for_what_it_has():
    run = read("cloudrun.yaml")["spec"]["template"]["spec"]["containers"][0]
    vertex = read("vertex-model.yaml")["containerSpec"]
    assert parse(ServerConfig, run["args"], PROG).bundle == "/bundles"
    config = parse(ServerConfig, vertex["args"], PROG)
    assert config.bundle == ""
    for ports in (run["ports"], vertex["ports"]):
        assert [x["containerPort"] for x in ports] == [chosen_port(config, {})]
    mounted = {x["mountPath"] for x in run["volumeMounts"]}
    assert all(any(x.startswith(folder) for folder in mounted) for x in run["args"] if x.startswith("/"))
    assert {x["name"] for x in run["volumeMounts"]} == {
        x["name"] for x in read("cloudrun.yaml")["spec"]["template"]["spec"]["volumes"]
    }
    used = [x["httpGet"]["path"] for x in (run["startupProbe"], run["livenessProbe"], vertex["startupProbe"])]
    assert {*used, vertex["healthRoute"]} <= {"/health/ready", "/health/live"}


def test_images_are_pinned_egress_is_closed_and_the_mount_sees_changes_soon():
    service = read("cloudrun.yaml")["spec"]["template"]
    container, vertex = service["spec"]["containers"][0], read("vertex-model.yaml")["containerSpec"]
    for image in (container["image"], vertex["imageUri"]):
        assert "@sha256:" in image
    annotations = service["metadata"]["annotations"]
    assert annotations["run.googleapis.com/vpc-access-egress"] == "all-traffic"
    assert json.loads(annotations["run.googleapis.com/network-interfaces"])[0]["subnetwork"]
    (bucket,) = [x["csi"] for x in service["spec"]["volumes"] if "csi" in x]
    assert bucket["readOnly"]
    options = dict(x.split("=") for x in bucket["volumeAttributes"]["mountOptions"].split(","))
    assert int(options["metadata-cache-ttl-secs"]) <= 5  # 60 by default
    for env in (container["env"], vertex["env"]):
        assert "GOOGLE_CLOUD_PROJECT" in {x["name"] for x in env}
    # Cloud Run kills an instance 10 s after SIGTERM.
    config = parse(ServerConfig, container["args"], PROG)
    assert config.drain_seconds + SETTLE_SECONDS * 2 + FINISH_SECONDS < 9
    assert config.keep_alive > 600  # of Google's balancers


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.train"])
def test_a_dockerfile_passes_its_linter(name):
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    found = subprocess.run([hadolint, str(ROOT / "export" / "deploy" / name)], capture_output=True, text=True)
    assert found.stdout == ""
    assert found.returncode == 0


def test_vertex_ai_names_a_bundle_in_a_bucket_and_it_is_served(bundles, bucket):
    upload_folder(bundles["mlp"], f"{bucket}/model", last=["manifest.json"])
    vertex = read("vertex-model.yaml")["containerSpec"]
    desk = Desk(bundles["mlp"])
    body = json.dumps({"instances": [desk.seen()]}).encode()
    routes = {"AIP_PREDICT_ROUTE": vertex["predictRoute"], "AIP_HEALTH_ROUTE": vertex["healthRoute"]}
    with started("--port", 0, *vertex["args"], AIP_STORAGE_URI=f"{bucket}/model", **routes) as (_, port, lines):
        wait_for(lambda: ready(port))
        status, answer = ask(port, "POST", vertex["predictRoute"], body)
        assert status == 200
        assert multipliers(json.loads(answer)["predictions"][0]) == pytest.approx(
            desk.golden["multiplier"][-1], abs=1e-6
        )
    assert [x["model"] for x in lines if x["event"] == "model"] == [desk.model.digest[:12]]


def test_an_unfinished_or_missing_bundle_in_a_bucket_is_one_line(bundles, bucket, tmp_path, capsys):
    from export.server import main

    assert run_command(main, [f"{bucket}/none"]) == 2
    assert "gs://desk/none: nothing is there" in capsys.readouterr().err
    assert run_command(main, ["gs://other/none"]) == 5
    info = capsys.readouterr().err
    assert info.startswith("error: gs://other/none: ")
    assert info.count("\n") == 1
    half = tmp_path / "half"
    shutil.copytree(bundles["mlp"], half)
    (half / "manifest.json").unlink()
    upload_folder(half, f"{bucket}/half")
    with started(f"{bucket}/half", "--port", 0) as (_, port, lines):
        wait_for(lambda: any(x["event"] == "no_model" for x in lines))
        assert not ready(port)


def test_no_bundle_at_all_is_said(monkeypatch, capsys):
    from export.server import main

    monkeypatch.delenv("AIP_STORAGE_URI", raising=False)
    assert run_command(main, ["--port", "0"]) == 2
    assert "AIP_STORAGE_URI" in capsys.readouterr().err


def test_an_export_goes_to_a_bucket_with_its_manifest_last_and_never_over_another(
    bundles, bucket, tmp_path, monkeypatch, capsys
):
    import export.bundling.exporter
    from export.bundle import main
    from export.bundling.config import BundleConfig

    def write(config):
        shutil.copytree(bundles["mlp"], config.out)
        return 0

    monkeypatch.setattr(export.bundling.exporter, "write_bundle", write)
    assert run_command(main, ["run", "--out", str(tmp_path / "one"), "--gcs", f"{bucket}/m"]) == 0
    assert capsys.readouterr().out == "gs://desk/m: card.html, golden.npz, policy.onnx, manifest.json\n"
    assert set(list_files(f"{bucket}/m")) == {"card.html", "golden.npz", "policy.onnx", "manifest.json"}
    assert run_command(main, ["run", "--out", str(tmp_path / "two"), "--gcs", f"{bucket}/m"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()
    with pytest.raises(InputError, match="gs://BUCKET/PREFIX"):
        parse(BundleConfig, ["run", "--out", "x", "--gcs", "bucket/m"], "x")
