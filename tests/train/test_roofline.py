"""The work of a training bar, counted by the compiler."""

from types import SimpleNamespace

import pytest

from train.benchmarks.peers.roofline import count_work
from train.config.market import DataConfig
from train.config.ppo import Config, PolicyConfig, PPOConfig
from train.learning.setup import first_state
from train.oracles.task import build_setup


def work(policy, width, **ppo):
    """FLOPs and bytes of a bar on a small market; nothing is trained."""
    config = Config(
        policy=PolicyConfig(policy=policy, hidden_dim=width, lstm_hidden_dim=width),
        data=DataConfig(env="merton"),
        ppo=PPOConfig(**{"num_envs": 16, "rollout_steps": 8, "num_minibatches": 2, "episode_steps": 20} | ppo),
    )
    setup = build_setup(config)
    return count_work(SimpleNamespace(setup=setup, runner=first_state(setup)().runner))


@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_work_is_counted_for_every_policy_and_grows_with_its_width(policy):
    small, large = (work(policy, width)["work_per_step"] for width in (16, 64))
    # A bar passes at least once through a layer of 16 x 16: as many multiplications and additions.
    assert small["flops"] > 2 * 16 * 16
    assert large["flops"] > 4 * small["flops"]
    assert large["bytes"] > small["bytes"] > 0


def test_every_further_epoch_adds_the_same_gradient():
    once, twice, thrice = (work("mlp", 32, update_epochs=n)["work_per_step"]["flops"] for n in (1, 2, 3))
    assert twice > once
    assert thrice - twice == pytest.approx(twice - once)


def test_a_learner_that_is_not_ppo_is_not_counted():
    assert work("mlp", 16, algorithm="pathwise") == {}
