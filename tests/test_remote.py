"""Run folders in a bucket: what is there is whole or does not count, and the same command always goes on."""

import json
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from worlds import TINY_RUN

from himari_jax.errors import CheckpointError, InputError, NumericalError, StorageError
from himari_jax.storage import RemoteFolder, list_files, named_address
from train.cli import parse, run_command
from train.config import Config
from train.folder import lock
from train.mirror import fetch, local_run
from train.ppo import PROG, main, read_flags
from train.remote import Uploads, local_steps, mirror_of
from train.stored import to_json

pytest_plugins = ["buckets"]
PLACE = "gs://desk/models/run"
FILES = {"_METADATA": b"about", "state/d/one": bytes(range(256)) * 40, "state/d/two": b"2" * 999, "state/empty": b""}


class Line:
    """A connection to the emulator that can be cut after some requests, the next one in its middle."""

    def __init__(self, port: int):
        self.port, self.left = port, None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        """One request: the emulator closes the connection behind each."""
        if self.left is not None:
            self.left -= 1
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            if self.left is not None and self.left < 0:
                server.sendall(client.recv(200) if self.left == -1 else b"")
                return
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            back.join()


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass


@pytest.fixture
def line(bucket, monkeypatch):
    """The way to the bucket, and little patience."""
    line = Line(int(os.environ["STORAGE_EMULATOR_HOST"].rpartition(":")[2]))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", line.address)
    monkeypatch.setattr("himari_jax.storage.PATIENCE", 0.1)
    yield line
    line.socket.close()


@pytest.fixture
def machine(bucket, tmp_path, monkeypatch):
    """`machine(name)`: from now on this is another machine, with a disk of its own."""

    def change(name):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        return mirror_of(PLACE)

    change("first")
    return change


def headers(folder, seed=0, fingerprint="f"):
    """The beginning of a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = to_json(parse(Config, ["--seed", str(seed)], PROG))
    data = {"fingerprint": fingerprint, "symbols": ["A"], "bar": "1h"}
    (folder / "config.json").write_text(json.dumps({"flags": flags, "data": data}))


def checkpoint(folder, step):
    """Something with the shape of a checkpoint, and the line that its evaluation wrote."""
    for name, content in FILES.items():
        path = folder / "checkpoints" / str(step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + str(step).encode())
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"update": step}) + "\n")


def begin(*steps, **options):
    """A run that was uploaded at each of these steps."""
    mirror = mirror_of(PLACE)
    headers(mirror, **options)
    with Uploads(PLACE, mirror, keep=3) as uploads:
        for step in steps:
            checkpoint(mirror, step)
            uploads.push()
    return mirror


def content(folder):
    """Every file of a run folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_fresh_machine_gets_the_run_byte_for_byte_and_nothing_else(machine):
    before = content(begin(1, 2))
    assert content(fetch(PLACE)) == before  # a mirror that is up to date stays as it is
    after = machine("second")
    assert fetch(PLACE) == after
    assert content(after) == before
    assert local_steps(after) == [1, 2]


def test_the_bucket_keeps_the_newest_checkpoints_and_all_of_them(machine):
    begin(1, 2, 3, 4, 5)
    names = list_files(PLACE)
    assert {name.split("/")[1] for name in names if name.startswith("checkpoints/")} == {"3", "4", "5"}
    assert {name for name in names if name.startswith("complete/")} == {f"complete/{n}.json" for n in (3, 4, 5)}
    assert sum(name.startswith("checkpoints/4/") for name in names) == len(FILES)


