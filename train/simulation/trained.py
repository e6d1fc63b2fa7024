"""Loads a trained run with its policies."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from himari_jax.cli import invocation
from himari_jax.errors import InputError
from himari_jax.features.market import ANY_SYMBOL, BASE, Features, observation_width
from himari_jax.policies.policy import Policy
from himari_jax.positions.base_positions import Base
from himari_jax.positions.own_positions import OwnPositions
from himari_jax.times import parse_iso
from train.artifacts.checkpoint import leaves
from train.artifacts.feature_files import features_of_run
from train.artifacts.run_folder import stored_config, stored_json
from train.artifacts.saved_policies import read_saved
from train.config.market import MarketConfig
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.data.base import load_base
from train.learning.policy import make_policy
from train.simulation.baselines import entry_name


@dataclass(frozen=True)
class Agent:
    """A trained run with its policies."""

    name: str
    folder: Path
    config: Config
    stored: dict[str, Any]  # config.json
    policy: Policy
    variables: dict  # leaves (K, ...)
    chosen: int  # index of the seed that did best on validation
    step: int  # of the checkpoint
    checkpoint: str  # best, latest or a step
    features: Features = BASE  # of the policies' observation
    kind: ClassVar[str] = "policy"  # the subject of its sentences, in `train.reporting.subjects`

    @property
    def market(self) -> MarketConfig:
        """Rules of the market that it was trained on."""
        return self.config.market

    @property
    def seeds(self) -> list[int]:
        """Numbers of the seeds."""
        run = self.config.run
        return [run.seed + k for k in range(run.num_seeds)]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that the run was trained on."""
        return tuple(self.stored["data"]["symbols"])

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the assets of an observation: the symbols, or `asset` for the policy of a pool."""
        return (ANY_SYMBOL,) if self.config.data.pool else self.symbols

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of the file of base positions of its training; None without one."""
        return self.stored["data"].get("base_sha256")

    @property
    def digest(self) -> str:
        """Hash that identifies the configuration in the trial ledger."""
        own = config_hash(self.config, self.base_sha256, self.features.marks)
        return own if self.checkpoint == "best" else hashlib.sha256(f"{own} {self.step}".encode()).hexdigest()


def load_agent(folder: Path, checkpoint: str = "best") -> Agent:
    """Loads a run with its policies.

    Raises:
        InputError: no run, no checkpoint, or parameters that do not fit the flags.
        CheckpointError: the checkpoint is damaged.
    """
    config, stored = stored_config(folder), stored_json(folder)
    if config.data.env is not None:
        raise InputError(f"{folder}: trained on {config.data.env}, not on candles; its report.html has the verdict")
    if "walk_forward" in stored:
        raise InputError(
            f"{folder}: a walk-forward test has a policy for each test block, and none for what comes; train that one "
            f"on all candles with {invocation('train.ppo')}"
        )
    saved = read_saved(folder, checkpoint)
    assets = 1 if config.data.pool else len(stored["data"]["symbols"])
    features = features_of_run(folder, stored)
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
    name = entry_name(folder.resolve().name)
    return Agent(name, folder, config, stored, policy, saved.variables, chosen, saved.step, checkpoint, features)


def base_of(agent: Agent, symbols: tuple[str, ...], assume_utc: bool, path: str | None = None) -> Base:
    """Loads the base that a run multiplies, for given symbols.

    Args:
        agent: the run.
        symbols: of the candles.
        assume_utc: takes times of a file without a zone for UTC.
        path: of other base positions than those of training, for a run that has some.

    Raises:
        InputError: the file cannot be read, breaks a rule, or is no longer that of training.
    """
    path = None if agent.base_sha256 is None else path
    base = load_base(agent.config.market, symbols, assume_utc, path)
    if path is None and isinstance(base, OwnPositions) and base.sha256 != agent.base_sha256:
        raise InputError(
            f"{base.origin}: changed since {agent.folder} was trained with it (SHA-256 {base.sha256[:12]}, then "
            f"{str(agent.base_sha256)[:12]}); name the one to use with --base-positions"
        )
    return base


def cuts_of(agent: Agent | None) -> tuple[int, int] | None:
    """Reads the first bars of validation and test of a run, epoch milliseconds.

    Raises:
        InputError: config.json lacks them.
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
