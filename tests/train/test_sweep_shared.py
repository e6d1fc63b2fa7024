"""Two workers of one study, each in its folder: one of them evaluates the best, and every trial counts."""

import json

import pytest
from sweeps import sweep_command

from train.evaluation.ledger import open_ledger
from train.studies.sweep import run
from train.studies.sweep.store import Store

TINY = (
    "--source synthetic --synthetic.num-bars 3000 --num-envs 16 --rollout-steps 16 --num-minibatches 2 "
    "--episode-steps 50 --hidden-dim 16 --total-steps 2048 --initial-log-std -0.5 --device cpu "
    "--search optuna --num-trials 4 --batch-size 2 --vary learning_rate=log:1e-4:1e-1"
).split()


class Stopped(BaseException):
    """Ends a worker in this process."""


@pytest.mark.slow
def test_the_worker_that_has_the_best_trial_evaluates_it_and_all_trials_count(tmp_path, monkeypatch, capsys):
    shared = ["--storage", str(tmp_path / "journal.log"), "--ledger", str(tmp_path / "ledger.jsonl")]

    def work(name):
        return sweep_command(*TINY, *shared, "--run-dir", str(tmp_path / name))

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(run, "train_batch", stop)
        with pytest.raises(Stopped):
            work("one")
    assert work("other") == 0
    assert "2 by " in capsys.readouterr().out
    assert not (tmp_path / "other" / "choice.json").exists()
    assert work("one") == 0  # the last to finish chooses
    stores = {name: Store(tmp_path / name).read() for name in ("one", "other")}
    scores = {number: each.score for store in stores.values() for number, each in store.items()}
    assert sorted(scores) == [0, 1, 2, 3]
    best = max(scores, key=lambda number: (scores[number], -number))
    owner = next(name for name, store in stores.items() if best in store)
    if owner == "other":
        assert "is another worker's" in capsys.readouterr().out
        assert work("other") == 0
    result = json.loads((tmp_path / owner / "result.json").read_text())
    assert result["chosen"]["trial"] == best
    assert result["counted"]["configurations"] == result["counted"]["trials"]["number"] == 4
    assert work("one") == work("other") == 0
    results = [name for name in stores if (tmp_path / name / "result.json").exists()]
    assert results == [owner]
    book = open_ledger(tmp_path / "ledger.jsonl").read()
    counting = [each for each in book.trials.values() if book.counts(each)]
    assert len(counting) == 4
    assert all(each.sketch is not None for each in counting)  # those of validation have given way
