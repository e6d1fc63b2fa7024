"""Workers of one Optuna study: no trial is lost or trained twice, and what cannot be reached loses nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from himari_jax.errors import InputError, StorageError
from himari_jax.extras import how_to_install
from train.studies.sweep.flags import read_flags
from train.studies.sweep.optuna import OptunaSearch, marks_of
from train.studies.sweep.store import Finished, Store

ROOT = Path(__file__).parents[2]
FLAGS = "--vary learning_rate=log:1e-4:1e-2 hidden_dim=8:64:8 policy=mlp,lstm --search optuna --num-trials 24".split()
# A worker that trains in no time: the score follows from the point alone.
WORKER = """
import sys, time
from pathlib import Path
from train.studies.sweep.flags import read_flags
from train.studies.sweep.optuna import OptunaSearch, marks_of
from train.studies.sweep.store import Finished, Store
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
flags, _ = read_flags(sys.argv[3:])
store = Store(folder)
search = OptunaSearch(flags, folder, folder.name, store.read(), marks_of(flags, "hash", "candles"))
while asked := search.ask():
    print(*(each.number for each in asked), flush=True)
    time.sleep(seconds)
    done = [Finished(each.number, each.point, "complete", 9, (float(each.point["learning_rate"]),), (9,), (), "", "")
            for each in asked]
    store.add(done, {})
    search.tell(done)
"""


def flags_of(*more):
    return read_flags([*FLAGS, *more])[0]


def search_in(folder, *more, worker="w", finished=None, candles="candles"):
    folder.mkdir(exist_ok=True)
    flags = flags_of(*more)
    return OptunaSearch(flags, folder, worker, finished or {}, marks_of(flags, "hash", candles))


def done_of(asked, state="complete", score=None):
    return [
        Finished(each.number, each.point, state, 9, (float(each.point["learning_rate"]),), (9,), (), "", "")
        for each in asked
    ]


def start(folder, seconds, *more):
    """A worker in a process of its own."""
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-c", WORKER, str(folder), str(seconds), *FLAGS, *more]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def numbers_in(folder):
    lines = (folder / "finished.jsonl").read_text().splitlines()
    return [json.loads(line)["trial"] for line in lines]


def test_two_processes_share_a_study_without_a_lost_or_double_trial_though_one_is_killed(tmp_path):
    shared = ["--storage", str(tmp_path / "journal.log"), "--batch-size", "4"]
    one, other = (start(tmp_path / name, 0.1, *shared) for name in ("one", "other"))
    asked = one.stdout.readline()
    one.send_signal(signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL
    assert asked.split()
    assert other.wait(timeout=60) == 0, other.stderr.read()
    again = start(tmp_path / "one", 0, *shared)
    assert again.wait(timeout=60) == 0, again.stderr.read()
    trained = sorted(numbers_in(tmp_path / "one") + numbers_in(tmp_path / "other"))
    assert trained == list(range(24))
    assert set(map(int, asked.split())) <= set(numbers_in(tmp_path / "one"))  # it went on with what it had asked for
    search = search_in(tmp_path / "third", *shared, worker="third")
    assert search.ask() == []
    assert search.waiting() == []
    assert [each.trial for each in search.others()] == list(range(24))
    values = [trial.value for trial in search.trials()]
    assert values == [float(each.point["learning_rate"]) for each in search.others()]


def test_a_worker_that_comes_back_goes_on_with_the_points_that_it_asked_for(tmp_path):
    asked = search_in(tmp_path / "a", "--batch-size", "3").ask()
    assert search_in(tmp_path / "a", "--batch-size", "3").ask() == asked


def test_what_was_finished_and_not_told_is_told_when_the_worker_comes_back(tmp_path):
    asked = search_in(tmp_path / "a", "--batch-size", "3").ask()
    store = Store(tmp_path / "a")
    store.add(done_of(asked), {})
    again = search_in(tmp_path / "a", "--batch-size", "3", finished=store.read())
    assert [trial.state.name for trial in again.trials()] == ["COMPLETE"] * 3
    assert {each.number for each in again.ask()} == {3, 4, 5}


def test_nobody_else_takes_over_what_a_worker_asked_for(tmp_path):
    shared = ["--storage", str(tmp_path / "journal.log"), "--batch-size", "3", "--num-trials", "5"]
    mine = search_in(tmp_path / "a", *shared, worker="a").ask()
    other = search_in(tmp_path / "b", *shared, worker="b")
    theirs = other.ask()
    assert [len(mine), len(theirs)] == [3, 2]
    other.tell(done_of(theirs))
    assert other.ask() == []
    assert other.waiting() == ["3 by a"]


def test_dropped_and_failed_trials_are_told_as_such(tmp_path):
    search = search_in(tmp_path / "a", "--batch-size", "3")
    one, two, three = search.ask()
    search.tell([*done_of([one], "dropped"), *done_of([two], "failed"), *done_of([three])])
    assert [trial.state.name for trial in search.trials()] == ["PRUNED", "FAIL", "COMPLETE"]
    assert search.trials()[0].intermediate_values == {9: float(one.point["learning_rate"])}


@pytest.mark.parametrize(
    ("more", "candles", "said"),
    [
        (["--num-seeds", "2"], "candles", "--seed or --num-seeds"),
        (["--halving", "2"], "candles", "--halving"),
        ([], "others", "candles"),
    ],
)
def test_a_study_of_something_else_is_refused(tmp_path, more, candles, said):
    shared = ["--storage", str(tmp_path / "journal.log")]
    search_in(tmp_path / "a", *shared)
    with pytest.raises(InputError, match=f"is of other {said}; use the flags"):
        search_in(tmp_path / "b", *shared, *more, candles=candles)


@pytest.mark.parametrize("storage", ["sqlite:////nowhere/x.db", "postgresql://me:secret@localhost:1/x", "nosuch://x"])
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(tmp_path, storage):
    with pytest.raises(StorageError) as caught:
        search_in(tmp_path / "a", "--storage", storage)
    assert str(caught.value).startswith(f"--storage {storage.replace('secret', '***')}: cannot be reached")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_journal_that_goes_away_under_way_is_one_line(tmp_path):
    place = tmp_path / "shared"
    search = search_in(tmp_path / "a", "--storage", str(place / "journal.log"))
    asked = search.ask()
    (place / "journal.log").unlink()
    place.rmdir()
    with pytest.raises(StorageError, match="cannot be reached"):
        search.tell(done_of(asked))


def test_workers_propose_different_points_and_share_a_database(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    one, other = (search_in(tmp_path / name, "--storage", url, worker=name) for name in ("a", "b"))
    points = [each.point for each in [*one.ask(), *other.ask()]]
    assert len({tuple(point.values()) for point in points}) == len(points) == 24


def test_without_optuna_the_search_is_one_line(tmp_path):
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from train.studies.sweep.optuna import import_optuna\n"
        "try:\n    import_optuna()\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    said = f"InputError --search optuna: Optuna is not installed: {how_to_install('search')}\n"
    assert run.stdout == said