def test_every_request_of_a_save_can_be_the_last_and_the_older_checkpoint_is_intact(machine, line):
    mirror, cuts, told = begin(1), 0, []
    while True:
        shutil.rmtree(mirror / "checkpoints" / "2", ignore_errors=True)
        for name in list_files(PLACE):
            if "/2" in name:
                RemoteFolder(PLACE).remove(name)
        line.left = None
        try:
            with Uploads(PLACE, mirror, keep=1) as uploads:
                checkpoint(mirror, 2)
                (mirror / "result.json").write_text(str(cuts))
                line.left = cuts
                uploads.push()
        except StorageError as error:
            told.append(str(error))
        else:
            break
        line.left = None
        other = machine("second")
        shutil.rmtree(other, ignore_errors=True)
        fetch(PLACE)
        assert local_steps(other) in ([1], [2], [1, 2]), cuts
        names = list_files(PLACE)
        assert "result.json" not in names or "complete/2.json" in names, cuts  # no result before its checkpoint
        if "complete/2.json" in names:  # no checkpoint before the lines of its log
            assert '{"update": 2}' in (other / "metrics.jsonl").read_text()
        for step in local_steps(other):
            found = {k: (other / "checkpoints" / str(step) / k).read_bytes() for k in FILES}
            assert found == {k: v + str(step).encode() for k, v in FILES.items()}
        machine("first")
        fetch(PLACE)
        with Uploads(PLACE, mirror, keep=1) as uploads:  # the same command again
            uploads.push()
        assert uploads.complete == {2}
        begin_again(mirror)
        cuts += 1
    assert cuts >= len(FILES) + 6  # owner twice, logs, files, marker, result, the old step
    assert all("\n" not in line and str(mirror) in line and "run the same command again" in line for line in told)
    assert "checkpoint 1 is intact there, the newest is in" in told[0]


def begin_again(mirror):
    """The bucket as it was: checkpoint 1 alone."""
    for name in list_files(PLACE):
        RemoteFolder(PLACE).remove(name)
    shutil.rmtree(mirror)
    begin(1)


def test_an_upload_that_failed_is_told_at_the_next_save_after_that_save_is_on_the_disk(machine, line):
    mirror = begin(1)
    with Uploads(PLACE, mirror, keep=3) as uploads:
        line.left = 0
        checkpoint(mirror, 2)
        uploads.push()
        uploads.wait()  # raises nothing: the next checkpoint is saved first
        checkpoint(mirror, 3)
        with pytest.raises(StorageError, match="checkpoint 1 is intact there, the newest is in"):
            uploads.push()
        line.left = None
        there = list_files(PLACE)
        assert "complete/2.json" not in there
    assert local_steps(mirror) == [1, 2, 3]
    assert fetch(PLACE) == mirror
    assert local_steps(mirror) == [1, 2, 3]
    with Uploads(PLACE, mirror, keep=3):
        pass
    assert local_steps(fetch_elsewhere(machine)) == [1, 2, 3]


def fetch_elsewhere(machine):
    machine("elsewhere")
    return fetch(PLACE)


@pytest.mark.parametrize(
    ("name", "harm", "told"),
    [
        ("checkpoints/2/state/d/one", None, "state/d/one is missing"),
        ("checkpoints/2/state/d/one", b"short", "state/d/one has 5 bytes, not 10241"),
        ("checkpoints/2/state/d/two", b"3" * 999 + b"2", "state/d/two has another SHA-256"),
        ("complete/2.json", None, "its upload broke off"),
        ("complete/2.json", b"{", "its list of files cannot be read"),
    ],
)
def test_what_is_damaged_or_incomplete_in_the_bucket_does_not_count(machine, capsys, name, harm, told):
    begin(1, 2)
    remote = RemoteFolder(PLACE)
    remote.remove(name) if harm is None else remote.write(name, harm)
    other = fetch_elsewhere(machine)
    assert local_steps(other) == [1]
    assert f"warning: {PLACE}: checkpoint 2 does not count ({told})\n" == capsys.readouterr().err
    checkpoint(other, 2)  # the run goes on and saves it again
    with Uploads(PLACE, other, keep=3):
        pass
    wanted = content(other)
    machine("third")
    assert content(fetch(PLACE)) == wanted
    assert local_steps(mirror_of(PLACE)) == [1, 2]


