"""rejax PPO on the same markets; it has no recurrent policy."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from rejax import PPO

from himari_jax.policies.policy import Output, squash
from train.benchmarks.peers.clock import CLOCKS
from train.benchmarks.peers.himari import build, flags_of
from train.benchmarks.peers.trial import BARS, BOUND, PATHS, SCORE_SEED, Trial
from train.oracles.scoring import score_policies


@struct.dataclass
class AdapterParams:
    """The market's parameters, and how its observation is scaled."""

    inner: Any
    mean: jax.Array  # (D,)
    std: jax.Array  # (D,)
    limit: jax.Array  # (D,)


@dataclass(frozen=True)
class Adapter(environment.Environment):
    """A gymnax 1.0 market for code that unpacks five values from `step`; ends of episodes are one flag there.

    Args:
        env: the market.
        squashed: the action is u of `2 sigmoid(u)`; else it is cut to [-1, 1] and the multiplier is `1 + action`.
        scale: of the reward.
    """

    env: Any
    squashed: bool
    scale: float

    def reset(self, key: jax.Array, params: AdapterParams) -> tuple[jax.Array, Any]:  # type: ignore[override]
        """Episodes of different ages."""
        key_reset, key_age = jax.random.split(key)
        obs, state = self.env.reset(key_reset, params.inner)
        return scaled(obs, params), self.env.stagger(key_age, state, params.inner)

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: AdapterParams):  # type: ignore[override]
        """Steps the market; returns the five values of the older gymnax."""
        multiplier = squash(action) if self.squashed else 1 + action
        obs, state, reward, terminated, truncated, _ = self.env.step(key, state, multiplier, params.inner)
        return scaled(obs, params), state, reward * self.scale, terminated | truncated, {}

    def action_space(self, params: Any) -> spaces.Box:
        """One number."""
        bound = BOUND if self.squashed else 1.0
        return spaces.Box(-bound, bound, (1,), dtype=jnp.float32)

    def observation_space(self, params: AdapterParams) -> spaces.Box:
        """As the market's."""
        return self.env.observation_space(params.inner)


def scaled(obs: jax.Array, params: AdapterParams) -> jax.Array:
    """Standardizes an observation as this project's policy does, (D,)."""
    return jnp.clip((obs - params.mean) / params.std, -params.limit, params.limit)


def adapter_params(inner: Any, constants: dict | None, width: int) -> AdapterParams:
    """Makes the parameters with the normalizer's constants; the identity where there are none."""
    if constants is None:
        return AdapterParams(inner, jnp.zeros(width), jnp.ones(width), jnp.full(width, jnp.inf))
    info = constants["normaliser"]
    return AdapterParams(inner, info["mean"], info["std"], info["limit"])


@dataclass(frozen=True)
class ActorPolicy:
    """rejax's actor in the place of a policy of `train.oracles.scoring`, which asks for `apply` and `initial_carry`.

    An action that is cut is played as it would be without noise: `1 + clip(mean)`.
    """

    actor: Any
    squashed: bool

    def initial_carry(self, batch: int) -> tuple:
        """Nothing is remembered."""
        return ()

    def apply(self, variables: dict, carry: tuple, obs: jax.Array) -> tuple[tuple, Output]:
        """(B, D) -> mean and deviation of u, (B, 1)."""
        spread = self.actor.apply(variables, obs, method="_action_dist")
        mean, log_std = spread.loc, jnp.log(spread.scale_diag)
        if not self.squashed:
            share = jnp.clip((1 + mean) / 2, 1e-6, 1 - 1e-6)
            mean, log_std = jnp.log(share / (1 - share)), jnp.full_like(mean, -jnp.inf)
        return carry, Output(mean, log_std, jnp.zeros(obs.shape[0]))


def settings(trial: Trial) -> dict[str, Any]:
    """Hyperparameters of rejax: ours where it takes them, or its own defaults with as many parallel environments."""
    hyper = trial.hyper
    chosen = {"num_envs": trial.num_envs, "learning_rate": trial.learning_rate}
    if trial.values == "own":
        return chosen
    return chosen | {
        "num_steps": trial.rollout_steps,
        "num_epochs": hyper.epochs,
        "num_minibatches": hyper.minibatches,
        "gamma": hyper.gamma,
        "gae_lambda": hyper.gae_lambda,
        "clip_eps": hyper.clip_eps,
        "ent_coef": hyper.ent_coef,
        "vf_coef": hyper.vf_coef,
        "max_grad_norm": hyper.max_grad_norm,  # rejax cuts each number of the gradient, not its norm
    }


class RejaxPeer:
    """Several updates at a time where they are small, so that the host is not what is measured."""

    most_steps = math.inf

    def __init__(self, trial: Trial):
        setup = build(flags_of(trial.as_ours()))
        squashed = trial.values != "own"
        self.env, hyper = setup.learner.env, trial.hyper
        params = adapter_params(setup.params, setup.constants, setup.width)
        network = {"activation": "tanh", "hidden_layer_sizes": (128, 128)}
        adapter = Adapter(self.env, squashed, hyper.reward_scale)
        self.algo = PPO.create(env=adapter, env_params=params, agent_kwargs=network, **settings(trial))
        self.scored_policy = ActorPolicy(self.algo.actor, squashed)
        state = self.algo.init_state(jax.random.key(trial.seed))
        self.state = with_our_start(state, hyper.initial_log_std) if squashed else state
        update = self.algo.num_envs * self.algo.num_steps
        count = max(1, min(hyper.steps_per_update, 16_384) // update)
        self.steps = count * update
        now = CLOCKS[trial.clock]
        begun = now()
        self.chunk = jax.jit(partial(iterate, count=count), donate_argnums=1).lower(self.algo, self.state).compile()
        self.compile_seconds = now() - begun

    def advance(self) -> int:
        """Trains by a few updates."""
        self.state = jax.block_until_ready(self.chunk(self.algo, self.state))
        return self.steps

    def score(self) -> float:
        """Scores the policy: its share of the optimum."""
        variables = jax.tree.map(lambda x: x[None], self.state.actor_ts.params)
        policy: Any = self.scored_policy
        scores = score_policies(self.env, policy, variables, jax.random.key(SCORE_SEED), PATHS, BARS)
        return scores[0].value / self.env.optimum.value


def iterate(algo: PPO, state: Any, count: int) -> Any:
    """Trains for `count` updates."""
    return jax.lax.fori_loop(0, count, lambda _, state: algo.train_iteration(state), state)


def with_our_start(state: Any, log_std: float) -> Any:
    """Returns the state before training with our deviation of the action and our nearly constant first mean.

    Without the latter it starts from positions whose noise hides the value of an action.
    """
    params = state.actor_ts.params["params"]
    mean = params["action_mean"] | {"kernel": 0.01 * params["action_mean"]["kernel"]}
    changed = {"params": params | {"action_mean": mean, "action_log_std": jnp.full(1, log_std)}}
    return state.replace(actor_ts=state.actor_ts.replace(params=changed))
