"""Run folders in a bucket: a checkpoint there is whole or does not count, and the same command always goes on."""

import shutil
from pathlib import Path

import pytest
from remote_runs import FILES, PLACE, begin, checkpoint, content, fetch_elsewhere, headers

from himari_jax.errors import CheckpointError, InputError, NumericalError, StorageError
from himari_jax.storage import RemoteFolder, list_files
from train.artifacts.downloads import fetch, local_run
from train.artifacts.run_folder import local_steps, lock
from train.artifacts.uploads import Uploads, mirror_of

pytest_plugins = ["buckets"]


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


def test_what_a_broken_upload_left_behind_is_gone_when_the_checkpoint_is_there(machine):
    mirror = begin(1)
    for name in ("checkpoints/0/state/d/old", "checkpoints/2/state/d/left"):
        RemoteFolder(PLACE).write(name, b"x")
    with Uploads(PLACE, mirror, keep=3):
        checkpoint(mirror, 2)
    names = {name for name in list_files(PLACE) if name.startswith("checkpoints/")}
    assert names == {f"checkpoints/{step}/{name}" for step in (1, 2) for name in FILES}


def test_every_request_of_a_save_can_be_the_last_and_the_older_checkpoint_is_intact(machine, line):
    mirror, cuts, printed = begin(1), 0, []
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
            printed.append(str(error))
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
    assert all("\n" not in line and str(mirror) in line and "run the same command again" in line for line in printed)
    assert "checkpoint 1 is intact there, the newest is in" in printed[0]


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


@pytest.mark.parametrize(
    ("name", "harm", "printed"),
    [
        ("checkpoints/2/state/d/one", None, "state/d/one is missing"),
        ("checkpoints/2/state/d/one", b"short", "state/d/one has 5 bytes, not 10241"),
        ("checkpoints/2/state/d/two", b"3" * 999 + b"2", "state/d/two has another SHA-256"),
        ("complete/2.json", None, "its upload broke off"),
        ("complete/2.json", b"{", "its list of files cannot be read"),
    ],
)
def test_what_is_damaged_or_incomplete_in_the_bucket_does_not_count(machine, capsys, name, harm, printed):
    begin(1, 2)
    remote = RemoteFolder(PLACE)
    remote.remove(name) if harm is None else remote.write(name, harm)
    other = fetch_elsewhere(machine)
    assert local_steps(other) == [1]
    assert f"warning: {PLACE}: checkpoint 2 does not count ({printed})\n" == capsys.readouterr().err
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
