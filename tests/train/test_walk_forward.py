"""A walk-forward test: each block's policies know only what lay before it, and are those that `train.ppo` trains."""

import json
from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from own import GOOD
from walks import COMMON, listed_later, moved, on_candles, policies, prepared_for, same, walk_command, walk_on

from himari_jax.features.market import segments
from train.studies.walk_forward.track import config_of
from train.training.batches import Member
from train.training.candles_task import CandlesTask
from train.training.nulls import with_late_inputs
from train.training.population import key_of
from train.training.session import build_session
from train.training.trainer import Trainer

TWO = ["--num-seeds", "2"]
LEAKS = {
    "a pool, own features, a bar late, every two hours, the last 25 days": (
        "--symbols SYN1 SYN2 --pool --features base own.py --delay 1 --decide-every 2h --window 25d".split()
    ),
}
SLOW = {
    "one symbol": [],
    "one symbol, the last 25 days": ["--window", "25d"],
    "two in one account, by kelly, lstm": "--symbols SYN1 SYN2 --base-sizing kelly --policy lstm".split(),
}
CASES = [*LEAKS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """Flags of a case, its candles, the test on them, and what its policies learned."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(GOOD)
    more = [str(folder / word) if word == "own.py" else word for word in (LEAKS | SLOW)[request.param]]
    flags = [*COMMON, *TWO, *more]
    prepared = prepared_for(*flags)
    parts = prepared.candles
    prepared = on_candles(prepared, (parts[0], *(listed_later(part, 700) for part in parts[1:])))
    walk = walk_on(prepared, *flags)
    return flags, prepared, walk, policies(walk)


def retrained(case, rows_of):
    """The test again on candles of which some rows are others: the test, and what its policies learned."""
    flags, prepared, _, _ = case
    parts = tuple(moved(candles, rows_of(candles)) for candles in prepared.candles)
    walk = walk_on(on_candles(prepared, parts), *flags)
    return walk, policies(walk)


def equal(one, other):
    """Whether two trainings are equal to the last bit: policy, constants of its inputs, scores, update."""
    return same(one._replace(scores=tuple(one.scores)), other._replace(scores=tuple(other.scores)))


def test_what_comes_after_a_test_begins_is_known_to_none_of_its_policies(case):
    _, _, walk, learned = case
    block = walk.blocks[1]
    later, again = retrained(case, lambda candles: candles.time >= block.test)
    assert [equal(*pair) for pair in zip(learned, again, strict=True)] == [True] * 4 + [False] * 2
    for mine, other in zip(walk.sessions[:2], later.sessions[:2], strict=True):
        assert mine.risk_aversion == other.risk_aversion
        assert same(mine.constants, other.constants)
    assert walk.sessions[2].risk_aversion != later.sessions[2].risk_aversion
    # Returns that end before it.
    step = walk.sessions[0].config.market.step(walk.simulator.candles.bar_ms) * walk.simulator.candles.bar_ms
    before = walk.simulator.times + step <= block.test
    first, second = (each.gain(each.ensemble(own)).returns for each, own in ((walk, learned), (later, again)))
    assert 300 <= before.sum() < len(before)
    assert np.array_equal(first[before], second[before])
    assert not np.array_equal(first[~before], second[~before])


def test_what_came_before_a_rolling_window_is_forgotten(case):
    _, prepared, walk, learned = case
    if walk.blocks[1].train is None:
        pytest.skip("expanding")
    look_back = prepared.features.lookback(3_600_000) + walk.delay
    old = walk.blocks[1].train - look_back * 3_600_000
    _, again = retrained(case, lambda candles: candles.time < old)
    assert [equal(*pair) for pair in zip(learned, again, strict=True)] == [False] * 2 + [True] * 4


def run_of(walk, block):
    """The session of `train.ppo --split` with the cuts of a block."""
    return build_session(config_of(walk.flags.base, walk.blocks[block]))


def test_a_block_is_the_run_of_train_ppo_with_its_cuts(case):
    walk = case[2]
    if walk.simulator.is_pool or walk.blocks[0].train is not None:
        pytest.skip("no run has a symbol that was cut by hand, nor a rolling window")
    for number, session in enumerate(walk.sessions):
        run = run_of(walk, number)
        assert run.cuts == walk.blocks[number].cuts
        assert same(run.params, session.params)
        assert same(run.constants, session.constants)
        assert (run.learner, run.risk_aversion) == (session.learner, session.risk_aversion)
        assert key_of(Member(run, 1)) == key_of(walk.members[2 * number + 1])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_the_policy_of_a_block_is_the_one_that_train_ppo_trains_with_its_cuts(policy, tmp_path):
    flags = [*COMMON, *TWO, "--policy", policy]
    walk = walk_on(prepared_for(*flags), *flags)
    trainer = Trainer(CandlesTask(run_of(walk, 1)), tmp_path, 0.0)
    trainer.run()
    best = jax.device_get(trainer.state.best)
    for k, learned in enumerate(policies(walk)[2:4]):
        own = jax.tree.map(lambda x, k=k: x[k], best.variables)
        apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), own["params"], learned.variables["params"])
        assert max(jax.tree.leaves(apart)) < 1e-6
        assert same(own["constants"], learned.variables["constants"])
        assert learned.sharpe == pytest.approx(float(best.sharpe[k]), abs=1e-5)
        assert learned.update == int(best.update[k])


def test_the_best_seed_of_a_block_is_that_of_its_validation_span(case):
    flags, prepared, walk, learned = case
    best = walk_on(prepared, *flags, "--ensemble", "best").ensemble(learned)
    for k in range(len(walk.blocks)):
        own = max(learned[2 * k : 2 * k + 2], key=lambda one: one.sharpe)
        assert same(jax.tree.map(lambda x, k=k: x[k, 0], best), own.variables)


@pytest.mark.parametrize("gap", [None, 1500])
def test_inputs_of_a_placebo_are_of_so_many_bars_before_and_nothing_else_is(gap):
    flags = COMMON
    plain = prepared_for(*flags)
    (candles,) = plain.candles
    if gap:
        candles = replace(candles, segment=(np.arange(3000) >= gap).astype(np.int32))
        plain = on_candles(plain, (candles,))
    late = with_late_inputs(plain, 20 * 86_400_000)
    account = walk_on(plain, *flags).flags.base.market
    one, other = (each.market(0, account, "constant") for each in (plain, late))
    warm_up = plain.features.lookback(candles.bar_ms)
    rows = np.concatenate([np.arange(start + warm_up, stop) for start, stop in segments(candles)])
    assert np.array_equal(other.features[rows[480:]], one.features[rows[:-480]])
    assert np.array_equal(other.features[rows[:480]], one.features[rows[-480:]]), "of another time as well"
    kept = ("base", "to_fill", "to_mark", "tradable")
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in kept)


@pytest.mark.parametrize("days", [61, 100, 108, 365])
def test_inputs_of_a_placebo_are_never_of_the_next_days(days):
    flags = COMMON
    plain = prepared_for(*flags)
    account = walk_on(plain, *flags).flags.base.market
    marked = plain.market(0, account, "constant").features.copy()
    marked[..., 0] = np.arange(len(marked))[:, None]
    late = with_late_inputs(plain, days * 86_400_000)
    late.markets.update({key: each._replace(features=marked) for key, each in plain.markets.items()})
    seen = late.market(0, account, "constant").features[400:, 0, 0]
    assert np.abs(seen - np.arange(400, 3000)).min() >= 1300  # half of the rows that have inputs


def test_the_track_is_one_account_and_its_file_says_so(tmp_path, capsys):
    flags = [*COMMON, *TWO, "--run-dir", str(tmp_path / "test")]
    assert walk_command(*flags) == 0
    result = json.loads((tmp_path / "test" / "result.json").read_text())
    frame = pl.read_parquet(tmp_path / "test" / "equity.parquet")
    equity = frame["equity"].to_numpy()
    returns = np.diff(equity, prepend=1.0) / np.concatenate([[1.0], equity[:-1]])
    assert np.prod(1 + returns) == pytest.approx(equity[-1], rel=1e-12)
    assert frame["liquidated"].to_list() == [False] * (len(frame) - 1) + [True]
    blocks = result["walk_forward"]["blocks"]
    assert sum(block["decisions"] for block in blocks) == len(frame)
    assert [len(block["validation_sharpe"]) for block in blocks] == [2, 2, 2]
    sharpe = returns.mean() / returns.std(ddof=1) * np.sqrt(8760)
    assert result["agent"]["sharpe"] == pytest.approx(sharpe, rel=1e-6)
    for block, rows in zip(blocks, np.split(returns, np.cumsum([b["decisions"] for b in blocks])[:-1]), strict=True):
        assert block["sharpe"] == pytest.approx(rows.mean() / rows.std(ddof=1) * np.sqrt(8760), rel=1e-5)
    assert result["walk_forward"]["members"] == 6
    capsys.readouterr()
    assert walk_command(*flags) == 0
    assert "training ..." not in capsys.readouterr().out, "finished: the result is shown again"
    assert json.loads((tmp_path / "test" / "result.json").read_text()) == result


EDGE = (
    "--source synthetic --symbols SYN1 SYN2 SYN3 SYN4 --pool --synthetic.correlation 0 --synthetic.num-bars 4000 "
    "--synthetic.predictability-half-life 6 --num-envs 32 --rollout-steps 16 --num-minibatches 2 --episode-steps 100 "
    "--hidden-dim 8 --learning-rate 0.01 --total-steps 20480 --commission-rate 0 --device cpu --first-test 2000-04-01 "
    "--test 30d --validation 30d --placebo 45d 60d --permutations 49"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1"])
def test_a_planted_edge_is_found_and_lost_on_permuted_and_on_late_inputs(seed, tmp_path):
    args = [*EDGE, "--synthetic.predictability", "0.2", "--synthetic.seed", seed, "--run-dir", str(tmp_path / "edge")]
    assert walk_command(*args) == 0
    result = json.loads((tmp_path / "edge" / "result.json").read_text())
    found = result["walk_forward"]
    assert result["verdict"]["word"] == "EDGE"
    assert result["rivals"]["constant"]["low"] > 5
    assert found["permutations"]["p"] == pytest.approx(1 / 50)
    assert max(found["permutations"]["null"]) < found["permutations"]["value"] / 3
    for placebo in found["placebo"]:
        assert abs(placebo["difference"]) < 1
        assert placebo["interval"][0] < 0 < placebo["interval"][1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1"])
def test_where_nothing_can_be_found_nothing_is(seed, tmp_path):
    args = [*EDGE, "--synthetic.predictability", "0", "--synthetic.seed", seed, "--run-dir", str(tmp_path / "none")]
    assert walk_command(*args) == 0
    result = json.loads((tmp_path / "none" / "result.json").read_text())
    assert result["verdict"]["word"] != "EDGE"
    assert result["walk_forward"]["permutations"]["p"] > 0.02
