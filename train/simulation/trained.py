"""Loads a trained run with its policies."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax.errors import InputError
from himari_jax.features import BASE, Features, observation_width
from himari_jax.policies.policy import Policy
from himari_jax.times import parse_iso
from train.artifacts.checkpoint import leaves
from train.artifacts.feature_files import features_of_run
from train.artifacts.run_folder import stored_config, stored_json
from train.artifacts.saved_policies import read_saved
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.learning.setup import make_policy
from train.simulation.baselines import entrant_name


@dataclass(frozen=True)
class Agent:
    """A trained run."""

    name: str
    folder: Path
    config: Config
    stored: dict[str, Any]  # config.json
    policy: Policy
    variables: dict  # leaves (K, ...)
    chosen: int  # index of the seed that did best on validation
    step: int  # of the checkpoint
    checkpoint: str  # best, latest or a step
    features: Features = BASE  # what the policies see of the market

    @property
    def seeds(self) -> list[int]:
        """Numbers of the seeds."""
        return [self.config.run.seed + k for k in range(self.config.run.num_seeds)]

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it was trained on."""
        return tuple(self.stored["data"]["symbols"])

    @property
    def digest(self) -> str:
        """What counts as one configuration in the trial ledger."""
        own = config_hash(self.config, self.features.marks)
        return own if self.checkpoint == "best" else hashlib.sha256(f"{own} {self.step}".encode()).hexdigest()


def load_agent(folder: Path, checkpoint: str = "best") -> Agent:
    """A run with its policies.

    Raises:
        InputError: no run, no checkpoint, or parameters that do not fit the flags.
        CheckpointError: the checkpoint is damaged.
    """
    config, stored = stored_config(folder), stored_json(folder)
    if config.data.env is not None:
        raise InputError(f"{folder}: trained on {config.data.env}, not on candles; its report.html has the judgment")
    saved = read_saved(folder, checkpoint)
    assets, features = len(stored["data"]["symbols"]), features_of_run(folder, stored)
    width = observation_width(assets, len(features.names))
    policy = make_policy(config, assets, config.market.cost > 0, 1.0)
    wanted = jax.eval_shape(
        lambda: policy.init(jax.random.key(0), policy.initial_carry(1), np.zeros((1, width), np.float32))
    )
    seeds = config.run.num_seeds
    shapes = {k: (seeds, *v.shape) for k, v in leaves(wanted).items()}
    found = {k: v.shape for k, v in leaves(saved.variables).items()}
    if shapes != found:
        odd = sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k))[0]
        raise InputError(f"{folder}: {odd} is {found.get(odd)} in the checkpoint, {shapes.get(odd)} by its flags")
    chosen = int(np.argmax(saved.sharpe))
    name = entrant_name(folder.resolve().name)
    return Agent(name, folder, config, stored, policy, saved.variables, chosen, saved.step, checkpoint, features)


def cuts_of(agent: Agent | None) -> tuple[int, int] | None:
    """First bars of validation and test of a run, epoch milliseconds.

    Raises:
        InputError: the run does not say.
    """
    if agent is None:
        return None
    try:
        first, second = (parse_iso(text) for text in agent.stored["data"]["cuts"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{agent.folder}/config.json: data.cuts is missing; it was written by another version"
        ) from error
    return first, second
