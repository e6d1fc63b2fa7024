"""The trial ledger: what counts together, whatever somebody changes on the side; nothing is lost, nothing is hidden."""

import json
import multiprocessing

import numpy as np
import pytest
from ledgers import HOURS, OLD, luck, note, note_seeds, write_old

from himari_jax.errors import StorageError
from himari_jax.statistics.metrics import sharpe
from himari_jax.statistics.significance import deflated_sharpe, probabilistic_sharpe
from train.evaluation.book import Strike
from train.evaluation.ledger import open_ledger

pytest_plugins = ["buckets"]


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(tmp_path)


def lines(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def test_the_same_trial_counts_once_and_stands_there_once(ledger, tmp_path):
    for _ in range(2):
        assert len(note(ledger, luck(1))) == 1
    assert len(note(ledger, luck(2), seed=1)) == 2
    assert len(lines(tmp_path)) == 2


def test_a_line_says_which_trial_it_is_and_stays_short(ledger, tmp_path):
    note(ledger, luck(1), seed=7)
    (line,) = lines(tmp_path)
    assert line.keys() > OLD.keys()
    assert (line["symbols"], line["seed"], line["bars"], line["name"]) == (["BTC-USD"], 7, HOURS, "run-a")
    assert line["sharpe"] == pytest.approx(sharpe(luck(1), 1.0))
    assert len(json.dumps(line)) < 1500


CHANGED = {
    "one candle fewer": {"hours": HOURS - 1, "fingerprint": "g"},
    "another split": {"first": 700, "hours": 1300, "fingerprint": "f"},
    "a part of the span": {"first": 1000, "hours": 50},
    "a single common bar": {"first": HOURS - 1, "hours": 100},
    "another bar": {"bar": "4h", "fingerprint": "g"},
    "a portfolio that holds the symbol": {"symbols": ("ETH-USD", "BTC-USD"), "fingerprint": "g"},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_whoever_looks_at_the_same_moves_counts(ledger, change):
    note(ledger, luck(1))
    hours = change.pop("hours", HOURS) if (change := dict(change)) else HOURS
    assert len(note(ledger, luck(2, hours), "b", **change)) == 2


OTHER = {
    "another symbol": {"symbols": ("ETH-USD",), "fingerprint": "g"},
    "the time after": {"first": HOURS},
    "a synthetic market of another seed": {"synthetic": True, "fingerprint": "g"},
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_who_looks_elsewhere_does_not_count(ledger, change):
    note(ledger, luck(1))
    assert len(note(ledger, luck(2), "b", **change)) == 1


def test_another_run_root_counts_where_the_ledger_is_shared(tmp_path):
    own = [open_ledger(tmp_path / name) for name in ("one", "other")]
    assert [len(note(each, luck(k), str(k))) for k, each in enumerate(own)] == [1, 1]
    team = tmp_path / "team.jsonl"
    assert [len(note(open_ledger(team), luck(k), str(k))) for k in range(2)] == [1, 2]


def test_copies_are_one_trial_and_luck_of_its_own_is_another(ledger):
    for k in range(20):
        cut = int(k % 3)  # and a candle or two fewer
        assert len(note(ledger, luck(1)[: HOURS - cut] * (1 + k), f"copy{k}", fingerprint=f"f{cut}")) == 1
    for k in range(20):
        assert len(note(ledger, luck(2 + k), f"own{k}")) == 2 + k


def test_a_policy_on_half_of_its_span_is_another_trial(ledger):
    note(ledger, luck(1))
    assert len(note(ledger, luck(1)[: HOURS // 2])) == 2


def test_of_a_run_with_several_seeds_the_chosen_one_counts(ledger):
    assert len(note_seeds(ledger, [luck(k) for k in range(5)], chosen=2)) == 1
    assert len(note_seeds(ledger, [luck(10 + k) for k in range(5)], "b")) == 2
    assert len(ledger.read().trials) == 10
    assert len(note(ledger, luck(4), seed=4)) == 3  # by itself, of the same configuration
    assert len(note_seeds(ledger, [luck(k) for k in range(5)], chosen=2)) == 3


def test_what_policies_owe_to_a_common_base_makes_no_copies_of_them(ledger):
    base = 5e-4 + luck(0)
    for k in range(5):
        near = base * (1 + 0.03 * np.random.default_rng(k).standard_normal(HOURS))
        assert np.corrcoef(near, base)[0, 1] > 0.999
        assert len(note(ledger, near, f"near{k}", base=base)) == 1 + k


def test_policies_that_are_their_base_are_one_trial(ledger):
    base = luck(0)
    for k in range(3):
        assert len(note(ledger, base * (1 + k), f"constant{k}", base=base)) == 1


def test_a_failure_does_not_condemn_what_is_good(ledger):
    good, year = luck(3, 8760), 8760**0.5
    good += (3 / year) * good.std(ddof=1) - good.mean()  # a Sharpe of 3
    alone = deflated_sharpe(good, note(ledger, good))
    assert alone == probabilistic_sharpe(good) > 0.998
    failed = luck(4, 8760)
    failed += (-10 / year) * failed.std(ddof=1) - failed.mean()
    note(ledger, failed, "typo")
    assert deflated_sharpe(good, note(ledger, good)) > 0.99


def test_luck_is_compared_in_its_own_standard_errors_whatever_span_and_bar(ledger):
    short, long = 1e-3 + luck(1, 50), 2e-4 + luck(2)
    note(ledger, short, "b", bar="4h")
    own, other = note(ledger, long)
    assert own == pytest.approx(sharpe(long, 1.0))
    assert other * (HOURS - 1) ** 0.5 == pytest.approx(sharpe(short, 1.0) * 49**0.5)


def test_a_torn_line_is_left_alone_and_loses_no_other(ledger, tmp_path):
    note(ledger, luck(1))
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"config_hash": "tor')
    assert len(note(ledger, luck(2), seed=1)) == 2
    book = ledger.read()
    assert (len(book.trials), book.unread) == (2, 1)


def test_lines_that_hold_no_trial_count_as_none(ledger, tmp_path):
    for change in ({"span": "x/y"}, {"span": ""}, {"bar": "soon"}, {"seed": []}, {"sharpe": None}, {"sketch": 3}):
        write_old(tmp_path / "trials.jsonl", **change)
    assert (len(ledger.read().trials), ledger.read().unread) == (0, 6)


def test_a_trial_of_0_1_0_counts_where_nothing_says_that_it_is_of_another_series(ledger, tmp_path):
    write_old(tmp_path / "trials.jsonl")
    assert len(note(ledger, luck(1))) == 2
    (tmp_path / "run").mkdir()
    data = {"fingerprint": "then", "symbols": ["ETH-USD"], "bar": "1h"}
    (tmp_path / "run" / "config.json").write_text(json.dumps({"flags": {}, "data": data}))
    assert len(note(ledger, luck(1))) == 1
    note(ledger, luck(2), "b", fingerprint="then")  # a later trial knows those candles better
    assert len(note(ledger, luck(1))) == 3


def test_a_trial_of_0_1_0_that_is_evaluated_again_gets_what_its_line_lacks(ledger, tmp_path):
    note(ledger, luck(1))
    line = lines(tmp_path)[0]
    (tmp_path / "trials.jsonl").write_text(json.dumps({name: line[name] for name in OLD}) + "\n")
    assert len(note(ledger, luck(1))) == len(note(ledger, luck(1))) == 1
    assert [len(line) > len(OLD) for line in lines(tmp_path)] == [False, True]
    (trial,) = ledger.read().trials.values()
    assert trial.sketch is not None


def test_a_struck_trial_counts_no_more_but_for_itself(ledger):
    note(ledger, luck(1))
    note(ledger, luck(2), "b")
    wrong = next(trial for trial in ledger.read().trials.values() if trial.config_hash == "b")
    ledger.update(lambda book: [Strike(wrong.id, "fee of 100 %", 0)])
    assert len(note(ledger, luck(1))) == 1
    assert len(note(ledger, luck(2), "b")) == 2
    assert len(ledger.read().trials) == 2
    ledger.update(lambda book: [Strike(wrong.id, "it was right", 1, struck=False)])
    assert len(note(ledger, luck(1))) == 2


def write(place, seed):
    for n in range(10):
        note(open_ledger(place), luck(100 * seed + n), f"c{n}", seed=seed)


def written_by_three(place):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write, args=(place, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return open_ledger(place).read()


def test_several_processes_write_without_losing_a_line(tmp_path):
    book = written_by_three(tmp_path)
    assert (len(book.trials), book.unread) == (30, 0)


@pytest.mark.slow
def test_several_machines_write_to_a_bucket_without_losing_a_line(bucket):
    assert len(written_by_three(f"{bucket}/team/ledger").trials) == 30
    assert len(note(open_ledger(f"{bucket}/team/ledger"), luck(999), "me")) == 31
    assert not open_ledger(f"{bucket}/team/other").read().trials


def test_a_ledger_in_a_bucket_says_what_one_in_a_file_says(bucket, ledger):
    remote = open_ledger(f"{bucket}/team")
    for k in range(3):
        np.testing.assert_array_equal(note(remote, luck(k), str(k)), note(ledger, luck(k), str(k)))
    wrong = next(iter(ledger.read().trials.values()))
    for each in (remote, ledger):
        each.update(lambda book: [Strike(wrong.id, "a typo", 0)])
        assert len(note(each, luck(9), "9")) == 3
    assert remote.read().strikes == ledger.read().strikes


def test_a_ledger_that_cannot_be_reached_is_one_line(line, tmp_path):
    line.left = 0
    with pytest.raises(StorageError, match="gs://desk/team"):
        note(open_ledger("gs://desk/team"), luck(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/trials\.jsonl"):
        open_ledger(tmp_path / "file").check()
