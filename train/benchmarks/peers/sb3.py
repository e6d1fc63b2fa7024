"""stable-baselines3 PPO and sb3-contrib RecurrentPPO on the numpy markets; this process has no jax."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv

from train.benchmarks.peers.numpy_markets import Twin, make_twin, score_twin
from train.benchmarks.peers.trial import BARS, BOUND, PATHS, SCORE_SEED, Trial

MOST_STEPS = 32_768  # of an update by their own defaults, which are meant for few environments


class TwinVecEnv(VecEnv):
    """All episodes in one batch of numpy: faster than one Gymnasium environment for each.

    Args:
        twin: the market.
        trial: number of environments, seed, length of an episode, scale of the reward, kind of action.
    """

    def __init__(self, twin: Twin, trial: Trial):
        self.twin, self.rng = twin, np.random.default_rng(trial.seed)
        self.squashed, self.hyper = trial.values != "own", trial.hyper
        # RecurrentPPO loops in Python over every sequence in which an episode starts: there they start together.
        self.staggered = trial.contestant != "sb3-recurrent"
        bound = BOUND if self.squashed else 1.0
        seen = spaces.Box(-np.inf, np.inf, (twin.width,), np.float32)
        super().__init__(trial.num_envs, seen, spaces.Box(-bound, bound, (1,), np.float32))
        self.state: Any = None
        self.age: np.ndarray = np.zeros(trial.num_envs, np.int64)
        self.actions = np.zeros((trial.num_envs, 1), np.float32)

    def reset(self) -> np.ndarray:
        """New episodes, of different ages where that does no harm."""
        self.state = self.twin.open(self.rng, self.num_envs)
        oldest = self.hyper.episode_steps if self.staggered else 1
        self.age = np.asarray(self.rng.integers(oldest, size=self.num_envs))
        return self.twin.observe(self.state)

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Steps all environments by one bar; episodes that end restart, their final observation goes into the info."""
        multiplier = as_multiplier(self.actions[:, 0], self.squashed)
        self.state, reward, terminated, ends = self.twin.step(self.rng, self.state, multiplier)
        self.age += 1
        truncated = (self.age >= self.hyper.episode_steps) | ends
        obs, done = self.twin.observe(self.state), terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            rows = np.flatnonzero(done)
            for row in rows:
                cut = bool(truncated[row] and not terminated[row])
                infos[row] = {"terminal_observation": obs[row].copy(), "TimeLimit.truncated": cut}
            fresh = self.twin.open(self.rng, len(rows))
            self.state = type(self.state)(*(put(x, rows, y) for x, y in zip(self.state, fresh, strict=True)))
            self.age[rows] = 0
            obs[rows] = self.twin.observe(fresh)
        return obs, (reward * self.hyper.reward_scale).astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same of all."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not needed."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
        """Not needed."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * self.num_envs

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeded at the start."""
        return [None] * self.num_envs


def put(values: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Returns a copy (B, ...) with rows (n,) replaced by fresh ones (n, ...)."""
    values = values.copy()
    values[rows] = fresh
    return values


def as_multiplier(action: np.ndarray, squashed: bool) -> np.ndarray:
    """Returns the multiplier of an action, (B,): `2 sigmoid(u)`, or `1 + action`."""
    return 2 / (1 + np.exp(-action)) if squashed else 1 + action


class Trunk(BaseFeaturesExtractor):
    """128-128 tanh, shared by actor and critic as in this project's policy."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 128)
        inputs = observation_space.shape[0]
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(inputs, 128), torch.nn.Tanh(), torch.nn.Linear(128, 128), torch.nn.Tanh()
        )

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """(B, D) -> (B, 128)."""
        return self.layers(obs)


def network(trial: Trial) -> dict[str, Any]:
    """Arguments of the policy network; at the peer's own defaults actor and critic share nothing."""
    ours = trial.values != "own"
    info: dict[str, Any] = {"log_std_init": trial.hyper.initial_log_std} if ours else {}
    if trial.contestant == "sb3":
        shared = {"features_extractor_class": Trunk, "net_arch": []}
        return info | (shared if ours else {"net_arch": {"pi": [128, 128], "vf": [128, 128]}})
    info |= {"lstm_hidden_size": 64, "n_lstm_layers": 2}
    shared = {"shared_lstm": True, "enable_critic_lstm": False, "net_arch": {"pi": [128], "vf": [128]}}
    return info | (shared if ours else {})


def settings(trial: Trial) -> dict[str, Any]:
    """Hyperparameters: ours, or their own defaults with no more than 32,768 steps for an update."""
    hyper = trial.hyper
    if trial.values == "own":
        usual = 2048 if trial.contestant == "sb3" else 128
        return {"n_steps": min(usual, MOST_STEPS // trial.num_envs)}
    return {
        "n_steps": trial.rollout_steps,
        "batch_size": trial.rollout_steps * trial.num_envs // hyper.minibatches,
        "n_epochs": hyper.epochs,
        "gamma": hyper.gamma,
        "gae_lambda": hyper.gae_lambda,
        "clip_range": hyper.clip_eps,
        "ent_coef": hyper.ent_coef,
        "vf_coef": hyper.vf_coef,
        "max_grad_norm": hyper.max_grad_norm,
    }


class SB3Peer:
    """One rollout and its updates at a time: the body of `learn`."""

    compile_seconds = 0.0
    most_steps = math.inf

    def __init__(self, trial: Trial):
        self.twin, self.squashed = make_twin(trial.twin), trial.values != "own"
        recurrent = trial.contestant == "sb3-recurrent"
        kind: Any = RecurrentPPO if recurrent else PPO
        self.model = kind(
            "MlpLstmPolicy" if recurrent else "MlpPolicy",
            TwinVecEnv(self.twin, trial),
            learning_rate=trial.learning_rate,
            policy_kwargs=network(trial),
            seed=trial.seed,
            device=trial.device if trial.device == "cuda" else "cpu",
            **settings(trial),
        )
        _, self.callback = self.model._setup_learn(10**15)

    def advance(self) -> int:
        """One update."""
        model = self.model
        model.collect_rollouts(model.env, self.callback, model.rollout_buffer, n_rollout_steps=model.n_steps)
        model.train()
        return int(model.n_steps * model.n_envs)

    def score(self) -> float:
        """Share of the optimum."""
        self.model.policy.set_training_mode(False)
        value, _ = score_twin(self.twin, self.act, PATHS, BARS, SCORE_SEED)
        return value / self.twin.optimum

    def act(self, obs: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        """Acts without noise: by the mean of the squashed normal (see `mean_action`), or by the clipped mean."""
        policy = self.model.policy
        with torch.no_grad():
            seen = torch.as_tensor(obs, device=self.model.device)
            if isinstance(self.model, RecurrentPPO):
                if memory is None:
                    layers, units = policy.lstm_actor.num_layers, policy.lstm_actor.hidden_size
                    memory = (torch.zeros(layers, len(obs), units, device=seen.device),) * 2
                spread, memory = policy.get_distribution(seen, memory, torch.zeros(len(obs), device=seen.device))
            else:
                spread = policy.get_distribution(seen)
            mean = spread.distribution.mean[:, 0].cpu().numpy().astype(np.float64)
            std = spread.distribution.stddev[:, 0].cpu().numpy().astype(np.float64)
        if self.squashed:
            return as_multiplier(mean / np.sqrt(1 + np.pi / 8 * std**2), True), memory
        return as_multiplier(np.clip(mean, -1, 1), False), memory
