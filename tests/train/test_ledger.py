import json
import multiprocessing

import numpy as np

from train.evaluation.trials import LedgerEntry, record_trials, sharpes_on


def trial(config="a", seed=0, sharpe=0.1, fingerprint="f", span="x/y", bar="1h"):
    return LedgerEntry(config, seed, fingerprint, span, bar, sharpe)


def test_the_same_trial_counts_once(tmp_path):
    record_trials(tmp_path, [trial(seed=0), trial(seed=1)])
    record_trials(tmp_path, [trial(seed=0), trial("b", 0)])
    assert len(sharpes_on(tmp_path, trial())) == 3
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"config_hash", "seed", "fingerprint", "span", "bar", "sharpe", "time"}


def test_only_trials_on_the_same_candles_span_and_bar_count(tmp_path):
    others = [trial("b", fingerprint="g"), trial("c", span="x/z"), trial("d", bar="4h"), trial("e", sharpe=0.3)]
    record_trials(tmp_path, [trial(), *others])
    np.testing.assert_array_equal(sharpes_on(tmp_path, trial()), [0.1, 0.3])


def test_a_torn_line_is_left_alone_and_loses_no_other(tmp_path):
    record_trials(tmp_path, [trial(seed=0)])
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"config_hash": "tor')
    record_trials(tmp_path, [trial(seed=1)])
    assert len(sharpes_on(tmp_path, trial())) == 2


def write(folder, seed):
    record_trials(folder, [trial(seed=seed, sharpe=float(n)) for n in range(3)])
    record_trials(folder, [trial(config=f"c{n}", seed=seed) for n in range(20)])


def test_several_processes_write_without_losing_a_line(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write, args=(tmp_path, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(sharpes_on(tmp_path, trial())) == 3 * 21
