"""A batch of a sweep: rungs of successive halving, equal points, configurations that fail. The training is a fake."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from himari_jax.errors import InputError
from train.studies.sweep import train
from train.studies.sweep.flags import read_flags
from train.studies.sweep.store import Asked, Finished, Store, ranked
from train.studies.sweep.train import num_rungs, rung_updates, train_batch
from train.training.kept import Trained

# 64 updates of 16 x 16 bars, an evaluation every 4.
FLAGS = "--num-envs 16 --num-minibatches 2 --rollout-steps 16 --total-steps 16384 --source synthetic".split()
GAMMAS = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4]


class Trainer:
    """In place of the population: the score at an update is gamma times its share of the training, plus the seed."""

    def __init__(self, bad=()):
        self.calls, self.bad = [], bad

    def build(self, config):
        if config.ppo.gamma == 0.5:
            raise InputError("no candles")
        seeds = [config.run.seed + k for k in range(config.run.num_seeds)]
        candles = SimpleNamespace(fingerprint="f")
        return SimpleNamespace(config=config, seeds=seeds, config_hash=f"h{config.ppo.gamma}", candles=candles)

    def train_population(self, members, folder, until, progress):
        self.calls.append((until, [each.setup.config.ppo.gamma for each in members]))
        return [self.trained(each.setup.config, each.seed, until) for each in members]

    def trained(self, config, seed, until):
        score = math.nan if config.ppo.gamma in self.bad else config.ppo.gamma * until / config.total_updates + seed
        score = -math.inf if math.isnan(score) else score
        variables = {"params": {"w": np.full(3, config.ppo.gamma + seed)}}
        return Trained(variables, score, until, [(until, score)], until, config.ppo.gamma in self.bad)


@pytest.fixture
def trainer(monkeypatch):
    made = Trainer()
    monkeypatch.setattr(train, "train_population", made.train_population)
    monkeypatch.setattr(train, "program_of", lambda member: member.setup.config.ppo.gamma > 0.7)
    return made


def run_batch(trainer, gammas, *more, folder=None):
    flags, _ = read_flags([*FLAGS, "--vary", "gamma=0.1,0.2", *more])
    asked = [Asked(number, {"gamma": str(gamma)}) for number, gamma in enumerate(gammas)]
    return train_batch(flags, asked, folder, trainer.build)


def test_without_halving_every_configuration_is_trained_to_the_end_by_one_call(trainer):
    batch = run_batch(trainer, GAMMAS, "--num-seeds", "2")
    assert trainer.calls == [(64, [gamma for gamma in GAMMAS for _ in range(2)])]
    assert [each.state for each in batch.trials] == ["complete"] * 8
    assert batch.trials[0].scores == (0.9, 1.9)
    assert batch.trials[0].score == pytest.approx(1.4)
    assert batch.trials[0].best_seed == 1
    assert batch.policies[0]["params"]["w"].tolist() == [[0.9] * 3, [1.9] * 3]


def test_a_batch_of_several_programs_says_how_many_train_side_by_side(trainer, capsys):
    run_batch(trainer, [0.9, 0.1, 0.2])
    assert "3 configurations of 2 programs: 1 + 2 side by side" in capsys.readouterr().out
    run_batch(trainer, [0.1, 0.2])
    assert not capsys.readouterr().out


def test_halving_drops_the_worse_half_at_an_eighth_a_quarter_and_a_half_of_the_updates(trainer):
    batch = run_batch(trainer, GAMMAS, "--halving", "2")
    kept = [GAMMAS, [0.9, 0.8, 0.7, 0.6], [0.9, 0.8], [0.9]]
    assert trainer.calls == list(zip([8, 16, 32, 64], kept, strict=True))
    assert [each.updates for each in batch.trials] == [64, 8, 32, 8, 16, 8, 16, 8]
    assert [each.state for each in batch.trials] == ["complete"] + ["dropped"] * 7
    assert set(batch.policies) == set(range(8))  # the dropped ones count in the ledger
    assert [each.point["gamma"] for each in ranked(batch.trials)][:3] == ["0.9", "0.8", "0.7"]


def test_the_mean_over_the_seeds_decides_who_goes_on(trainer):
    batch = run_batch(trainer, [0.2, 0.3], "--halving", "2", "--num-seeds", "3")
    assert [each.state for each in batch.trials] == ["dropped", "complete"]


@pytest.mark.parametrize(("candidates", "eta", "rungs"), [(8, 2, 3), (9, 3, 2), (10, 3, 2), (1, 2, 0), (16, None, 0)])
def test_there_are_so_many_rungs_that_one_candidate_is_left(candidates, eta, rungs):
    assert num_rungs(candidates, eta) == rungs


def test_a_rung_lies_on_an_evaluation():
    flags, _ = read_flags([*FLAGS, "--vary", "gamma=0.1"])
    # 64 / 3 = 21.3 and 64 / 9 = 7.1 go up to multiples of 4.
    assert [rung_updates(flags.base, rung, 3) for rung in (0, 1, 2)] == [64, 24, 8]


def test_equal_points_are_trained_once_and_told_twice(trainer):
    batch = run_batch(trainer, [0.9, 0.2, 0.9])
    assert trainer.calls == [(64, [0.9, 0.2])]
    assert [each.trial for each in batch.trials] == [0, 1, 2]
    assert batch.trials[0].scores == batch.trials[2].scores


def test_a_configuration_whose_numbers_go_bad_fails_and_does_not_harm_the_others(trainer):
    trainer.bad = (0.9,)
    batch = run_batch(trainer, [0.9, 0.2])
    assert [each.state for each in batch.trials] == ["failed", "complete"]
    assert "went bad" in batch.trials[0].why
    assert set(batch.policies) == {1}
    assert ranked(batch.trials)[0].trial == 1


def test_what_does_not_fit_its_candles_fails_in_a_study_and_stops_a_grid(trainer):
    batch = run_batch(trainer, [0.9, 0.5], "--search", "optuna")
    assert [each.state for each in batch.trials] == ["complete", "failed"]
    assert batch.trials[1].why == "no candles"
    with pytest.raises(InputError, match="no candles"):
        run_batch(trainer, [0.9, 0.5])


def test_what_the_folder_keeps_of_a_batch_comes_back_and_a_torn_line_does_not(trainer, tmp_path):
    store, batch = Store(tmp_path), run_batch(trainer, [0.9, 0.2], "--num-seeds", "2")
    store.add(batch.trials, batch.policies)
    assert list(store.read().values()) == batch.trials
    assert store.policies(1)["params"]["w"].tolist() == batch.policies[1]["params"]["w"].tolist()
    path = tmp_path / "finished.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert list(store.read().values()) == batch.trials[:1]
    store.add(batch.trials, batch.policies)
    assert list(store.read().values()) == batch.trials


def test_configurations_are_ranked_by_score_and_dropped_ones_by_how_far_they_came():
    def trial(number, state, updates, score):
        return Finished(number, {}, state, updates, (score,), (1,), (), "", "")

    trials = [trial(0, "dropped", 8, 3.0), trial(1, "failed", 64, 9.0), trial(2, "complete", 64, 1.0)]
    trials += [trial(3, "dropped", 16, 0.5), trial(4, "complete", 64, 2.0)]
    assert [each.trial for each in ranked(trials)] == [4, 2, 3, 0, 1]
