"""First contact of a user: the address the server listens on, and folders of the wrong kind."""

import json
import re
import shlex

import pytest
from processes import ask, ready, started
from serving import ROOT, wait_for

from export.bundle import main as bundle
from export.check import main as check
from export.request import main as request
from export.server import PROG, ServerConfig, chosen_host, who_may_ask
from export.server import main as server
from himari_jax.command import parse, run_command
from train.reporting.console import console, print_next

pytest_plugins = ["server_fixtures"]


@pytest.mark.parametrize(
    ("flags", "environment", "host"),
    [
        ([], {}, "127.0.0.1"),
        ([], {"PORT": "8080"}, "127.0.0.1"),
        ([], {"AIP_HTTP_PORT": "8080"}, "0.0.0.0"),
        ([], {"K_SERVICE": "himari-serve", "PORT": "8080"}, "0.0.0.0"),
        (["--host", "127.0.0.1"], {"K_SERVICE": "himari-serve"}, "127.0.0.1"),
        (["--host", "::"], {}, "::"),
    ],
)
def test_the_server_listens_to_this_machine_alone_unless_told_or_run_by_a_cloud(flags, environment, host):
    assert chosen_host(parse(ServerConfig, flags, PROG), environment) == host


def test_the_container_listens_to_its_network_whatever_follows_in_its_command():
    text = (ROOT / "export" / "deploy" / "Dockerfile").read_text()
    entry, more = (json.loads(re.search(rf"^{word} (\[.*\])$", text, re.M)[1]) for word in ("ENTRYPOINT", "CMD"))
    assert entry[:3] == ["python", "-m", "export.server"]
    for following in (more, ["/bundles", "--api-key-file", "/keys/api/key"], ["--max-age-bars", "2"]):
        assert chosen_host(parse(ServerConfig, [*entry[3:], *following], PROG), {}) == "0.0.0.0"


def test_the_line_about_listening_says_who_can_ask_and_how_to_change_that(bundles):
    with started(bundles["mlp"], "--port", 0) as (_, port, lines):
        wait_for(lambda: ready(port))
        (line,) = [x for x in lines if x["event"] == "listening"]
        assert line["host"] == "127.0.0.1"
        assert "this machine alone" in line["message"]
        assert "--host 0.0.0.0" in line["message"]
        assert ask(port, "GET", "/health/ready")[0] == 200
    assert "--api-key-file asks for a key" in who_may_ask("0.0.0.0", False)
    assert who_may_ask("0.0.0.0", True) == "whoever reaches 0.0.0.0 can ask, with the key"


def test_a_port_that_is_taken_is_one_line_with_the_way_out(bundles, capsys):
    with started(bundles["mlp"], "--port", 0) as (_, port, _lines):
        assert run_command(server, [str(bundles["mlp"]), "--port", str(port)]) == 5
        assert "choose another --host or --port" in capsys.readouterr().err


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder that looks like a run, in a folder of runs."""
    folder = tmp_path / "my runs" / "2019-mlp"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"flags": {}, "data": {}}))
    monkeypatch.chdir(tmp_path)
    return folder.relative_to(tmp_path)


def test_the_commands_that_follow_a_run_can_be_pasted(run, capsys):
    for place, name in ((run, "2019-mlp"), ("gs://desk/runs/a", "a")):
        print_next(console(), place)
        lines = [shlex.split(line.partition(": ")[2])[1:] for line in capsys.readouterr().out.splitlines()]
        assert lines[0] == ["-m", "train.backtest", str(place)]
        assert lines[1] == ["-m", "export.bundle", str(place), "--out", f"bundles/{name}"]


@pytest.mark.parametrize("command", [server, check, request])
@pytest.mark.parametrize("inside", [True, False])
def test_a_run_is_no_bundle_and_the_line_that_makes_one_can_be_pasted(run, capsys, command, inside):
    asked = run if inside else run.parent
    assert run_command(command, [str(asked)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert ("a run, not a bundle" if inside else "a folder of runs") in line
    words = shlex.split(line.split("this makes one: ")[1])
    assert words[1:] == ["-m", "export.bundle", str(run), "--out", "bundles/2019-mlp"]


def test_the_folder_that_is_named_for_the_bundle_does_not_exist_yet(run, tmp_path, capsys):
    (tmp_path / "bundles" / "2019-mlp").mkdir(parents=True)
    run_command(check, [str(run)])
    assert capsys.readouterr().err.rstrip().endswith("--out bundles/2019-mlp-2")


def test_the_chosen_run_of_a_sweep_is_named(run, capsys):
    chosen = run.parent / "chosen"
    chosen.mkdir()
    (chosen / "config.json").write_text(json.dumps({"flags": {}, "data": {}}))
    (run / "config.json").touch()
    run_command(check, [str(run.parent)])
    assert f"'{chosen}'" in capsys.readouterr().err


def test_a_walk_forward_test_has_no_policy_to_serve(run, capsys):
    (run / "config.json").write_text(json.dumps({"flags": {}, "data": {}, "walk_forward": {}}))
    assert run_command(server, [str(run)]) == 2
    assert "a walk-forward test, which keeps no policy to serve" in capsys.readouterr().err


def test_a_bundle_and_a_folder_of_runs_are_no_run(bundles, run, capsys):
    assert run_command(bundle, [str(bundles["mlp"]), "--out", "made"]) == 2
    line = capsys.readouterr().err
    assert "a bundle already, not a run" in line
    assert shlex.split(line.split("next: ")[1])[1:] == ["-m", "export.request", str(bundles["mlp"])]
    assert run_command(bundle, [str(run.parent), "--out", "made"]) == 2
    assert f"a folder of runs; name one, such as {run}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [check, request])
def test_a_folder_of_bundles_and_a_file_of_one_are_not_the_bundle(bundles, command, capsys):
    assert run_command(command, [str(bundles["mlp"].parent)]) == 2
    assert "a folder of bundles; name one, such as" in capsys.readouterr().err


def test_a_file_of_a_bundle_is_refused_with_its_folder(bundles, capsys):
    assert run_command(server, [str(bundles["mlp"] / "policy.onnx")]) == 2
    assert capsys.readouterr().err.rstrip().endswith(f"name the folder of the bundle, {bundles['mlp']}")
