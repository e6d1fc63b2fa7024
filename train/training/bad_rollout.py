"""Writes the rollout of the first update with numbers that are not finite, and names what is bad in it."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.reward_check import term_name
from envs.trading import TradingEnv
from himari_jax.atomic import replacing
from himari_jax.command import flag
from himari_jax.plugins import POLICIES
from train.artifacts.files import storage_errors
from train.config.ppo import PolicyConfig
from train.learning.setup import Setup
from train.learning.state import LearnerState


class BadRollout(NamedTuple):
    """File of a rollout with numbers that are not finite."""

    path: Path
    reward: str  # what is bad in the reward; empty where it is finite

    def __str__(self) -> str:
        return f"{self.path}{self.reward and f'; {self.reward}'}"


def remedy(policy: PolicyConfig, bad: BadRollout | None) -> str:
    """Words what to do about numbers that went bad.

    Args:
        policy: flags of the policy.
        bad: rollout of the first bad update; None where an earlier process wrote it.
    """
    if bad is not None and bad.reward:
        return f"{bad.reward}; mend the reward, whose values are in bad_rollout.npz"
    sizes = [name for name in inspect.signature(POLICIES.load(policy.policy).make).parameters if "num_layers" in name]
    fewer = [f"{flag(name)} 1" for name in sizes if getattr(policy, name) > 1]
    *others, last = ["--learning-rate 1e-4", "a lower --max-grad-norm", *fewer]
    return f"try {', '.join(others)} or {last}, and look for the cause in bad_rollout.npz"


def first_bad(updates: np.ndarray) -> tuple[int, int]:
    """Returns the seed whose step was the first to be skipped, and its update.

    Args:
        updates: (K,) of the first skipped step; -1 where none was.
    """
    seed = int(np.where(updates < 0, np.iinfo(np.int32).max, updates).argmin())
    return seed, int(updates[seed])


def dump_rollout(setup: Setup, runner: LearnerState, seed: int, folder: Path) -> BadRollout:
    """Writes the next rollout of a seed, with its advantages, as `bad_rollout.npz`.

    Args:
        setup: of the run.
        runner: leaves (K, ...).
        seed: index of the seed.
        folder: of the run.

    Raises:
        StorageError: it could not be written.
    """
    one = jax.tree.map(lambda x: x[seed], runner)
    _, played = jax.jit(setup.learner.collect_rollout)(setup.params, one.variables, one.players)
    batch = setup.learner.compute_advantages(played, one)
    path = folder / "bad_rollout.npz"
    branches = {f"branch_{name}": value for name, value in played.branches._asdict().items()}
    fields = played._replace(branches=None)._asdict() | branches | batch._asdict()
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in fields.items() if x is not None}
    with storage_errors(path), replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return BadRollout(path, describe_reward(setup, one, arrays["reward"]))


def describe_reward(setup: Setup, runner: LearnerState, reward: np.ndarray) -> str:
    """Words how much of a reward (S, B) is not finite, and the terms it comes from; empty where all of it is finite."""
    bad = int((~np.isfinite(reward)).sum())
    if not bad:
        return ""
    env = setup.learner.env
    terms = bad_terms(setup, runner) if isinstance(env, TradingEnv) else []
    named = f" (--reward {' '.join(terms)})" if terms else ""
    return f"the reward itself{named} is not finite in {bad:,} of {reward.size:,} steps"


def bad_terms(setup: Setup, runner: LearnerState) -> list[str]:
    """Finds the reward terms that are not finite, by playing the rollout of a seed with each of them alone."""
    env, found = setup.learner.env, []
    for n, term in enumerate(env.terms):
        params = setup.params.replace(reward_weights=setup.params.reward_weights[n : n + 1])
        alone = TradingEnv(env.num_assets, (term,))
        learner = replace(setup.learner, env=alone, sizes=replace(setup.learner.sizes, lookahead=0))
        _, played = jax.jit(learner.collect_rollout)(params, runner.variables, runner.players)
        if not np.isfinite(played.reward).all():
            found.append(term_name(term))
    return found