def test_where_no_checkpoint_can_be_used_nothing_is_begun_anew_and_nothing_is_deleted(machine):
    begin(1, 2)
    remote = RemoteFolder(PLACE)
    for step in (1, 2):
        remote.write(f"checkpoints/{step}/_METADATA", b"other")
    before = list_files(PLACE)
    with pytest.raises(CheckpointError, match="no usable checkpoint") as found:
        fetch_elsewhere(machine)
    assert found.value.exit_code == 4
    assert list_files(PLACE) == before


def test_a_run_cut_off_before_its_first_checkpoint_was_whole_may_begin(machine, capsys):
    begin(0)
    RemoteFolder(PLACE).remove("complete/0.json")
    assert content(fetch_elsewhere(machine)) == {}
    assert "its first checkpoint never arrived whole" in capsys.readouterr().out
    RemoteFolder(PLACE).write("checkpoints/7/_METADATA", b"x")
    with pytest.raises(CheckpointError):
        fetch(PLACE)


def test_a_mirror_that_got_further_is_kept_and_one_that_did_not_is_brought_up(machine, capsys):
    first = begin(1).absolute()
    machine("second")
    second = fetch(PLACE).absolute()
    checkpoint(second, 2)
    assert local_steps(fetch(PLACE)) == [1, 2]
    assert "going on from runs/gs+desk+models+run, checkpoint 2" in capsys.readouterr().out
    with Uploads(PLACE, mirror_of(PLACE), keep=3):
        pass
    machine("first")
    fetch(PLACE)
    assert content(first) == content(second)


def test_a_checkpoint_that_was_damaged_in_the_mirror_is_fetched_again(machine, capsys):
    mirror = begin(1, 2)
    before = content(mirror)
    (mirror / "checkpoints/2/state/d/one").write_bytes(b"damaged")
    fetch(PLACE)
    assert content(mirror) == before
    assert "it was fetched again" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"seed": 1}, {"fingerprint": "g"}])
def test_a_mirror_of_another_run_is_refused_and_left_alone(machine, options):
    begin(1)
    mirror = machine("second")
    headers(mirror, **options)
    checkpoint(mirror, 5)
    before = content(mirror), list_files(PLACE)
    with pytest.raises(InputError, match=r"is not the one in its mirror .*(--seed|the candles)"):
        fetch(PLACE)
    assert (content(mirror), list_files(PLACE)) == before


def test_of_two_machines_the_later_one_goes_on_and_the_other_writes_nothing_more(machine):
    mirror = begin(1).absolute()
    first = Uploads(PLACE, mirror, keep=3).__enter__()
    machine("second")
    other = fetch(PLACE)
    with Uploads(PLACE, other, keep=3):
        checkpoint(other, 2)
    there = list_files(PLACE)
    checkpoint(mirror, 3)
    with pytest.raises(InputError, match="another process took this run over") as found:
        first.__exit__(None, None, None)
    assert found.value.exit_code == 2
    assert list_files(PLACE) == there
    assert "\n" not in str(found.value)


def test_a_run_whose_numbers_go_bad_still_uploads_what_is_there_to_look_at(machine):
    mirror = begin(1)
    uploads = Uploads(PLACE, mirror, keep=3).__enter__()
    (mirror / "bad_rollout.npz").write_bytes(b"x")
    uploads.__exit__(NumericalError, NumericalError("bad"), None)
    assert "bad_rollout.npz" in list_files(PLACE)


def test_files_of_the_machine_stay_on_it(machine):
    mirror = begin(1)
    (mirror / "backtest").mkdir()
    for name in (".lock", "result.json.part", "backtest/result.json", "quarantine"):
        (mirror / name).write_text("x")
    with Uploads(PLACE, mirror, keep=3):
        pass
    assert not {".lock", "result.json.part", "backtest/result.json"} & set(list_files(PLACE))


def test_a_mirror_in_use_is_read_as_it_is_and_trained_in_by_nobody_else(machine):
    mirror = begin(1)
    with lock(mirror):
        assert local_run(Path(PLACE)) == mirror
        with pytest.raises(InputError, match="another process"):
            fetch(PLACE)


