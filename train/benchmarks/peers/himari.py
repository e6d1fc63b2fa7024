"""This project's trainer at its defaults, as `python -m train.ppo` runs it."""

import math
from typing import Any

import jax
import numpy as np

from train.benchmarks.peers.clock import CLOCKS
from train.benchmarks.peers.trial import BARS, PATHS, SCORE_SEED, Trial
from train.config.market import DataConfig
from train.config.ppo import Config, PolicyConfig, PPOConfig
from train.config.run import RunConfig
from train.learning.setup import Setup, compile_chunk, first_state
from train.oracles.scoring import score_policies
from train.oracles.task import build_setup
from train.training.session import build_session


def flags_of(trial: Trial) -> Config:
    """Builds the configuration of a trial; `num_envs` 0 is the default of environments and rollout."""
    sizes: dict[str, Any] = {}
    if trial.num_envs:
        sizes = {"num_envs": trial.num_envs, "rollout_steps": trial.rollout_steps}
    data = DataConfig(data=trial.data) if trial.market == "candles" else DataConfig(env=trial.market)
    algorithm: Any = trial.contestant
    return Config(
        policy=PolicyConfig(policy=trial.policy),
        data=data,
        ppo=PPOConfig(algorithm=algorithm, preset="quick" if trial.values == "quick" else "common", **sizes),
        run=RunConfig(seed=trial.seed, num_seeds=trial.num_seeds),
    )


def build(config: Config) -> Setup:
    """Candles or a market with a known optimum, and the learner."""
    return build_session(config) if config.data.env is None else build_setup(config)


class HimariPeer:
    """One update at a time, all seeds side by side."""

    def __init__(self, trial: Trial):
        config = flags_of(trial)
        self.setup = build(config)
        self.runner = jax.block_until_ready(first_state(self.setup)()).runner
        now = CLOCKS[trial.clock]
        begun = now()
        self.chunk = compile_chunk(self.setup, self.runner, self.setup.params)
        self.compile_seconds = now() - begun
        self.steps = config.steps_per_update * trial.num_seeds
        racing = trial.purpose == "race"
        self.most_steps = float(config.total_updates * config.steps_per_update) if racing else math.inf

    def advance(self) -> int:
        """Trains by one update."""
        self.runner, info = self.chunk(self.runner, self.setup.params, np.int32(1))
        jax.block_until_ready(info)
        return self.steps

    def score(self) -> float:
        """Scores the first seed: its share of the optimum."""
        learner = self.setup.learner
        key = jax.random.key(SCORE_SEED)
        scores = score_policies(learner.env, learner.policy, self.runner.variables, key, PATHS, BARS)
        return scores[0].value / learner.env.optimum.value
