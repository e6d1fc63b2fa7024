"""Numbers that go bad: a bad step is skipped, a run of bad steps ends with its last good checkpoint."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import World, noise_close

from himari_jax.command import run_command
from train.artifacts.checkpoint import Checkpoints
from train.artifacts.run_folder import FAILED
from train.learning.guard import check_step, new_guard, should_abort
from train.learning.pathwise import PathwiseLearner
from train.learning.ppo import Learner
from train.learning.state import Sizes
from train.ppo import main
from train.training import trainer

SMALL = Sizes(num_envs=16, rollout_steps=24, update_epochs=2, num_minibatches=2, episode_steps=50, lookahead=2)
TINY = (
    "--num-envs 16 --rollout-steps 16 --num-minibatches 2 --update-epochs 2 --episode-steps 50 --hidden-dim 16 "
    "--lstm-hidden-dim 8 --total-steps 16384 --device cpu"
).split()


def after(losses_and_norms):
    guard, taken = new_guard(), []
    for loss, norm in losses_and_norms:
        guard, good = check_step(guard, jnp.float32(loss), jnp.float32(norm), jnp.int32(len(taken)))
        taken.append(bool(good))
    return guard, taken


def test_steps_that_are_not_finite_are_not_taken_and_counted():
    guard, taken = after([(1, 1), (np.nan, 1), (1, np.inf), (1, 1)])
    assert taken == [True, False, False, True]
    assert (int(guard.skipped), int(guard.in_a_row), int(guard.steps), int(guard.first)) == (2, 0, 4, 1)
    assert after([(1, 1)])[0].first == -1


def test_a_finite_step_is_taken_whatever_its_size():
    assert after([*[(1, 1)] * 40, (1, 1e9), (1e9, 1)])[1] == [True] * 42


def test_ten_in_a_row_or_one_in_a_hundred_are_hopeless():
    assert not should_abort(after([(np.nan, 1)] * 9)[0])
    assert should_abort(after([(np.nan, 1)] * 10)[0])
    guard = new_guard()._replace(steps=jnp.int32(1000))
    assert not should_abort(guard._replace(skipped=jnp.int32(10)))
    assert should_abort(guard._replace(skipped=jnp.int32(11)))


def finite(tree):
    return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating))


@pytest.mark.parametrize("learner", [Learner, PathwiseLearner])
@pytest.mark.parametrize("kind", [("mlp", 1), ("mlp", 3), ("lstm", 1)])
def test_a_price_that_is_not_finite_leaves_the_parameters_finite(kind, learner):
    world = World(noise_close(700, kind[1]), kind[0], 0.001, SMALL, learner)
    market = world.params.market
    world.params = world.params.replace(market=market._replace(to_mark=market.to_mark.at[450:].set(jnp.nan)))
    runner, info = world.train(4)
    assert finite(runner.variables["params"])
    assert finite(runner.opt_state)
    assert runner.guard.skipped > 0
    assert info.skipped > 0


def test_one_bad_bar_costs_the_minibatches_that_met_it_and_nothing_else():
    world = World(noise_close(3000, 1), "mlp", 0.001, SMALL)
    market = world.params.market
    world.params = world.params.replace(market=market._replace(to_mark=market.to_mark.at[2000].set(jnp.nan)))
    before = world.start()
    runner, _ = world.train(12, before)
    assert 0 < runner.guard.skipped < runner.guard.steps
    assert finite(runner.variables["params"])
    assert not np.array_equal(runner.variables["params"]["log_std"], world.start().variables["params"]["log_std"])


def spoil(monkeypatch, what):
    """A market whose reward, or its gradient alone, is not finite."""
    from envs.oracles.leak import Leak

    plain = Leak.utility

    def bad(self, before, weights, returns):
        value = plain(self, before, weights, returns)
        return (
            value + jnp.nan if what == "reward" else value + 1e-30 * jnp.sqrt(jnp.zeros_like(weights) * weights).sum()
        )

    monkeypatch.setattr(Leak, "utility", bad)


@pytest.mark.parametrize(
    ("what", "flags"),
    [
        ("reward", "--env leak"),
        pytest.param("gradient", "--env leak --algorithm pathwise", marks=pytest.mark.slow),
        ("nothing", "--env leak --learning-rate 10 --max-grad-norm 1e9 --policy lstm"),
    ],
)
def test_a_run_whose_numbers_go_bad_ends_with_3_and_its_last_good_step(what, flags, tmp_path, capsys, monkeypatch):
    if what != "nothing":
        jax.clear_caches()  # equal markets share a trace
        spoil(monkeypatch, what)
    folder = tmp_path / "run"
    code = run_command(main, [*TINY, *flags.split(), "--run-dir", str(folder)])
    said = capsys.readouterr().err
    if what == "nothing" and code == 0:  # it got through: then everything is finite
        assert np.isfinite(json.loads((folder / "result.json").read_text())["oracle"]["value"])
        return
    assert code == 3
    assert "keeps its checkpoint of update" in said
    assert ("the reward itself is not finite" if what == "reward" else "--learning-rate 1e-4") in said
    bad = np.load(folder / "bad_rollout.npz")
    steps, envs = bad["reward"].shape
    ages = 1 if "lstm" in flags else 2
    assert bad["branch_reward"].shape == bad["branch_value"].shape == (steps, ages, envs)
    if what == "reward":  # the very batch, and it is the reward that is bad in it
        assert not np.isfinite(bad["reward"]).any()
        assert np.isfinite(bad["obs"]).all()
        assert "the first is of update 0" in said
    assert (folder / FAILED).exists()  # so that --resume alone passes over it
    saved = [int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit()]
    assert saved
    monkeypatch.undo()
    jax.clear_caches()
    again = run_command(main, ["--resume", "--run-dir", str(folder)])
    assert again in (0, 3)
    assert "continuing at update" in capsys.readouterr().out
    assert (folder / FAILED).exists() == (again == 3)


def test_an_exploration_that_collapses_is_told_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trainer, "COLLAPSED", 10.0)  # whatever it does counts as a fall
    assert run_command(main, [*TINY, "--env", "leak", "--run-dir", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err.count("the exploration collapsed") == 1


def test_the_first_state_is_a_checkpoint(tmp_path):
    folder = tmp_path / "run"
    assert run_command(main, [*TINY, "--env", "leak", "--keep", "100", "--run-dir", str(folder)]) == 0
    assert 0 in Checkpoints(folder / "checkpoints", 100).steps()
