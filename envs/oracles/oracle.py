"""Base of the markets with a known optimum: gymnax environments that draw their path on the device."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import environment, spaces
from himari_jax import command

Memory = Any  # of the best policy: a pytree of arrays
EPISODE_STEPS = 500  # bars of an episode, where no parameters say it


@struct.dataclass
class OracleParams(environment.EnvParams):
    """Parameters that all episodes share."""

    max_steps_in_episode: jax.Array  # () int32


@struct.dataclass
class OracleState(environment.EnvState):
    """State of one episode."""

    time: jax.Array  # () int32, steps since the episode started
    market: jax.Array  # (K,) what the next return depends on, and what is seen of the last one
    weights: jax.Array  # (N,) held before the decision


class Optimum(NamedTuple):
    """Mean utility per bar of the best policy and of a naive one."""

    value: float  # mean utility of the best policy
    naive: float  # of a simple policy
    naive_name: str


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises one line that names flag, value and what is allowed."""
    command.require(holds, f"--oracle.{name.replace('_', '-')}", value, allowed)


@dataclass(frozen=True)
class Oracle(environment.Environment[OracleState, OracleParams]):
    """Base of the markets; a market is a frozen dataclass of its parameters, per bar.

    The action is the multiplier in [0, 2] of each asset, (N,); a market maps it to weights of its own.
    """

    num_assets: ClassVar[int] = 1
    width: ClassVar[int] = 1  # D
    scored_bars: ClassVar[int] = 1000  # of an episode when a policy is scored
    plot_axis: ClassVar[str] = ""  # what the first number of the observation is, in words; "" where it says nothing

    @property
    def default_params(self) -> OracleParams:
        """Parameters that gymnax uses where none are given: episodes of `EPISODE_STEPS` bars."""
        return OracleParams(max_steps_in_episode=jnp.int32(EPISODE_STEPS))

    @property
    def num_actions(self) -> int:
        """N, the length of an action."""
        return self.num_assets

    @property
    def start(self) -> float:
        """Multiplier of the policy before it learns; away from the optimum, so that doing nothing scores below 1."""
        return 1.0

    @property
    def costly(self) -> bool:
        """Whether trading costs something, so that exploration does."""
        return False

    @property
    def steady(self) -> tuple[float, ...]:
        """The best weights where they are always the same, (N,); else nothing."""
        return ()

    def open(self, key: jax.Array) -> jax.Array:
        """The market's state at the start of an episode, drawn from its stationary law, (K,)."""
        raise NotImplementedError

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One bar: the next state (K,) and the returns (N,)."""
        raise NotImplementedError

    def position(self, multiplier: jax.Array) -> jax.Array:
        """Weights that a multiplier asks for, (N,) -> (N,)."""
        raise NotImplementedError

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Utility of one bar, (), from weights before and after the trade and the returns, (N,)."""
        raise NotImplementedError

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean of `utility` given the market's state, which the simulator knows: the score, ()."""
        raise NotImplementedError

    def drift(self, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Weights after the bar, (N,)."""
        return weights

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """The observation of a market's state (K,) and weights (N,): numbers of order 1, (D,)."""
        raise NotImplementedError

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the best and of a naive policy, computed from the parameters."""
        raise NotImplementedError

    def open_memory(self) -> Memory:
        """The memory of the best policy at the start of an episode."""
        return ()

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """The best policy: memory, what is seen, weights before -> memory, weights (N,)."""
        raise NotImplementedError

    def facts(self, seen: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        """Further measures of how near a policy is to the best, by name.

        Args:
            seen: observations along a path, (S, D).
            weights: weights held there, (S, N).
        """
        return {}

    def multiplier(self, weights: np.ndarray) -> np.ndarray:
        """The multiplier that asks for these weights, (..., N), where no cap binds."""
        raise NotImplementedError

    def step_env(
        self, key: jax.Array, state: OracleState, action: jax.Array, params: OracleParams
    ) -> tuple[jax.Array, OracleState, jax.Array, jax.Array, dict[str, Any]]:
        """One bar: observation, state, reward (utility beyond multiplier 1's), terminated (never), info."""
        chex.assert_shape(action, (self.num_assets,))
        weights = self.position(jnp.clip(action, 0, 2))
        market, returns = self.advance(key, state.market)
        # Against multiplier 1 without costs: free of the action, so that only noise of the market goes.
        neutral = self.position(jnp.ones(self.num_assets))
        reward = self.utility(state.weights, weights, returns) - self.utility(neutral, neutral, returns)
        after = OracleState(time=state.time + 1, market=market, weights=self.drift(weights, returns))
        info = {"weights": weights, "expected": self.expected(state.market, state.weights, weights)}
        return self.make_observation(market, after.weights), after, reward, jnp.zeros((), bool), info

    def reset_env(self, key: jax.Array, params: OracleParams) -> tuple[jax.Array, OracleState]:
        """Draws a market from its stationary law; the weights are those of the start's multiplier."""
        weights = self.position(jnp.full(self.num_assets, self.start))
        state = OracleState(time=jnp.zeros((), jnp.int32), market=self.open(key), weights=weights)
        return self.make_observation(state.market, state.weights), state

    def stagger(self, key: jax.Array, state: OracleState, params: OracleParams) -> OracleState:
        """Ages a fresh episode, so that parallel episodes do not all end in the same step."""
        return state.replace(time=jax.random.randint(key, (), 0, params.max_steps_in_episode, jnp.int32))

    def observe(self, key: jax.Array, state: OracleState, action: jax.Array | None, params: OracleParams) -> jax.Array:
        """The observation of a state, (D,); gymnax's signature, of which only the state counts."""
        return self.make_observation(state.market, state.weights)

    def get_obs(
        self, state: OracleState, params: OracleParams | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """The observation of a state, (D,), by gymnax's older name."""
        return self.make_observation(state.market, state.weights)

    def is_terminated(self, state: OracleState, params: OracleParams) -> jax.Array:
        """Markets never terminate."""
        return jnp.zeros((), bool)

    def action_space(self, params: OracleParams | None = None) -> spaces.Box:
        """Multipliers in [0, 2]."""
        return spaces.Box(0.0, 2.0, (self.num_assets,), dtype=jnp.float32)

    def observation_space(self, params: OracleParams | None = None) -> spaces.Box:
        """Any D real numbers."""
        return spaces.Box(-jnp.inf, jnp.inf, (self.width,), dtype=jnp.float32)


@dataclass(frozen=True)
class LongShort(Oracle):
    """Base of the markets with `w = m - 1`: long and short, flat at multiplier 1."""

    def position(self, multiplier: jax.Array) -> jax.Array:
        """`m - 1`."""
        return multiplier - 1

    def multiplier(self, weights: np.ndarray) -> np.ndarray:
        """`1 + w`."""
        return 1 + weights


@dataclass(frozen=True)
class LogGrowth(Oracle):
    """Base of the markets with `w = m / 2` and utility `log(1 + w r)`."""

    def position(self, multiplier: jax.Array) -> jax.Array:
        """`m / 2`."""
        return multiplier / 2

    def multiplier(self, weights: np.ndarray) -> np.ndarray:
        """`2 w`."""
        return 2 * weights

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Log growth."""
        return jnp.log1p((weights * returns).sum())


def drifted(weights: jax.Array, returns: jax.Array) -> jax.Array:
    """Shares of equity after a bar in which nothing is traded, `w (1 + r) / (1 + w r)`, (N,)."""
    return weights * (1 + returns) / (1 + (weights * returns).sum())