def test_addresses_have_mirrors_of_their_own():
    places = ["gs://a/b/c", "gs://a/b+c", "gs://a/b%2Bc", "gs://a/b", "gs://a", f"gs://a/{'x' * 300}"]
    places.append(places[-1] + "y")
    assert len({mirror_of(place) for place in places}) == len(places)
    assert all(mirror_of(p).parent == Path("runs") and len(mirror_of(p).name) <= 200 for p in places)
    assert mirror_of("gs://a/b/") == mirror_of("gs://a/b")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--bucket-name", "desk"], "--bucket-name: goes with --model-dir"),
        (["--model-dir", "m"], "--model-dir: goes with --bucket-name"),
        (["--bucket-name", "desk", "--model-dir", "m", "--run-dir", "runs/x"], "--run-dir and --bucket-name"),
        (["--bucket-name", "gs://desk", "--model-dir", "m"], "without gs://"),
        (["--bucket-name", "desk", "--model-dir", "../m"], "gs://BUCKET/PREFIX"),
        (["--run-dir", "gs://"], "gs://: allowed is gs://BUCKET/PREFIX"),
        (["--run-dir", "gs://desk/a//b"], "gs://BUCKET/PREFIX"),
        (["--resume", "--bucket-name", "desk"], "goes with --model-dir"),
        (["--resume", "--run-dir", "gs://desk/none"], "gs://desk/none: no run is there"),
        (["--run-dir", "gs://desk/foreign"], "not empty and no run"),
    ],
)
def test_addresses_that_name_nothing_are_one_line(machine, capsys, args, told):
    RemoteFolder("gs://desk/foreign").write("letter.txt", b"dear")
    assert run_command(main, args) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_bucket_that_cannot_be_used_is_one_line_before_anything_is_trained(machine, capsys, monkeypatch, tmp_path):
    def refused(*args):
        assert run_command(main, list(args)) == 5
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert not Path("runs").exists()
        return error

    assert "gs://none/x: not there" in refused("--run-dir", "gs://none/x")
    monkeypatch.setattr("himari_jax.storage.PATIENCE", 0.1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    assert "check the network" in refused("--run-dir", PLACE)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert "no credentials" in refused("--bucket-name", "desk", "--model-dir", "m")
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    monkeypatch.delitem(sys.modules, "google.cloud.storage", raising=False)
    assert "himari-jax[cloud]" in refused("--resume", "--run-dir", PLACE)


def test_permission_denied_is_one_line_that_names_the_role(machine, monkeypatch):
    from google.api_core.exceptions import Forbidden
    from google.cloud import storage

    def deny(*args, **more):
        raise Forbidden("desk@example.iam does not have storage.objects.create access")

    mirror = begin(1)
    monkeypatch.setattr(storage.Blob, "upload_from_string", deny)
    with pytest.raises(StorageError, match=r"permission denied .*objects.create.*objectUser") as found:
        Uploads(PLACE, mirror, keep=3).__enter__()
    assert "\n" not in str(found.value)


def test_two_spellings_of_an_address_are_one():
    assert named_address("desk", "/models/run/") == PLACE
    spelled = parse(Config, ["--bucket-name", "desk", "--model-dir", "models/run"], PROG).run
    assert spelled.address == parse(Config, ["--run-dir", PLACE + "/"], PROG).run.address == PLACE
    assert parse(Config, ["--run-dir", "runs/x"], PROG).run.address is None


def test_resume_needs_no_other_flag_whatever_the_spelling(machine, capsys):
    begin(1, seed=7)
    for args in (["--run-dir", PLACE], ["--bucket-name", "desk", "--model-dir", "models/run"]):
        machine(args[0])
        config, folder = read_flags(["--resume", *args])
        assert (config.run.seed, config.run.address, folder) == (7, PLACE, mirror_of(PLACE))
    assert capsys.readouterr().out == f"resuming {PLACE}\n" * 2


def train(*args):
    """Trains here: the exit code."""
    return run_command(main, [*TINY_RUN, "--save-interval", "5", *args])


def leaves_at(folder, step):
    """Digests of the state of a checkpoint."""
    from train.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder / "checkpoints")
    leaves = checkpoints.meta(step)["leaves"]
    checkpoints.close()
    return leaves


