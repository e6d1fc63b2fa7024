"""The three models at their defaults, each with the program that trains it, on synthetic candles."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.config.market import DataConfig
from train.config.ppo import Config, PolicyConfig, PPOConfig
from train.learning.ppo import Learner
from train.learning.rollout import RolloutState
from train.learning.setup import Setup, compile_chunk, hyperparameters
from train.learning.state import LearnerState, Metrics
from train.training.session import build_session

MODELS = {"base": ("mlp", 1), "lstm": ("lstm", 1), "multi": ("mlp", 3)}  # policy, assets
REWARD_SCALE = 100.0  # for moves of a percent
LEARNING_RATE = 0.01  # large: a law that holds only where nothing was learned proves little

Chunk = Callable[[LearnerState, Any, Any], tuple[LearnerState, Metrics]]


class GivenScale(Learner):
    """A learner that begins without playing a rollout for the scale of the rewards: one program less."""

    def measure_reward_scale(self, players: RolloutState, params: Any, variables: dict) -> jax.Array:
        """Returns a constant."""
        return jnp.float32(REWARD_SCALE)


@dataclass(frozen=True)
class Subject:
    """A model, its first states and its program."""

    setup: Setup
    runner: LearnerState  # leaves (1, ...)
    both: LearnerState  # the same and that of another seed, leaves (2, ...)
    chunk: Chunk  # (runner, params, updates); gives the runner's memory away
    compile_seconds: float
    program_mb: float | None  # of the device, that the program needs while it runs

    @property
    def steps(self) -> int:
        """Bars of an update."""
        return self.setup.config.steps_per_update

    def train(self, updates: int, runner: LearnerState | None = None) -> tuple[LearnerState, Metrics]:
        """Updates from a state, which stays as it was; from the first one where none is given."""
        start = self.runner if runner is None else runner
        return jax.block_until_ready(self.chunk(jax.tree.map(jnp.copy, start), self.setup.params, np.int32(updates)))


def default_config(policy: str, assets: int, **sizes: Any) -> Config:
    """Returns the defaults on synthetic hours.

    Args:
        policy: name of the core.
        assets: N.
        sizes: fields of `PPOConfig`.
    """
    symbols = tuple(f"SYN{n + 1}" for n in range(assets))
    data = DataConfig(source="synthetic", symbols=symbols)
    return Config(policy=PolicyConfig(policy=policy), data=data, ppo=PPOConfig(**sizes))


def make_subject(model: str, config: Config | None = None) -> Subject:
    """Builds and compiles a model.

    Args:
        model: base, lstm or multi.
        config: other than the defaults.
    """
    setup = build_session(config or default_config(*MODELS[model]))
    both = first_runners(setup)
    runner = jax.tree.map(lambda x: x[:1], both)
    began = time.perf_counter()
    chunk = compile_chunk(setup, runner, setup.params)
    seconds = time.perf_counter() - began
    return Subject(setup, runner, both, chunk, seconds, program_memory(chunk))


def first_runners(setup: Setup) -> LearnerState:
    """Builds the states of two seeds before the first update, leaves (2, ...), with a large learning rate."""
    real, assets = setup.learner, setup.learner.env.num_assets
    learner = GivenScale(real.env, real.policy, real.sizes)
    hyper = hyperparameters(setup.config, assets)._replace(learning_rate=jnp.float32(LEARNING_RATE))
    init_policy = jax.jit(lambda key: learner.init_policy(key, setup.width, setup.constants))
    keys = jax.random.split(jax.random.key(0), (2, 2))
    variables = jax.tree.map(lambda *x: jnp.stack(x), *(init_policy(key) for key in keys[:, 0]))
    return jax.jit(jax.vmap(learner.init, (0, None, None, 0)))(keys[:, 1], setup.params, hyper, variables)


def program_memory(program: Any) -> float | None:
    """MB that a compiled program needs: arguments, results and temporaries; None where the backend reports none."""
    info = program.memory_analysis()
    if info is None:
        return None
    shared = info.alias_size_in_bytes  # results in the place of arguments
    every = info.argument_size_in_bytes + info.output_size_in_bytes + info.temp_size_in_bytes - shared
    return float(every) / 2**20
