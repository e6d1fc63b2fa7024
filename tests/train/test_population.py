"""A population: one member equals the run, members do not depend on each other, none is trained twice."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from himari_jax.command import parse
from himari_jax.errors import Preempted
from train.config.ppo import Config
from train.training import batches
from train.training.batches import Batch, Member, Totals
from train.training.candles_task import CandlesTask
from train.training.nulls import permuted
from train.training.population import train_population
from train.training.session import Session, build_session, prepare, session_of
from train.training.signals import StopSignals
from train.training.trainer import Trainer

TINY = [
    *("--source", "synthetic", "--symbols", "SYN1", "--synthetic.num-bars", "3000", "--num-envs", "16"),
    *("--rollout-steps", "8", "--num-minibatches", "2", "--episode-steps", "50", "--total-steps", "1280"),
    *("--hidden-dim", "8", "--lstm-hidden-dim", "8", "--eval-interval", "4"),
]
UPDATE = re.compile(r"update (\d+) of (\d+)")


def config(*more: str) -> Config:
    return parse(Config, [*TINY, *more], "train.ppo")


def same(one: dict, other: dict) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), one, other))


def furthest(one: dict, other: dict) -> float:
    apart = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), one, other)
    return float(max(jax.tree.leaves(apart)))


def session_on(seed: int, *more: str) -> Session:
    return build_session(config("--synthetic.seed", str(seed), *more))


@pytest.mark.parametrize(
    ("policy", "algorithm"),
    [
        ("lstm", "ppo"),
        pytest.param("mlp", "pathwise", marks=pytest.mark.slow),
        pytest.param("mlp", "ppo", marks=pytest.mark.slow),
        pytest.param("lstm", "pathwise", marks=pytest.mark.slow),
    ],
)
def test_a_population_of_one_is_the_run_to_the_last_bit(policy, algorithm, tmp_path):
    session = session_on(0, "--policy", policy, "--algorithm", algorithm, "--seed", "3")
    trainer = Trainer(CandlesTask(session), tmp_path, 0.0)
    trainer.run()
    best = jax.device_get(trainer.state.best)

    (alone,) = train_population([Member(session, 3)])

    assert same(alone.variables, jax.tree.map(lambda x: x[0], best.variables))
    assert (alone.sharpe, alone.update) == (float(best.sharpe[0]), int(best.update[0]))
    assert alone.scores[-1][0] == session.config.total_updates


@pytest.mark.parametrize("policy", ["mlp", pytest.param("lstm", marks=pytest.mark.slow)])
def test_members_of_different_markets_are_their_single_runs(policy):
    sessions = [
        session_on(0, "--policy", policy, "--commission-rate", "0.01", "--learning-rate", "0.01", "--gamma", "0.5"),
        session_on(1, "--policy", policy, "--synthetic.num-bars", "3600"),  # longer: the other is padded
    ]
    members = [Member(session, seed) for session in sessions for seed in (0, 1)]

    together = train_population(members)

    assert len({one.sharpe for one in together}) == len(members)
    for member, one in zip(members, together, strict=True):
        (alone,) = train_population([member])
        assert furthest(one.variables["params"], alone.variables["params"]) < 1e-5
        assert one.update == alone.update
        assert one.sharpe == pytest.approx(alone.sharpe, abs=1e-4)


def test_what_a_member_learns_does_not_depend_on_the_batch():
    session, other = session_on(0), session_on(1)
    members = [Member(each, seed) for seed in range(3) for each in (session, other)]
    found = [train_population(members, batch=size) for size in (1, 4)]
    for one, other in zip(*found, strict=True):
        assert same(one.variables, other.variables)
        assert one.scores == other.scores


def test_sessions_share_a_market_only_where_their_candles_are_the_same_object():
    # The candles of each draw are free again before the next ones are made: an id() would come back.
    flags = config()
    real = prepare(flags)
    sessions = [session_of(flags, permuted(real, "bars", 0, draw)) for draw in range(8)]
    assert len({each.shares for each in sessions}) == len({each.fingerprint for each in sessions}) == 8
    assert session_of(flags, real).shares == session_of(flags, real).shares


@pytest.mark.slow
def test_members_of_other_sizes_and_lengths_are_trained_in_groups():
    wide, longer = session_on(0, "--hidden-dim", "16"), session_on(0, "--total-steps", "2560")
    found = train_population([Member(wide, 0), Member(session_on(0), 0), Member(longer, 0)])
    assert [one.stop for one in found] == [10, 10, 20]


def test_finished_members_are_not_trained_again(tmp_path):
    session = session_on(0)
    totals = Totals()
    first = train_population([Member(session, 0)], tmp_path, totals=totals)
    steps = totals.steps
    again = train_population([Member(session, 1), Member(session, 0)], tmp_path, totals=totals)
    assert totals.steps == 2 * steps
    assert same(again[1].variables, first[0].variables)
    assert again[1]._replace(variables={}) == first[0]._replace(variables={})


def test_a_stop_signal_keeps_the_batches_that_are_finished(tmp_path):
    session, signals = session_on(0), StopSignals("stopped")
    done: list[int] = []

    def after(members: int, total: int, line: str, under_way: float) -> None:
        done.append(members)
        update, stop = UPDATE.match(line).groups() if line.startswith("update") else (0, 1)
        assert under_way == int(update) / int(stop)  # a batch of one
        signals.came = members == 2 and not line.startswith("update")

    members = [Member(session, seed) for seed in range(4)]
    with pytest.raises(Preempted, match="stopped"):
        train_population(members, tmp_path, batch=1, progress=after, signals=signals)
    assert done[-1] == 2
    assert set(done) == {0, 1, 2}
    totals = Totals()
    resumed = train_population(members, tmp_path, batch=1, totals=totals)
    whole = train_population(members, batch=1)
    assert totals.members == 2
    assert all(same(one.variables, other.variables) for one, other in zip(resumed, whole, strict=True))


@pytest.mark.parametrize("harm", [lambda b: b[:-200], lambda b: b[:400] + b"\0\1\2" + b[403:], lambda b: b""])
def test_a_damaged_file_is_said_to_be_and_trained_anew(harm, tmp_path, capsys):
    session = session_on(0)
    (first,) = train_population([Member(session, 0)], tmp_path)
    (path,) = Path(tmp_path).glob("*.npz")
    path.write_bytes(harm(path.read_bytes()))
    (again,) = train_population([Member(session, 0)], tmp_path)
    assert "is damaged" in capsys.readouterr().err
    assert same(again.variables, first.variables)


def test_a_training_that_stopped_on_its_way_goes_on_to_the_same_end(tmp_path):
    session = session_on(0)
    members = [Member(session, seed) for seed in (0, 1)]
    part = train_population(members, tmp_path, until=3)
    assert [one.stop for one in part] == [4, 4]  # the evaluation after it
    totals = Totals()
    whole = train_population(members, tmp_path, totals=totals)
    straight = train_population(members)
    assert totals.steps == 2 * 6 * session.config.steps_per_update
    for one, other in zip(whole, straight, strict=True):
        assert same(one.variables, other.variables)
        assert one.scores == other.scores


@pytest.mark.slow
def test_a_member_whose_numbers_go_bad_says_so_and_harms_no_other():
    bad = session_on(0, "--learning-rate", "1e30", "--max-grad-norm", "1e30")
    good = session_on(0)
    spoiled, fine = train_population([Member(bad, 0), Member(good, 0)])
    (alone,) = train_population([Member(good, 0)])
    assert spoiled.failed
    assert not fine.failed
    assert furthest(fine.variables["params"], alone.variables["params"]) < 1e-5


def test_sessions_on_prepared_candles_are_those_of_their_flags():
    flags = config("--learning-rate", "0.01")
    prepared = prepare(config())
    shared, own = session_of(flags, prepared), build_session(flags)
    assert shared.fingerprint == own.fingerprint
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), shared.params, own.params))
    other = session_of(replace(flags, market=replace(flags.market, commission_rate=0.01)), prepared)
    assert other.params.market is shared.params.market, "one copy of a market on the device"
    assert other.shares == shared.shares
    late = session_of(replace(flags, market=replace(flags.market, delay=1)), prepared)
    assert late.shares != shared.shares


def test_memory_of_a_batch_bounds_its_members(monkeypatch):
    seen: list[int] = []
    begin = Batch.begin

    def watch(self: Batch):
        seen.append(len(self.every))
        return begin(self)

    monkeypatch.setattr(Batch, "begin", watch)
    monkeypatch.setattr("train.training.population.BATCH_BYTES", 1)
    session = session_on(0)
    train_population([Member(session, seed) for seed in range(3)])
    assert seen == [1, 1, 1]
    assert batches.CPU_BATCH > 1