def stop_at(monkeypatch, update):
    """SIGTERM after some updates."""
    from train.course import Course

    whole = Course.advance

    def advance(self, updates):
        seconds = whole(self, updates)
        if self.done >= update and self.signal is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return seconds

    monkeypatch.setattr(Course, "advance", advance)


@pytest.mark.slow
def test_a_run_stopped_on_one_machine_ends_on_another_as_if_it_had_never_stopped(machine, monkeypatch, capsys):
    assert train("--run-dir", "runs/whole") == 0
    wanted, result = leaves_at(Path("runs/whole"), 8), json.loads(Path("runs/whole/result.json").read_text())
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert train("--run-dir", PLACE) == 75
    told = capsys.readouterr()
    assert f"saved in {PLACE}; go on with: python -m train.ppo --resume --run-dir {PLACE}" in told.err
    assert f"run folder: {PLACE} (mirror: runs/gs+desk+models+run)" in told.out
    assert "complete/4.json" in list_files(PLACE)
    second = machine("second")
    assert run_command(main, ["--resume", "--bucket-name", "desk", "--model-dir", "models/run"]) == 0
    assert "continuing at update 4" in capsys.readouterr().out
    assert leaves_at(second, 8) == wanted
    third = machine("third")
    assert train("--run-dir", PLACE) == 0  # a finished run prints its table
    assert leaves_at(third, 8) == wanted
    found = json.loads((third / "result.json").read_text())
    assert {k: v for k, v in found.items() if k != "timings"} == {k: v for k, v in result.items() if k != "timings"}
    updates = [json.loads(line)["update"] for line in (third / "metrics.jsonl").read_text().splitlines()]
    assert updates == list(range(1, 9))


@pytest.mark.slow
@pytest.mark.parametrize("requests", [3, 15, 40, 75])
def test_a_bucket_that_goes_away_is_exit_5_and_the_same_command_ends_as_if_it_had_not(
    machine, line, monkeypatch, capsys, requests
):
    assert train("--run-dir", "runs/whole") == 0
    line.left = requests
    assert train("--run-dir", PLACE) == 5
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith(("error: ", "warning: "))]
    assert len(errors) == 1  # beside what the emulator says of its broken pipes
    assert errors[0].startswith(f"error: {PLACE}")
    line.left = None
    if requests == 40:  # what the bucket has is enough on another machine
        machine("second")
        assert "is intact there" in errors[0]
    assert train("--run-dir", PLACE) == 0
    found = leaves_at(fetch_elsewhere(machine), 8)
    machine("first")
    assert found == leaves_at(Path("runs/whole"), 8)


@pytest.mark.slow
def test_a_report_a_backtest_and_a_bundle_are_made_of_a_run_in_a_bucket(machine, capsys):
    from export.bundle import main as bundle
    from train.backtest import main as backtest
    from train.report import main as report

    longer = ["--synthetic.num-bars", "6000"]
    assert train("--bucket-name", "desk", "--model-dir", "models/run", *longer) == 0
    machine("second")
    assert run_command(report, [PLACE]) == 0
    assert run_command(backtest, [PLACE]) == 0
    assert (mirror_of(PLACE) / "backtest" / "report.html").exists()
    machine("third")
    assert run_command(bundle, [PLACE, "--out", "out", "--bucket-name", "desk", "--model-dir", "models/run"]) == 0
    assert json.loads(Path("out/manifest.json").read_text())["name"] == "run"
    assert set(list_files(f"{PLACE}/bundle")) == {"policy.onnx", "golden.npz", "manifest.json"}
    capsys.readouterr()
    assert run_command(bundle, [PLACE, "--out", "two", "--bucket-name", "desk", "--model-dir", "models/run"]) == 2
    assert "is there already" in capsys.readouterr().err
